"""Threads: people answering each other with the mail programs that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .build import MAILBOX, Fields, Mail, envelope, message, multipart, part, within

Ids = list[str]
Answer = Callable[[Ids], Fields]
US = f"Amity Support <{MAILBOX}>"


def _both(ids: Ids) -> Fields:
    return [("In-Reply-To", f"<{ids[-1]}>"), ("References", " ".join(f"<{id}>" for id in ids))]


def _folded(ids: Ids) -> Fields:
    return [("References", "\n\t".join(f"<{id}>" for id in ids)), ("In-Reply-To", f"<{ids[-1]}>")]


def _only_references(ids: Ids) -> Fields:
    return [("References", " ".join(f"<{id}>" for id in ids))]


def _only_reply(ids: Ids) -> Fields:
    return [("In-Reply-To", f"<{ids[-1]}>")]


def _glued(ids: Ids) -> Fields:
    return [("REFERENCES", "".join(f"<{id}>" for id in ids)), ("in-reply-to", f"<{ids[-1]}>")]


def _commas(ids: Ids) -> Fields:
    return [("References", ", ".join(f"<{id}>" for id in ids))]


def _sentence(ids: Ids) -> Fields:
    return [("In-Reply-To", f'Your message of "Mon, 2 Mar 2026 09:00:00 +0100" <{ids[-1]}>')]


def _blanks(ids: Ids) -> Fields:
    # a gateway that folds within the brackets
    return [("In-Reply-To", f"<{ids[-1][:12]}\n {ids[-1][12:]}>")]


def _cut(ids: Ids) -> Fields:
    # programs that keep the first and the last few
    kept = ids if len(ids) < 4 else [ids[0], *ids[-2:]]
    return [("References", " ".join(f"<{id}>" for id in kept))]


def _twice(ids: Ids) -> Fields:
    return [("References", f"<{ids[0]}>"), ("References", f"<{ids[-1]}>"), ("In-Reply-To", f"<{ids[-1]}>")]


def _broken(ids: Ids) -> Fields:
    # the end was cut off by a server that limits fields
    return [("In-Reply-To", f"<{ids[-1]}>"), ("References", f"<{ids[0]}> <{ids[-1][:9]}")]


PROGRAMS: dict[str, tuple[Answer, str, str]] = {
    # how it answers, the prefix of its subjects, how its ids look
    "gmail": (_both, "Re: ", "CAF+{n:08x}xT9-Zq=w{n}@mail.gmail.com"),
    "outlook": (_folded, "RE: ", "AM0PR0{n}MB5601{n:010X}@AM0PR0{n}MB5601.eurprd04.prod.outlook.com"),
    "outlook-de": (_folded, "AW: ", "VI1PR{n}{n:012X}@VI1PR.eurprd03.prod.outlook.com"),
    "apple": (_both, "Re: ", "{n:08X}-41B2-4F0B-9C1E-6E2F3B8C{n:04X}@icloud.com"),
    "thunderbird": (_both, "Re: ", "{n:08x}-7b1f-2c6d-9a10-51f2d0c4{n:04x}@kunde.example"),
    "notes": (_only_reply, "Antwort: ", "OF{n:08X}.7C-ONC1258{n:03X}.004F@kunde.example"),
    "mutt": (_only_references, "Re: ", "2026030208{n:04d}.GA{n}@laptop.kunde.example"),
    "k9": (_glued, "Re: ", "{n:08x}.k9mail.{n}@email.android.com"),
    "yahoo": (_only_reply, "Re: ", "1{n:09d}.{n}.177240000@mail.yahoo.com"),
    "tickets": (_commas, "Re: [#4711] ", "rt-5.0.1-{n}-1772-{n:03d}@tickets.kunde.example"),
    "exim": (_sentence, "Re: ", "E1r{n:05d}-0004xY-2z@host.kunde.example"),
    "gateway": (_blanks, "Re: ", "gw.{n:012d}.mail@gateway.kunde.example"),
    "groupwise": (_cut, "Antw: ", "65E2{n:04X}020000A1000{n:05d}@gw.kunde.example"),
    "doubled": (_twice, "Re[2]: ", "double.{n:06d}.x@kunde.example"),
    "limited": (_broken, "SV: ", "limited.{n:09d}.mail@kunde.example"),
}
PEOPLE = {
    "anna": "Anna Keller <anna@kunde.example>",
    "bruno": '"Bruno Weiß, Einkauf" <bruno.weiss@lieferant.example>'.replace("ß", "ss"),
    "chloe": "=?utf-8?Q?Chlo=C3=A9_Dubois?= <chloe@atelier.example>",
    "daiki": "=?ISO-2022-JP?B?GyRCQkBFRBsoQg==?= <daiki@shokai.example>",
}


def _numbers() -> Iterator[int]:
    yield from range(1, 10_000)


def threads() -> list[Mail]:
    """Each program starts a thread that another one answers, with answers of the mailbox in between."""
    mails: list[Mail] = []
    number = iter(_numbers())
    names = list(PROGRAMS)
    people = list(PEOPLE.values())
    for position, starter in enumerate(names):
        answerer = names[(position + 4) % len(names)]
        person = people[position % len(people)]
        thread = f"thread-{starter}"
        topic = f"Offer {position + 1} for pumps"
        ids: Ids = []
        hours = 24.0 * position
        for step, (program, ours) in enumerate(
            [(starter, False), ("thunderbird", True), (answerer, False), (starter, False), ("gmail", True)]
        ):
            answer, prefix, form = PROGRAMS[program]
            id = form.format(n=next(number))
            fields = envelope(
                id,
                US if ours else person,
                topic if step == 0 else prefix + topic,
                to=person if ours else US,
                hours=hours + step,
                more=answer(ids) if ids else (),
            )
            mails.append(
                Mail(
                    f"{thread}-{step}-{program}",
                    _body(fields, step, program),
                    thread=thread,
                    says=(f"step {step} of {program}",),
                    sent=ours,
                )
            )
            ids.append(id)
    return [*mails, *_forks(), *_same_subject()]


def _body(fields: Fields, step: int, program: str) -> bytes:
    text = f"This is step {step} of {program}.\n\nOn Monday somebody wrote:\n> what was said before\n"
    if program in ("mutt", "exim", "notes"):
        return message([*fields, ("Content-Type", "text/plain; charset=us-ascii")], text)
    html = (
        f"<html><body><p>This is <b>step {step} of {program}</b>.</p><blockquote>before</blockquote></body></html>"
    )
    both = multipart(
        "alternative", part("text/plain; charset=utf-8", text), part("text/html; charset=utf-8", html)
    )
    return within(fields, both)


def _forks() -> list[Mail]:
    """Two people answer one message; a third joins by the second branch."""
    root, left, right, third = (f"fork.{n:04d}.tree@kunde.example" for n in range(4))
    to_all = f"{US}, {PEOPLE['chloe']}"
    people = [
        (root, PEOPLE["anna"], ()),
        (left, PEOPLE["chloe"], _both([root])),
        (right, "Dora Frei <dora@kunde.example>", _both([root])),
        (third, PEOPLE["anna"], _only_reply([right])),
    ]
    return [
        Mail(
            f"fork-{n}",
            message(envelope(id, who, "Fork", to=to_all, hours=500 + n, more=answer), f"branch {n}"),
            thread="fork",
            says=(f"branch {n}",),
        )
        for n, (id, who, answer) in enumerate(people)
    ]


def _same_subject() -> list[Mail]:
    """The same subject is not the same thread."""
    return [
        Mail(
            f"same-subject-{n}",
            message(
                envelope(f"invoice.{n:05d}@kunde.example", PEOPLE["anna"], "Invoice", hours=600 + n), f"no. {n}"
            ),
            thread=f"same-subject-{n}",
            subject="Invoice",
            says=(f"no. {n}",),
        )
        for n in range(3)
    ]
