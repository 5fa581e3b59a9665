"""Files of messages: keeping their bytes, URLs that work for a while, and what nobody refers to any more.

A URL is given to whoever may read the file, and works for ``[files] link_seconds`` without any sign-in: it can
stand in a page, or be handed to a program that downloads.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import AsyncIterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from ..contracts import Action, ChangeResult, Context, FieldDeclaration, Permission, UserError, batch
from ..entity import InvalidId, decode_id, encode_id
from ..model import File
from .acting import core_of, user_of
from .reading import rows_by
from .secrets import SecretsError, vault
from .storage import Missing, StorageError, Stored, TooLarge, pieces

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from ..crm import Crm, Session

USE = "files"
"""What the vault of signatures is for."""
ADD_FILE = Permission("core.add_file", "Add files to be sent with messages")
SWEEP_AFTER = timedelta(days=1)
"""How long bytes that no file refers to are left alone: whoever stored them may be about to refer to them."""
SHOWN = frozenset(("image/png", "image/jpeg", "image/gif", "image/webp"))
"""Media types that a browser may show in place; everything else is downloaded."""
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+!#$&^_-]*/[a-z0-9][a-z0-9.+!#$&^_-]*", re.IGNORECASE)
_UNKNOWN_TYPE = "application/octet-stream"
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


# --- keeping -----------------------------------------------------------------------------------------------


async def keep(crm: Crm, data: bytes | AsyncIterable[bytes]) -> Stored:
    """Stores bytes, to be called before the transaction that refers to them.

    Raises :class:`~amity.messaging.storage.TooLarge` and :class:`~amity.messaging.storage.StorageError`.
    """
    return await crm.storage.put(pieces(data) if isinstance(data, bytes) else data)


def columns_of(stored: Stored) -> dict[str, Any]:
    """The columns of a ``File`` whose bytes were stored; to be written with ``read_only=True``."""
    return {"state": "stored", "size": stored.size, "sha256": stored.sha256, "storage_key": stored.key}


def file_name(name: str, otherwise: str = "file") -> str:
    """The last part of a path, without what could mislead whoever reads it; at most 300 characters."""
    last = PurePosixPath(PureWindowsPath(_CONTROL.sub("", name)).name).name.strip().strip(".")
    stem, dot, ending = last.rpartition(".")
    if len(last) > 300 and dot and len(ending) <= 20:
        return f"{stem[: 299 - len(ending)]}.{ending}"
    return last[:300] or otherwise


def media_type_of(text: str | None) -> str:
    """A media type in lower case, without parameters; ``application/octet-stream`` for what is none."""
    first = (text or "").split(";")[0].strip().lower()
    return first if _MEDIA_TYPE.fullmatch(first) and len(first) <= 150 else _UNKNOWN_TYPE


class AddFileInput(BaseModel):
    """A file to be sent with a message."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=300, description="File name")
    media_type: str = Field(default=_UNKNOWN_TYPE, max_length=150, description="Media type, like application/pdf")
    content: str = Field(repr=False, description="Its bytes in base64")


async def add_files(context: Context, inputs: Sequence[AddFileInput]) -> Sequence[UUID | UserError]:
    """Stores files that no message has taken along yet, for the user who adds them."""
    results: dict[int, UUID | UserError] = {}
    rows: dict[int, dict[str, Any]] = {}
    for index, item in enumerate(inputs):
        try:
            stored = await keep(context.crm, base64.b64decode(item.content, validate=True))
        except binascii.Error:
            results[index] = UserError(index, ("content",), "invalid", "is no base64")
        except TooLarge as problem:
            results[index] = UserError(index, ("content",), "invalid", str(problem))
        else:
            known = {"name": file_name(item.name), "media_type": media_type_of(item.media_type)}
            rows[index] = {**known, **columns_of(stored), "user_id": user_of(context.session)}

    async def work(joined: Session) -> ChangeResult:
        # the permission is what is needed to add files; the right to create them is that of channels
        return await core_of(joined).create(File, list(rows.values()), on_error="skip_invalid", read_only=True)

    made = await context.session.transact(work)
    for place, id in zip(rows, made.ids, strict=True):
        if id is not None:
            results[place] = id
    places = list(rows)
    for error in made.errors:
        place = places[error.index]
        results.setdefault(place, UserError(place, error.path, error.code, error.message))
    return [results[index] for index in range(len(inputs))]


# --- URLs --------------------------------------------------------------------------------------------------


def file_url(crm: Crm, id: UUID, *, now: float | None = None) -> str:
    """A path that the file is downloaded by, which works for ``[files] link_seconds``.

    To be given only to whoever may read the file. Raises :class:`SecretsError` where there is no key.
    """
    expires = int(time.time() if now is None else now) + crm.settings.files.link_seconds
    name = encode_id(File.options.prefix, id)
    signature = vault(crm.settings, USE).sign(f"{name}:{expires}")
    return f"/files/{name}?expires={expires}&signature={signature}"


def may_download(crm: Crm, name: str, expires: str, signature: str, *, now: float | None = None) -> bool:
    """Whether a URL was made here, and still works."""
    if not expires.isascii() or not expires.isdigit() or len(expires) > 12:
        return False
    try:
        genuine = vault(crm.settings, USE).verify(f"{name}:{expires}", signature)
    except SecretsError:
        return False
    return genuine and int(expires) >= (time.time() if now is None else now)


async def _urls(
    context: Context, parents: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> list[str | None]:
    return [
        file_url(context.crm, decode_id(File.options.prefix, parent["id"]))
        if str(parent["state"]).lower() == "stored"
        else None
        for parent in parents
    ]


FILE_FIELDS: tuple[FieldDeclaration, ...] = (
    batch(
        File,
        "url",
        str | None,
        needs=["id", "state"],
        resolve=_urls,
        description="Where it is downloaded, for some minutes, without signing in; null until its bytes are here",
    ),
)


# --- downloading -------------------------------------------------------------------------------------------


def routes(crm: Crm) -> list[BaseRoute]:
    """The route of downloads, ``/files/<id>``."""
    # the server is optional
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route

    async def download(request: Request) -> Response:
        name = request.path_params["id"]
        query = request.query_params
        if not may_download(crm, name, query.get("expires", ""), query.get("signature", "")):
            message = "This link does not work, or not any more; ask for the file's url again\n"
            return PlainTextResponse(message, 403, headers=_SAFE)
        row = await _downloadable(crm, name)
        if row is None:
            return PlainTextResponse("There is no such file\n", 404, headers=_SAFE)
        headers = download_headers(row["name"], row["media_type"], row["size"], row["sha256"])
        if request.method == "HEAD":
            return PlainTextResponse("", headers=headers)
        chunks = crm.storage.open(row["storage_key"])
        try:
            # what is wrong with it is told before the first byte, or not at all
            first = await anext(chunks, b"")
        except Missing:
            return PlainTextResponse("The file's bytes are gone\n", 404, headers=_SAFE)
        except StorageError:
            return PlainTextResponse("The file can't be read at the moment\n", 503, headers=_SAFE)

        async def body() -> Any:
            try:
                yield first
                async for chunk in chunks:
                    yield chunk
            finally:
                await chunks.aclose()  # type: ignore[attr-defined]

        return StreamingResponse(body(), headers=headers)

    return [Route("/files/{id}", download, methods=["GET"])]


async def _downloadable(crm: Crm, name: str) -> dict[str, Any] | None:
    from ..access import SYSTEM

    try:
        id = decode_id(File.options.prefix, name)
    except InvalidId:
        return None
    columns = ("name", "media_type", "size", "sha256", "state", "storage_key")
    rows = await rows_by(crm.acting_as(SYSTEM), File, "id", [id], *columns)
    return rows[0] if rows and rows[0]["state"] == "stored" and rows[0]["storage_key"] else None


_SAFE = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def download_headers(name: str, media_type: str, size: int | None, sha256: str | None) -> dict[str, str]:
    """Headers of a download. Nothing in a file can run, or be taken for something else than it says."""
    kind = media_type_of(media_type)
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "_", name.encode("ascii", "replace").decode())
    manner = "inline" if kind in SHOWN else "attachment"
    headers = {
        **_SAFE,
        "content-type": kind,
        "content-disposition": f"{manner}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "cache-control": "private, max-age=60",
    }
    if size is not None:
        headers["content-length"] = str(size)
    if sha256 is not None:
        headers["etag"] = f'"{sha256}"'
    return headers


# --- sweeping ----------------------------------------------------------------------------------------------


async def sweep(session: Session, *, now: datetime | None = None) -> int:
    """Removes bytes that no file refers to, not even a deleted one; how many files of them.

    Whatever else is in the same folder or bucket goes, too, if it has the name of stored bytes: what belongs to
    another database, above all. So nobody is swept for without having asked.
    """
    crm = session.crm
    before = (now or datetime.now(UTC)) - SWEEP_AFTER
    removed = 0
    batch_: list[str] = []

    async def remove(keys: Sequence[str]) -> int:
        used = {
            row["storage_key"]
            for row in await rows_by(session, File, "storage_key", keys, "storage_key", live=False)
        }
        return sum([await crm.storage.delete(key, put_before=before) for key in keys if key not in used])

    async for key, put in crm.storage.stored():
        if put < before:
            batch_.append(key)
        if len(batch_) >= 1000:
            removed += await remove(batch_)
            batch_ = []
    return removed + (await remove(batch_) if batch_ else 0)


FILE_ACTIONS: tuple[Action[Any], ...] = (
    Action(
        "add_file",
        AddFileInput,
        run=add_files,
        permission=ADD_FILE.name,
        entity=File,
        description="Stores a file, to be sent with a message",
        transactional=False,
    ),
)

__all__ = [
    "ADD_FILE",
    "FILE_ACTIONS",
    "FILE_FIELDS",
    "add_files",
    "columns_of",
    "download_headers",
    "file_name",
    "file_url",
    "keep",
    "may_download",
    "media_type_of",
    "routes",
    "sweep",
]
