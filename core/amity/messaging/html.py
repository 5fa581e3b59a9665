"""The HTML of messages, made harmless when it is read: what came is kept as it was.

* What runs, loads or submits something is gone: scripts, styles, frames, forms, SVG, handlers, ``javascript:``.
* Pictures from elsewhere are not loaded, as they tell the sender who opened a message, when and where; the
  argument ``remoteImages`` lets them. Pictures that came with the message show, by the signed URLs of its files.
* Links open nothing in the page that they are in: ``rel="noopener noreferrer"``, ``target="_blank"``.
* Of styles, those that set text, colors and spacing stay; what could cover the page around, or load, goes.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import nh3

from ..access import AccessDenied
from ..contracts import Context, FieldDeclaration, batch
from ..entity import decode_id
from ..model import File, Interaction
from .files import file_url
from .reading import rows_by
from .secrets import SecretsError

MAX_HTML = 2_000_000
"""Characters of HTML that are shown; of longer ones, the beginning."""
MAX_DEPTH = 500
"""Elements within each other that are shown; the time that parsing takes grows with their square."""


def _words(text: str) -> set[str]:
    return set(text.split())


_TAGS = _words(
    "a abbr acronym address article aside b bdi bdo big blockquote br caption center cite code col colgroup "
    "dd del details dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd "
    "li main mark nav ol p pre q rp rt ruby s samp section small span strike strong sub summary sup table "
    "tbody td tfoot th thead time tr tt u ul var wbr"
)
_EMPTIED = _words("script style title template noscript iframe object embed applet svg math textarea select")
"""Whose text is no text of the message."""
_BOX = {"align", "valign", "width", "height", "bgcolor", "dir", "lang", "title", "style"}
_ATTRIBUTES: dict[str, set[str]] = {
    "*": {"dir", "lang", "title", "style", "align"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height", "border"},
    "table": _BOX | {"border", "cellpadding", "cellspacing", "summary"},
    "td": _BOX | {"colspan", "rowspan", "nowrap"},
    "th": _BOX | {"colspan", "rowspan", "nowrap", "scope"},
    "tr": _BOX,
    "col": {"span", "width"},
    "colgroup": {"span", "width"},
    "font": {"color", "face", "size"},
    "ol": {"start", "type", "reversed"},
    "li": {"value"},
    "blockquote": {"type"},
    "time": {"datetime"},
    "hr": {"width", "size", "color"},
    "details": {"open"},
}
_STYLES = _words(
    "background-color border border-bottom border-bottom-color border-bottom-style border-bottom-width "
    "border-collapse border-color border-left border-left-color border-left-style border-left-width "
    "border-radius border-right border-right-color border-right-style border-right-width border-spacing "
    "border-style border-top border-top-color border-top-style border-top-width border-width color direction "
    "font font-family font-size font-style font-variant font-weight height letter-spacing line-height "
    "list-style-type max-width min-width padding padding-bottom padding-left padding-right padding-top "
    "text-align text-decoration text-indent text-transform vertical-align white-space width word-break "
    "word-spacing word-wrap"
)
_LOADING = re.compile(r"url|image|src|expression|attr\s*\(|var\s*\(|@|\\|/\*|javascript", re.IGNORECASE)
_PICTURE = re.compile(r"data:image/(png|jpe?g|gif|webp);base64,[A-Za-z0-9+/=\s]*", re.IGNORECASE)
_LINK = re.compile(r"(https?://|mailto:|tel:)", re.IGNORECASE)
_REMOTE = re.compile(r"https?://", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)", re.IGNORECASE)
_FLAT = _words("area base br col dd dt embed hr img input li link meta p param source td th tr track wbr")
"""Elements that have no end, or end where the next one begins."""


def sanitized(html: str, pictures: Mapping[str, str] | None = None, *, remote_images: bool = False) -> str:
    """HTML that can be put into a page. ``pictures`` are URLs by content id, for ``cid:``."""
    known = {_content_id(name): url for name, url in (pictures or {}).items()}

    def attribute(tag: str, name: str, value: str) -> str | None:
        if name == "href":
            return value if _LINK.match(value.strip()) else None
        if name == "src":
            return _source(value.strip(), known, remote_images)
        if name == "style":
            return None if _LOADING.search(value) else value
        return value

    return nh3.clean(
        _shallow(html[:MAX_HTML]),
        tags=_TAGS,
        clean_content_tags=_EMPTIED,
        attributes=_ATTRIBUTES,
        attribute_filter=attribute,
        set_tag_attribute_values={"a": {"target": "_blank"}},
        link_rel="noopener noreferrer",
        url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
        filter_style_properties=_STYLES,
    )


def _shallow(html: str) -> str:
    """The beginning of HTML, up to where its elements are nested too deep."""
    depth = 0
    for tag in _TAG.finditer(html):
        if tag[2].lower() in _FLAT:
            continue
        depth = max(0, depth - 1) if tag[1] else depth + 1
        if depth > MAX_DEPTH:
            return html[: tag.start()]
    return html


def _source(value: str, pictures: Mapping[str, str], remote_images: bool) -> str | None:
    if value[:4].lower() == "cid:":
        return pictures.get(_content_id(unquote(value[4:])))
    if _REMOTE.match(value):
        return value if remote_images else None
    return value if _PICTURE.fullmatch(value) else None


def _content_id(text: str) -> str:
    return text.strip().strip("<>").lower()


async def _htmls(
    context: Context, parents: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> list[Any]:
    """The field ``Interaction.html``: two statements and one pass over the HTML for all interactions."""
    session = context.session
    ids = [decode_id(Interaction.options.prefix, parent["id"]) for parent in parents]
    rows = await rows_by(session, Interaction, "id", ids, "html_source")
    sources: dict[UUID, str] = {row["id"]: row["html_source"] for row in rows if row["html_source"] is not None}
    within = [id for id, source in sources.items() if "cid:" in source.lower()]
    pictures = await _pictures(context, within) if within else {}
    remote = bool(arguments.get("remote_images"))
    work: Callable[[], dict[UUID, str]] = lambda: {  # noqa: E731
        id: sanitized(source, pictures.get(id), remote_images=remote) for id, source in sources.items()
    }
    shown = await asyncio.to_thread(work)
    return [shown.get(id) for id in ids]


async def _pictures(context: Context, ids: Sequence[UUID]) -> dict[UUID, dict[str, str]]:
    """URLs of the files that came with interactions, by content id."""
    found: dict[UUID, dict[str, str]] = defaultdict(dict)
    query = context.session.find(File).select("id", "interaction_id", "content_id", "state")
    try:
        rows = await query.where({"interaction_id": {"in": list(ids)}, "content_id": {"isNull": False}}).all()
    except AccessDenied:
        return {}  # who may read no files gets the text without its pictures
    for row in rows:
        if str(row["state"]).lower() == "stored":
            message = decode_id(Interaction.options.prefix, row["interaction_id"])
            try:
                url = file_url(context.crm, decode_id(File.options.prefix, row["id"]))
            except SecretsError:
                return {}  # without a key nothing can be signed, and the text is worth reading all the same
            found[message][row["content_id"]] = url
    return found


HTML_FIELDS: tuple[FieldDeclaration, ...] = (
    batch(
        Interaction,
        "html",
        str | None,
        needs=["id"],
        resolve=_htmls,
        description="The message as HTML, made harmless: no scripts, forms or styles that reach out, and no "
        "pictures from elsewhere unless they are asked for",
        arguments={"remote_images": (bool, False)},
    ),
)

__all__ = ["HTML_FIELDS", "MAX_HTML", "sanitized"]
