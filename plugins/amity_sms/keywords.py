"""Words by which people end, resume and ask about text messages, in several languages.

A word counts only as the whole message: "Stop" ends the messages, "please stop by tomorrow" is an answer.
"""

from __future__ import annotations

import unicodedata
from typing import Literal

Keyword = Literal["stop", "start", "help"]

STOP = frozenset(
    # English: the words that carriers and gateways in North America react to
    "stop|stopall|stop all|unsubscribe|cancel|end|quit|revoke|optout|opt out"
    # German, French, Italian, Spanish, Portuguese, Dutch
    "|stopp|abmelden|abbestellen|arret|arreter|arrêt|arrêter|desabonner|désabonner|disiscriviti|annulla"
    "|parar|cancelar|baja|alto|sair|afmelden|uitschrijven"
    # Swedish, Norwegian, Danish, Finnish, Polish, Czech, Turkish, Greek, Russian, Ukrainian
    "|sluta|avsluta|avslutt|afmeld|lopeta|peruuta|koniec|wypisz|zrušit|odhlásit|iptal|dur|διακοπή|στοπ|стоп|відписатися"
    # Hebrew, Arabic, Hindi, Chinese, Japanese, Korean
    "|הסר|הסרה|إلغاء|الغاء|توقف|रोकें|बंद|退订|退訂|停止|取消|配信停止|수신거부|중지".split("|")
)
START = frozenset(
    "start|unstop|subscribe|resume|optin|opt in"
    "|anmelden|démarrer|demarrer|reprendre|abonner|iscriviti|inizia|riprendi|alta|empezar|comenzar|iniciar|começar"
    "|aanmelden|hervat|starta|jatka|aloita|wznów|začít|başla|başlat|έναρξη|старт|почати"
    "|התחל|הרשמה|ابدأ|بدء|शुरू|订阅|訂閱|开始|開始|配信再開|수신동의|시작".split("|")
)
HELP = frozenset(
    "help|info|information|hilfe|aide|aiuto|ayuda|ajuda|hulp|hjälp|hjelp|hjælp|apua|pomoc|yardım|βοήθεια"
    "|помощь|справка|допомога|עזרה|مساعدة|मदद|帮助|幫助|ヘルプ|도움말".split("|")
)


def keyword(text: str) -> Keyword | None:
    """What a message that consists of one of the words asks for; None if it is any other message."""
    word = _folded(text)
    if word in _STOP:
        return "stop"
    if word in _START:
        return "start"
    return "help" if word in _HELP else None


def _folded(text: str) -> str:
    """Without case, quotes, punctuation, symbols and surplus white space, in Unicode's composed form."""
    kept = (
        " " if unicodedata.category(char)[0] in "PSZC" else char
        for char in unicodedata.normalize("NFKC", text).casefold()
    )
    # folding İ leaves a combining dot behind, which no word has
    return unicodedata.normalize("NFC", " ".join("".join(kept).split()).replace("i\u0307", "i"))


_STOP = frozenset(map(_folded, STOP))
_START = frozenset(map(_folded, START))
_HELP = frozenset(map(_folded, HELP))
