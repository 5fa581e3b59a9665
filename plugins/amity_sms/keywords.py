"""Words by which people end, resume and ask about text messages, in several languages.

A word counts only as the whole message: "Stop!" ends the messages, "please stop by tomorrow" is an answer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Literal

Keyword = Literal["stop", "start", "help"]

# language: words that end, words that resume, words that ask; those of English are what North American carriers
# react to, the others what gateways in those countries document or say on their posters
WORDS: Mapping[str, tuple[str, str, str]] = {
    "en": (
        "stop, stopall, stop all, unsubscribe, cancel, end, quit, revoke, optout, opt out",
        "start, unstop, subscribe, resume, optin, opt in",
        "help, info, information",
    ),
    "de": ("stopp, abmelden, abbestellen", "anmelden", "hilfe"),
    "fr": ("arrêt, arret, arrêter, arreter, désabonner, desabonner", "démarrer, demarrer, reprendre", "aide"),
    "it": ("disiscriviti, annulla", "iscriviti, inizia, riprendi", "aiuto"),
    "es": ("baja, alto, parar, cancelar", "alta, empezar, comenzar", "ayuda"),
    "pt": ("parar, cancelar, sair", "iniciar, começar", "ajuda"),
    "nl": ("afmelden, uitschrijven", "aanmelden, hervat", "hulp"),
    "sv": ("stoppa, sluta, avsluta", "starta", "hjälp"),
    "nb": ("stopp, avslutt", "start", "hjelp"),
    "da": ("stop, afmeld", "start", "hjælp"),
    "fi": ("lopeta, peruuta", "aloita, jatka", "apua"),
    "pl": ("koniec, wypisz", "wznów", "pomoc"),
    "cs": ("zrušit, odhlásit", "začít", "pomoc"),
    "tr": ("dur, iptal", "başla, başlat", "yardım"),
    "el": ("στοπ, διακοπή", "έναρξη", "βοήθεια"),
    "ru": ("стоп", "старт", "помощь, справка"),
    "uk": ("стоп, відписатися", "старт, почати", "допомога"),
    "he": ("הסר, הסרה", "התחל, הרשמה", "עזרה"),
    "ar": ("إلغاء, الغاء, توقف", "ابدأ", "مساعدة"),
    "hi": ("बंद, रोकें", "शुरू", "मदद"),
    "zh": ("退订, 退訂, 停止", "订阅, 訂閱, 开始, 開始", "帮助, 幫助"),
    "ja": ("停止, 配信停止", "開始, 配信再開", "ヘルプ"),
    "ko": ("수신거부, 중지", "수신동의, 시작", "도움말"),
}


def keyword(text: str) -> Keyword | None:
    """What a message that consists of one of the words asks for; None if it is any other message."""
    return _KEYWORDS.get(_folded(text))


def _folded(text: str) -> str:
    """Without case, punctuation, symbols and surplus white space, in Unicode's composed form."""
    kept = (
        " " if unicodedata.category(char)[0] in "PSZC" else char
        for char in unicodedata.normalize("NFKC", text).casefold()
    )
    # Turkish has two letters i, of which folding knows nothing
    words = " ".join("".join(kept).split()).replace("i\u0307", "i").replace("ı", "i")
    return unicodedata.normalize("NFC", words)


def _keywords() -> dict[str, Keyword]:
    found: dict[str, Keyword] = {}
    kinds: tuple[Keyword, Keyword, Keyword] = ("stop", "start", "help")
    for words in WORDS.values():
        for kind, texts in zip(kinds, words, strict=True):
            found.update(dict.fromkeys(map(_folded, texts.split(", ")), kind))
    return found


_KEYWORDS = _keywords()
