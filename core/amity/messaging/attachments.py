"""Files of messages that come in: stored before the transaction, or fetched once the message is here."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel

from ..change import Update
from ..contracts import Context, Job
from ..entity import new_id
from ..messages import Media
from ..model import File, Interaction
from . import text
from .connections import NotUsable, Opened, open_connections
from .files import columns_of, file_name, keep, media_type_of
from .reading import rows_by
from .storage import TooLarge

if TYPE_CHECKING:
    from ..crm import Crm, Session

RAW_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Attached:
    """A file that is to be written with its message."""

    columns: Mapping[str, Any]
    id: UUID = field(default_factory=new_id)

    def row(self, interaction: UUID | None) -> dict[str, Any]:
        return {**self.columns, "id": self.id, "interaction_id": interaction}


async def attach(crm: Crm, media: Media) -> Attached:
    """Stores the bytes of a file, if they are here. One that is too large is told, not raised.

    Raises :class:`~amity.messaging.storage.StorageError`.
    """
    known: dict[str, Any] = {
        "name": file_name(text.clean(media.name)),
        "media_type": media_type_of(media.media_type),
        "content_id": text.line(media.content_id, 300),
        "inline": media.inline,
    }
    if media.data is None:
        reference = text.clean(media.reference, 1000)
        if not reference:
            return Attached({**known, "state": "refused", "failure": "it came without its bytes"})
        return Attached({**known, "state": "pending", "reference": reference, "size": media.size})
    try:
        return Attached({**known, **columns_of(await keep(crm, media.data))})
    except TooLarge as problem:
        return Attached({**known, "state": "refused", "failure": str(problem), "size": len(media.data)})


async def attach_raw(crm: Crm, data: bytes, name: str = "message.raw") -> Attached:
    """Stores what nobody understood. Raises :class:`~amity.messaging.storage.StorageError`."""
    return await attach(crm, Media(name, RAW_TYPE, data))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class MediaToFetch(BaseModel):
    """Which files are to be fetched."""

    ids: list[UUID]


async def fetch_media(context: Context, payload: MediaToFetch) -> None:
    """Streams files from their channels into the storage; what fails is tried again with the job."""
    session = context.session
    rows = await rows_by(session, File, "id", payload.ids, "interaction_id", "reference", "state", "name")
    waiting = [row for row in rows if row["state"] == "pending"]
    connections = await _connections(session, [row["interaction_id"] for row in waiting])
    failed: list[str] = []
    for number, row in enumerate(waiting):
        context.progress(number, len(waiting))
        opened = connections.get(row["interaction_id"])
        if opened is None or isinstance(opened, NotUsable):
            problem = str(opened) if opened is not None else "its connection is gone"
            await _told(session, row["id"], {"failure": problem})
            failed.append(problem)
            continue
        try:
            stored = await keep(context.crm, _bytes(opened, row["reference"]))
        except TooLarge as error:
            await _told(session, row["id"], {"state": "refused", "failure": str(error)})
        except Exception as error:
            problem = str(error) if isinstance(error, _NotFetched) else f"{type(error).__name__}: {error}"
            await _told(session, row["id"], {"failure": text.clean(problem)})
            failed.append(problem)
        else:
            await _told(session, row["id"], {**columns_of(stored), "failure": None})
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(waiting)} files could not be fetched: {failed[0]}")


class _NotFetched(Exception):
    """What a channel says, told apart from problems of the storage."""


async def _bytes(opened: Opened, reference: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in opened.channel.media(opened.connected, reference):
            yield chunk
    except Exception as error:
        raise _NotFetched(opened.told(f"{type(error).__name__}: {error}")) from None


async def _told(session: Session, id: UUID, patch: Mapping[str, Any]) -> None:
    await session.update(File, [Update(id, patch)], read_only=True)


async def _connections(session: Session, interactions: Sequence[UUID]) -> dict[UUID, Opened | NotUsable]:
    """The connections that messages came by, by message."""
    rows = await rows_by(session, Interaction, "id", [id for id in interactions if id], "connection_id")
    of = {row["id"]: row["connection_id"] for row in rows if row["connection_id"] is not None}
    opened = await open_connections(session, list(dict.fromkeys(of.values())))
    return {message: opened[connection] for message, connection in of.items() if connection in opened}


FETCH_MEDIA: Job[MediaToFetch] = Job("fetch_media", MediaToFetch, fetch_media, timeout=timedelta(minutes=30))

__all__ = ["FETCH_MEDIA", "Attached", "MediaToFetch", "attach", "attach_raw", "digest", "fetch_media"]
