"""Texts as searching sees them."""

from __future__ import annotations

import os

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from amity.database.grams import Both, Either, Pieces, Sought, fits_with_errors, grams, rank, search_fold

EXAMPLES = int(os.environ.get("AMITY_LAW_EXAMPLES", "15"))


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("  Ann\n\tLEE ", "ann lee"),
        ("Müller", "muller"),
        ("Straße", "strasse"),
        ("ÉRIC", "eric"),
        ("Łódź", "łodz"),
        ("Ａｎｎ", "ann"),
        ("王伟", "王伟"),
        ("ガラス", "ガラス"),
        ("김철수", "김철수"),
        ("हिन्दी", "हिन्दी"),
    ],
)
def test_case_accents_and_width_make_no_difference(text: str, folded: str) -> None:
    assert search_fold(text) == folded
    assert search_fold(folded) == folded


def test_whatever_occurs_begins_at_a_gram() -> None:
    assert grams("anna") == {"\nan", "ann", "nna", "na ", "a  "}
    assert grams("王") == {"\n王 ", "王  "}


WORDS = st.text(st.sampled_from("abcdef.-王"), min_size=1, max_size=18)


def occur(pieces: Pieces, text: str) -> bool:
    match pieces:
        case Both(parts):
            return all(occur(part, text) for part in parts)
        case Either(parts):
            return any(occur(part, text) for part in parts)
    return pieces in text


@settings(max_examples=10 * EXAMPLES, deadline=None, database=None)
@given(st.data(), st.lists(WORDS, min_size=1, max_size=3))
def test_what_fits_is_a_candidate_by_itself(data: st.DataObject, words: list[str]) -> None:
    """A law: else what is in hidden fields would decide what is looked at."""
    texts = []
    for word in words:
        place = data.draw(st.integers(0, len(word)))
        other = data.draw(st.sampled_from(["", "x", word[place : place + 2][::-1]]))
        texts.append(word[:place] + other + word[place + data.draw(st.integers(0, 2)) :])
    text = data.draw(st.sampled_from([" ", "\n", "-"])).join(texts)
    sought = Sought(tuple(words))
    event(f"fits: {fits_with_errors(text, sought)}")
    if rank(text, sought):
        assert occur(sought.pieces, text)
    if fits_with_errors(text, sought):
        assert occur(sought.tolerant_pieces, text)


def misspelled(word: str) -> set[str]:
    """The word with at most one error: a letter wrong, missing, too many before another, or two swapped."""
    found = {word}
    for i in range(len(word)):
        before, letter, rest = word[:i], word[i], word[i + 1 :]
        found |= {before + rest, before + rest[:1] + letter + rest[1:]}
        found |= {form for other in "abc" for form in (before + other + rest, before + other + letter + rest)}
    return found


@settings(max_examples=10 * EXAMPLES, deadline=None, database=None)
@given(st.data(), st.text("abc", min_size=4, max_size=9))
def test_which_errors_a_word_may_have(data: st.DataObject, word: str) -> None:
    middle = (len(word) + 1) // 2
    halves = [one + other for one in misspelled(word[:middle]) for other in misspelled(word[middle:])]
    forms = misspelled(word) | set(halves if len(word) >= 8 else [])
    near = data.draw(st.sampled_from([word, *sorted(halves)]))
    text = data.draw(st.sampled_from([near, near[1:], near + "a", "c" + near, near[:3] + "b" + near[3:]]))
    fits = text in forms if len(word) < 6 else text.startswith(tuple(forms))
    event(f"fits: {fits}")
    assert fits_with_errors(f"x {text} y", Sought((word,))) == fits
