"""Where the bytes of files are kept: a folder, or an S3 bucket. The database has what is known about them.

Bytes are kept under their SHA-256, so that the same file is kept once and is never changed. They are stored
before the transaction that refers to them; what nothing refers to in the end is swept away later.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from ..settings import FileSettings

T = TypeVar("T")
CHUNK = 256 * 1024
"""Bytes that are read and written at a time."""
PART = 8 * 1024 * 1024
"""Bytes of a part of an upload to S3; smaller files go in one piece."""
_SHA256 = re.compile("[0-9a-f]{64}")


class StorageError(Exception):
    """Raised when bytes can't be stored or read."""


class TooLarge(StorageError):
    """Raised when a file has more bytes than ``[files] max_size`` allows. Nothing was stored."""


class Missing(StorageError, LookupError):
    """Raised when the storage has nothing under a key."""


@dataclass(frozen=True)
class Stored:
    """What was stored: the key that it is opened by, its size in bytes, its SHA-256 in hexadecimal digits."""

    key: str
    size: int
    sha256: str


class Storage(Protocol):
    """Keeps bytes. Every method may be called by several tasks, and several processes, at once."""

    async def put(self, chunks: AsyncIterable[bytes]) -> Stored:
        """Stores bytes, whole or not at all. Raises :class:`TooLarge`, :class:`StorageError`."""
        ...

    def open(self, key: str) -> AsyncIterator[bytes]:
        """The bytes, in pieces. Raises :class:`Missing` before the first one, :class:`StorageError`."""
        ...

    async def delete(self, key: str, *, put_before: datetime | None = None) -> bool:
        """Removes bytes, if they are there, and were not put again since; whether anything was removed."""
        ...

    def stored(self) -> AsyncIterator[tuple[str, datetime]]:
        """All keys, each with the time at which it was last put (UTC)."""
        ...

    async def close(self) -> None:
        """Ends connections."""
        ...


def storage_of(settings: FileSettings) -> Storage:
    """The storage that ``[files]`` asks for. Nothing is connected or made yet.

    Raises ImportError where ``storage = "s3"`` needs the extra ``amity[s3]``.
    """
    if settings.storage == "local":
        return LocalStorage(settings.folder, settings.max_size)
    secret = settings.secret_access_key
    return S3Storage(
        settings.bucket or "",
        prefix=settings.prefix,
        endpoint=settings.endpoint,
        region=settings.region,
        access_key_id=settings.access_key_id,
        secret_access_key=secret.get_secret_value() if secret else None,
        max_size=settings.max_size,
    )


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """Bytes that are there already, as a storage takes them."""
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]


# --- a folder ----------------------------------------------------------------------------------------------


class LocalStorage:
    """Files in a folder, in folders of two digits each: ``ab/cd/abcd…``. Made when something is stored."""

    def __init__(self, folder: Path, max_size: int) -> None:
        self.folder = folder
        self.max_size = max_size

    async def put(self, chunks: AsyncIterable[bytes]) -> Stored:
        async with _spooled(chunks, self.max_size, self.folder / "incoming") as spooled:
            await _on_disk(lambda: _keep(spooled.file, self._path(spooled.sha256)))
        return Stored(spooled.sha256, spooled.size, spooled.sha256)

    async def open(self, key: str) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(self._path(key).open, "rb")
        except FileNotFoundError:
            raise Missing(f"{self.folder} has no file {key}") from None
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror}") from error
        try:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk
        finally:
            file.close()

    async def delete(self, key: str, *, put_before: datetime | None = None) -> bool:
        path = self._path(key)

        def remove() -> bool:
            try:
                if put_before is not None and path.stat().st_mtime >= put_before.timestamp():
                    return False
                path.unlink()
            except FileNotFoundError:
                return False
            return True

        return await asyncio.to_thread(remove)

    async def stored(self) -> AsyncIterator[tuple[str, datetime]]:
        for path, modified in await asyncio.to_thread(self._listed):
            yield path, datetime.fromtimestamp(modified, UTC)

    def _listed(self) -> list[tuple[str, float]]:
        paths = [*self.folder.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*")]
        return [(path.name, path.stat().st_mtime) for path in paths if _SHA256.fullmatch(path.name)]

    async def close(self) -> None:
        """Nothing is held open."""

    def _path(self, key: str) -> Path:
        # keys come from the database, but a wrong one must lead nowhere else
        if not _SHA256.fullmatch(key):
            raise Missing(f"{key!r} is no key of a stored file")
        return self.folder / key[:2] / key[2:4] / key


def _keep(file: IO[bytes], path: Path) -> None:
    """Gives a finished file its name, in one step. Where it is kept already, that one becomes as new."""
    os.fsync(file.fileno())
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(file.name, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@dataclass(frozen=True)
class _Spooled:
    """Bytes that arrived whole, in a file that is gone afterwards."""

    file: IO[bytes]
    size: int
    sha256: str


@asynccontextmanager
async def _spooled(chunks: AsyncIterable[bytes], limit: int, folder: Path | None) -> AsyncIterator[_Spooled]:
    digest, size = hashlib.sha256(), 0

    def begin() -> Any:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return tempfile.NamedTemporaryFile(dir=folder, prefix="amity-", delete=False)

    def write(chunk: bytes) -> None:
        digest.update(chunk)
        file.write(chunk)

    def remove() -> None:
        file.close()
        Path(file.name).unlink(missing_ok=True)

    file = await _on_disk(begin)
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"it has more than {limit} bytes, which [files] max_size allows")
            await _on_disk(lambda: write(chunk))  # noqa: B023
        await _on_disk(file.flush)
        yield _Spooled(file, size, digest.hexdigest())
    finally:
        await asyncio.to_thread(remove)


async def _on_disk(work: Callable[[], T]) -> T:
    """Runs what works on files, apart from the loop. Raises :class:`StorageError` for what the disk refuses."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise StorageError(f"{where}{error.strerror or error}; check [files] folder") from error


# --- S3 ----------------------------------------------------------------------------------------------------


class S3Storage:
    """Files in a bucket of Amazon S3, or of another server that speaks its protocol. Needs ``amity[s3]``.

    Without keys of its own it takes those of the environment, as all AWS clients do.
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint: str | None = None,
        region: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        max_size: int,
    ) -> None:
        # the extra is optional
        from aiobotocore.session import get_session
        from botocore.exceptions import BotoCoreError, ClientError

        self.bucket = bucket
        self.prefix = prefix
        self.max_size = max_size
        self._errors = (BotoCoreError, ClientError)
        self._make: Callable[[], AbstractAsyncContextManager[Any]] = lambda: get_session().create_client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
        )
        self._stack = AsyncExitStack()
        self._client: asyncio.Future[Any] | None = None

    async def put(self, chunks: AsyncIterable[bytes]) -> Stored:
        async with _spooled(chunks, self.max_size, None) as spooled:
            name = self._name(spooled.sha256)
            try:
                client = await self._connected()
                await asyncio.to_thread(spooled.file.seek, 0)
                if spooled.size <= PART:
                    body = await asyncio.to_thread(spooled.file.read)
                    await client.put_object(Bucket=self.bucket, Key=name, Body=body)
                else:
                    await self._put_parts(client, name, spooled.file)
            except self._errors as error:
                raise self._failed(error) from error
        return Stored(spooled.sha256, spooled.size, spooled.sha256)

    async def _put_parts(self, client: Any, name: str, file: IO[bytes]) -> None:
        upload = await client.create_multipart_upload(Bucket=self.bucket, Key=name)
        known = {"Bucket": self.bucket, "Key": name, "UploadId": upload["UploadId"]}
        try:
            parts: list[dict[str, Any]] = []
            while body := await asyncio.to_thread(file.read, PART):
                number = len(parts) + 1
                part = await client.upload_part(**known, PartNumber=number, Body=body)
                parts.append({"PartNumber": number, "ETag": part["ETag"]})
            await client.complete_multipart_upload(**known, MultipartUpload={"Parts": parts})
        except BaseException:
            await client.abort_multipart_upload(**known)
            raise

    async def open(self, key: str) -> AsyncIterator[bytes]:
        client = await self._connected()
        try:
            found = await client.get_object(Bucket=self.bucket, Key=self._name(key))
            async with found["Body"] as body:
                while chunk := await body.read(CHUNK):
                    yield chunk
        except client.exceptions.NoSuchKey:
            raise Missing(f"the bucket {self.bucket!r} has no object {self._name(key)}") from None
        except self._errors as error:
            raise self._failed(error) from error

    async def delete(self, key: str, *, put_before: datetime | None = None) -> bool:
        client = await self._connected()
        known = {"Bucket": self.bucket, "Key": self._name(key)}
        try:
            found = await client.head_object(**known)
            if put_before is not None and found["LastModified"] >= put_before:
                return False
            await client.delete_object(**known)
            return True
        except self._errors as error:
            if getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                return False
            raise self._failed(error) from error

    async def stored(self) -> AsyncIterator[tuple[str, datetime]]:
        client = await self._connected()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        async for page in pages:
            for item in page.get("Contents", ()):
                if _SHA256.fullmatch(key := item["Key"].removeprefix(self.prefix)):
                    yield key, item["LastModified"].astimezone(UTC)

    async def close(self) -> None:
        await self._stack.aclose()
        self._client = None

    async def _connected(self) -> Any:
        """The one client, which keeps a pool of connections."""
        if self._client is None or (self._client.done() and self._client.exception()):
            self._client = asyncio.ensure_future(self._stack.enter_async_context(self._make()))
        return await asyncio.shield(self._client)

    def _name(self, key: str) -> str:
        if not _SHA256.fullmatch(key):
            raise Missing(f"{key!r} is no key of a stored file")
        return f"{self.prefix}{key}"

    def _failed(self, error: Exception) -> StorageError:
        return StorageError(f"the bucket {self.bucket!r}: {error}; check [files]")


__all__ = ["LocalStorage", "Missing", "S3Storage", "Storage", "StorageError", "Stored", "TooLarge", "pieces"]
