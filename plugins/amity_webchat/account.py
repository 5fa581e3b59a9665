"""The account of a web chat: one widget, for the sites that may show it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, model_validator

from .texts import KEYS, TEXTS

_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
SHORTEST_SECRET = 32
"""Characters that a secret for signing identities must have."""


def _origin(value: str) -> str:
    """An origin as browsers send it. Raises ValueError."""
    expected = "expected scheme and host as the browser shows them, like https://www.example.com"
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname or "*" in value:
        raise ValueError(f"{value!r} is no origin; {expected}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError(f"{value!r} is more than an origin; {expected}, without path")
    try:
        host = parts.hostname.encode("idna").decode("ascii")
        port = parts.port
    except (UnicodeError, ValueError):
        raise ValueError(f"{value!r} is no origin; {expected}") from None
    host = f"[{host}]" if ":" in host else host
    default = {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if port in (None, default) else f":{port}")


Origin = Annotated[str, AfterValidator(_origin)]


class WebChatAccount(BaseModel, extra="forbid", hide_input_in_errors=True):
    """Settings of a connection of the channel ``webchat``."""

    allowed_origins: list[Origin] = Field(default_factory=list)
    """Sites that may chat, exactly: ``["https://www.example.com"]``. Nobody may while it is empty."""
    title: str | dict[str, str] = Field(default="Chat")
    """Heading of the chat, or one for each language."""
    greeting: str | dict[str, str] = Field(default="")
    """What a visitor reads first, or a text for each language. It is shown, not stored."""
    color: str = Field(default="#1f4fd8", pattern="^#[0-9a-fA-F]{6}$")
    """Color of the button, the heading and the visitor's own messages."""
    ask_email: bool = False
    """Whether visitors are asked for their e-mail address after their first message."""
    languages: list[str] = Field(default_factory=lambda: ["en"], min_length=1, max_length=30)
    """Languages of the widget (BCP 47); the first is for visitors who read none of them."""
    texts: dict[str, dict[str, str]] = Field(default_factory=dict)
    """By language: texts that replace the widget's own. A language that it does not bring needs all of them."""
    presence: Literal["agents", "always", "never"] = "agents"
    """When visitors are told that somebody is online: while agents are, always, or never."""
    agent_names: bool = True
    """Whether visitors see the names of the users who answer."""
    identity_secret: SecretStr | None = None
    """What the company's own back end signs identities with: at least 32 characters."""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        for language in [*self.languages, *self.texts, *_named(self.title), *_named(self.greeting)]:
            if not _LANGUAGE.fullmatch(language):
                raise ValueError(f"{language!r} is no language; expected a tag like en or de-CH")
        for language, texts in self.texts.items():
            if unknown := sorted(set(texts) - set(KEYS)):
                raise ValueError(f"texts.{language} has {unknown[0]!r}; known are {', '.join(KEYS)}")
        for language in self.languages:
            missing = [key for key in KEYS if key not in self.words(language)]
            if missing:
                raise ValueError(
                    f"the widget brings no texts in {language!r} (it has {', '.join(TEXTS)}); "
                    f"texts.{language} lacks {', '.join(missing)}"
                )
        secret = self.identity_secret
        if secret is not None and len(secret.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"identity_secret is shorter than {SHORTEST_SECRET} characters; take a random one")
        return self

    def words(self, language: str) -> Mapping[str, str]:
        """The widget's texts in a language, as far as there are any."""
        base = TEXTS.get(language) or TEXTS.get(language.split("-")[0]) or {}
        return {**base, **self.texts.get(language, {})}

    def heading(self, language: str) -> str:
        """The title in a language."""
        return _in(self.title, language, self.languages[0])

    def welcome(self, language: str) -> str:
        """The greeting in a language."""
        return _in(self.greeting, language, self.languages[0])

    @property
    def ink(self) -> str:
        """Black or white, whichever is easier to read on ``color``."""
        return "#ffffff" if self._contrast >= 21 / self._contrast else "#000000"

    @property
    def ring(self) -> str:
        """The color of focus rings: ``color`` where it can be seen on white, else nearly black."""
        return self.color if self._contrast >= 3 else "#1d2129"

    @property
    def _contrast(self) -> float:
        """The contrast of ``color`` to white, 1 to 21, as WCAG 2 reckons it by relative luminance."""
        red, green, blue = (_linear(int(self.color[i : i + 2], 16) / 255) for i in (1, 3, 5))
        return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)


def _named(value: str | Mapping[str, str]) -> list[str]:
    return [] if isinstance(value, str) else list(value)


def _in(value: str | Mapping[str, str], language: str, first: str) -> str:
    if isinstance(value, str):
        return value
    for wanted in (language, language.split("-")[0], first):
        if wanted in value:
            return value[wanted]
    return next(iter(value.values()), "")


def _linear(share: float) -> float:
    return share / 12.92 if share <= 0.03928 else float(((share + 0.055) / 1.055) ** 2.4)
