"""The script that a site embeds, with the configuration of its connection."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

import orjson

from .account import WebChatAccount

CONFIG = "/*CONFIG*/ null"
STYLE = "/*STYLE*/"


@dataclass(frozen=True)
class Script:
    """A text of JavaScript, and the tag (RFC 9110) by which browsers know that it has not changed."""

    text: str
    tag: str


def script(connection: str, account: WebChatAccount, *, heartbeat: float, longest: int) -> Script:
    """The widget of a connection (``con_…``). ``heartbeat`` in seconds, ``longest`` in characters."""
    config = {
        "connection": connection,
        "color": account.color,
        "ink": account.ink,
        "ring": account.ring,
        "askEmail": account.ask_email,
        "heartbeat": heartbeat,
        "maxLength": longest,
        "texts": {
            language: {
                **account.words(language),
                "title": account.heading(language),
                "greeting": account.welcome(language),
            }
            for language in account.languages
        },
    }
    text = _source().replace(CONFIG, _literal(config), 1)
    return Script(text, f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"')


def _literal(value: object) -> str:
    """JSON that is safe in any script, also one that somebody puts between script tags."""
    return orjson.dumps(value).decode().replace("<", "\\u003c").replace("\u2028", "\\u2028")


@cache
def _source() -> str:
    """The widget with its style, without indentation and comments of whole lines."""
    folder = resources.files(__package__)
    style = re.sub(r"\s*\n\s*", "", (folder / "widget.css").read_text(encoding="utf-8"))
    if "`" in style or "\\" in style or "${" in style:
        raise ValueError("widget.css has a character that ends or escapes a template literal")
    lines = (line.strip() for line in (folder / "widget.js").read_text(encoding="utf-8").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(("//", "/**"))).replace(STYLE, style)
