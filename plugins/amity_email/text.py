"""Plain text of a message's parts: flowed lines, HTML without its markup, invitations in words."""

from __future__ import annotations

import html
import re
from collections import Counter

import nh3

_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_ENDED_BY_THE_NEXT = {"dd", "dt", "li", "p", "tbody", "td", "tfoot", "th", "thead", "tr"}
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "div", "dl", "fieldset", "figure", "footer", "form", "header"}
    | {"hr", "main", "nav", "ol", "pre", "section", "table", "ul"}
    | _HEADINGS
    | _ENDED_BY_THE_NEXT
)
_CONTENTLESS = frozenset({"head", "noscript", "script", "style", "template", "title"})
_UNNESTED = frozenset(
    {
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "option",
        "param",
        "source",
        "wbr",
    }
    | _ENDED_BY_THE_NEXT
)
"""Elements that hold nothing, or that the next one of their kind ends."""
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:]{0,30})")
_CLEAN_TAG = re.compile(r'<(/?)([a-z0-9]+)(?: href="([^"]*)")?>')
MAX_WORK = 5_000_000
"""Open elements at each start tag, summed up. Newsletters have less than a tenth of that."""


def is_overnested(source: str) -> bool:
    """Whether HTML nests so deep that sanitizing it, here or later, would take minutes. Linear itself."""
    opened: Counter[str] = Counter()
    depth = work = 0
    for match in _TAG.finditer(source):
        name = match[2].lower()
        if name in _UNNESTED:
            work += depth
        elif not match[1]:
            opened[name] += 1
            depth += 1
            work += depth
        elif opened[name]:
            opened[name] -= 1
            depth -= 1
        if work > MAX_WORK:
            return True
    return False


def text_of_html(source: str) -> str:
    """The text of HTML, in lines. Links show where they lead if their text does not."""
    if is_overnested(source):
        return _squeezed(html.unescape(re.sub(r"<[^<>]*>", " ", source)))
    tidy = nh3.clean(
        source,
        tags={*_BLOCKS, "a", "br"},
        clean_content_tags=set(_CONTENTLESS),
        attributes={"a": {"href"}},
        url_schemes={"http", "https", "mailto", "tel"},
        link_rel=None,
    )
    parts: list[str] = []
    link: tuple[str, int] | None = None
    end = 0
    for match in _CLEAN_TAG.finditer(tidy):
        closing, name, href = match.groups()
        parts.append(re.sub(r"\s+", " ", html.unescape(tidy[end : match.start()])))
        end = match.end()
        if name == "a":
            if closing and link is not None:
                shown = "".join(parts[link[1] :])
                target = html.unescape(link[0])
                if shown.strip() and target.removeprefix("mailto:").rstrip("/") not in shown:
                    parts.append(f" <{target}>")
            link = (href, len(parts)) if href and not closing else None
        elif name == "br" or name in _BLOCKS:
            if name == "li":
                parts.append("" if closing else "\n- ")
            else:
                parts.append(" " if name in ("td", "th") else "\n")
            if name in ("p", "blockquote", "ul", "ol", "table"):
                parts.append("\n")
    parts.append(re.sub(r"\s+", " ", html.unescape(tidy[end:])))
    return _squeezed("".join(parts))


def _squeezed(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def html_of_text(text: str) -> str:
    """Plain text as HTML that shows it as it is."""
    return f'<div style="white-space: pre-wrap">{html.escape(text)}</div>'


def unflowed(text: str, *, delsp: bool) -> str:
    """Text of ``format=flowed`` (RFC 3676) with its paragraphs in one line each."""
    paragraphs: list[str] = []
    open_depth: int | None = None
    current: list[str] = []
    for line in text.split("\n"):
        content = line.lstrip(">")
        depth = len(line) - len(content)
        content = content.removeprefix(" ")
        if open_depth is not None and depth != open_depth:
            paragraphs.append("".join(current))
            current, open_depth = [], None
        if not current:
            current = [f"{'>' * depth} " if depth else ""]
        flows = content.endswith(" ") and content != "-- "
        current.append(content[:-1] if flows and delsp else content)
        open_depth = depth if flows else None
        if not flows:
            paragraphs.append("".join(current))
            current = []
    if current:
        paragraphs.append("".join(current))
    return "\n".join(paragraphs)


def text_of_calendar(source: str) -> str:
    """What an invitation (RFC 5545) is about, for messages that say nothing else."""
    unfolded = source.replace("\n ", "").replace("\n\t", "")
    event = unfolded.partition("BEGIN:VEVENT")[2] or unfolded
    found: dict[str, str] = {}
    for line in event.split("\n")[:500]:
        name, _, value = line.partition(":")
        found.setdefault(name.partition(";")[0].upper(), value.strip())
    lines = [found.get("SUMMARY", "Calendar entry")]
    lines += [f"{label}: {found[key]}" for key, label in _CALENDAR if found.get(key)]
    text = re.sub(r"\\([,;\\])", r"\1", "\n".join(lines).replace("\\n", "\n").replace("\\N", "\n"))
    return text.strip()


_CALENDAR = (("DTSTART", "Start"), ("DTEND", "End"), ("LOCATION", "Location"), ("DESCRIPTION", "Description"))


__all__ = ["html_of_text", "is_overnested", "text_of_calendar", "text_of_html", "unflowed"]
