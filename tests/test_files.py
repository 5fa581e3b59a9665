"""Files: where their bytes are kept, who may download them, and that nothing in them can do harm."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from starlette.applications import Starlette

from amity import SYSTEM, Crm, Session
from amity.messaging.files import (
    columns_of,
    download_headers,
    file_name,
    file_url,
    keep,
    media_type_of,
    routes,
    sweep,
)
from amity.messaging.storage import (
    CHUNK,
    PART,
    LocalStorage,
    Missing,
    S3Storage,
    Storage,
    StorageError,
    TooLarge,
    pieces,
)
from amity.model import File

from .conftest import MakeCrm

# --- storage -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """A server that speaks S3, on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["local", "s3"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    if request.param == "local":
        yield LocalStorage(tmp_path / "files", 20_000_000)
        return
    made = s3(request.getfixturevalue("s3_url"), prefix="some/where/")
    client = await made._connected()
    await client.create_bucket(Bucket=made.bucket)
    yield made
    for key in [key async for key, _ in made.stored()]:
        await made.delete(key)
    await made.close()


def s3(url: str, **given: Any) -> S3Storage:
    known = {"endpoint": url, "region": "us-east-1", "access_key_id": "test", "secret_access_key": "test"}
    return S3Storage("amity-files", max_size=20_000_000, **{**known, **given})


async def whole(storage: Storage, key: str) -> bytes:
    return b"".join([chunk async for chunk in storage.open(key)])


async def test_what_is_put_is_opened_again(storage: Storage) -> None:
    for size in (0, 1, CHUNK, CHUNK + 1, PART + 3 * CHUNK):
        data = (bytes(range(256)) * (size // 256 + 1))[:size]
        stored = await storage.put(pieces(data))
        assert (stored.size, stored.sha256) == (size, hashlib.sha256(data).hexdigest())
        assert await whole(storage, stored.key) == data


async def test_the_same_bytes_are_kept_once_by_however_many_at_once(storage: Storage) -> None:
    stored = await asyncio.gather(*(storage.put(pieces(b"hello")) for _ in range(10)))
    assert len({item.key for item in stored}) == 1
    assert len([key async for key, _ in storage.stored()]) == 1


async def test_what_is_too_large_or_breaks_off_is_not_kept(storage: Storage) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(CHUNK)

    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(TooLarge, match="max_size"):
        await storage.put(endless())
    with pytest.raises(ConnectionResetError):
        await storage.put(broken())
    assert [key async for key, _ in storage.stored()] == []


async def test_what_is_not_there_is_told(storage: Storage) -> None:
    with pytest.raises(Missing):
        await whole(storage, "ab" * 32)
    assert not await storage.delete("ab" * 32)


async def test_a_key_that_is_none_leads_nowhere(storage: Storage) -> None:
    for key in ("../../../etc/passwd", "", "/etc/passwd", "ab" * 31 + "/.", "AB" * 32):
        with pytest.raises(Missing):
            await whole(storage, key)
        with pytest.raises(Missing):
            await storage.delete(key)


async def test_bytes_that_were_put_again_are_not_deleted_for_their_age(storage: Storage) -> None:
    stored = await storage.put(pieces(b"again"))
    assert not await storage.delete(stored.key, put_before=datetime.now(UTC) - timedelta(hours=1))
    assert await whole(storage, stored.key) == b"again"
    assert await storage.delete(stored.key, put_before=datetime.now(UTC) + timedelta(hours=1))


async def test_nothing_is_left_of_what_was_not_finished(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, 10)
    with pytest.raises(TooLarge):
        await storage.put(pieces(bytes(11)))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_folder_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"check \[files\] folder"):
        await LocalStorage(tmp_path / "file", 10).put(pieces(b"x"))


async def test_a_bucket_that_is_not_there_is_told_without_the_key(s3_url: str) -> None:
    storage = s3(s3_url, secret_access_key="very-secret-key")
    storage.bucket = "nobodys-bucket"
    with pytest.raises(StorageError, match="nobodys-bucket") as caught:
        await storage.put(pieces(b"x"))
    assert "very-secret-key" not in str(caught.value)
    await storage.close()


async def test_a_crm_keeps_its_files_where_the_settings_say(make_crm: MakeCrm, s3_url: str) -> None:
    bucket = {"storage": "s3", "bucket": "of-the-crm", "prefix": "crm/", "endpoint": s3_url, "region": "us-east-1"}
    keys = {"access_key_id": "test", "secret_access_key": "test"}
    async with make_crm(settings={"files": {**bucket, **keys}}) as crm, client(crm) as http:
        assert isinstance(crm.storage, S3Storage)
        await (await crm.storage._connected()).create_bucket(Bucket="of-the-crm")
        id = await add(crm.acting_as(SYSTEM), b"in the bucket")
        assert (await http.get(file_url(crm, id))).content == b"in the bucket"
        assert [key async for key, _ in crm.storage.stored()] == [hashlib.sha256(b"in the bucket").hexdigest()]


async def test_the_loop_goes_on_while_bytes_are_stored(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, 100_000_000)
    longest, running = 0.0, True

    async def watch() -> None:
        nonlocal longest
        while running:
            began = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - began)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(1_000_000)

    watching = asyncio.create_task(watch())
    began = time.perf_counter()
    await storage.put(chunks())
    took = time.perf_counter() - began
    running = False
    await watching
    assert longest < took / 2


# --- names and headers -------------------------------------------------------------------------------------

NAMES = {
    "report.pdf": "report.pdf",
    "../../etc/passwd": "passwd",
    "C:\\Users\\ann\\offer.docx": "offer.docx",
    "a\r\nb\x00.txt": "ab.txt",
    "invoice\u202efdp.exe": "invoicefdp.exe",
    "  .hidden. ": "hidden",
    "": "file",
    "..": "file",
    "\u738b\u4f1f.png": "\u738b\u4f1f.png",
    "x" * 400 + ".pdf": "x" * 296 + ".pdf",
}


@pytest.mark.parametrize(("given", "kept"), NAMES.items())
def test_a_file_has_a_name_that_misleads_nobody(given: str, kept: str) -> None:
    assert file_name(given) == kept


@given(name=st.text(max_size=400), media_type=st.text(max_size=50))
def test_headers_are_headers_whatever_a_file_is_called(name: str, media_type: str) -> None:
    headers = download_headers(file_name(name), media_type_of(media_type), 1, "ab")
    for value in headers.values():
        assert re.fullmatch(r"[\x20-\x7e]*", value)
    assert headers["content-disposition"].count('"') == 2


@pytest.mark.parametrize(
    ("media_type", "manner"),
    [
        ("image/png", "inline"),
        ("IMAGE/JPEG; x=y", "inline"),
        ("image/svg+xml", "attachment"),
        ("text/html", "attachment"),
        ("application/pdf", "attachment"),
        ("x\r\nset-cookie: a=b", "attachment"),
    ],
)
def test_only_pictures_that_are_nothing_else_are_shown(media_type: str, manner: str) -> None:
    headers = download_headers("a", media_type, None, None)
    assert headers["content-disposition"].startswith(f"{manner};")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"


# --- downloading -------------------------------------------------------------------------------------------


@asynccontextmanager
async def client(crm: Crm) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=Starlette(routes=routes(crm)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as made:
        yield made


async def add(session: Session, data: bytes, **given: Any) -> UUID:
    stored = await keep(session.crm, data)
    row = {"name": "offer.pdf", "media_type": "application/pdf", **columns_of(stored), **given}
    result = await session.create(File, [row], read_only=True)
    assert not result.errors, result.errors
    assert result.ids[0] is not None
    return result.ids[0]


async def test_a_file_is_downloaded_by_the_url_that_was_given_for_it(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        data = bytes(range(256)) * 3000
        id = await add(session, data, name="Angebot \u738b.pdf")
        row = await session.find(File).select("url", "size", "sha256", "state").get(id)
        assert row is not None
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        async with client(crm) as http:
            answer = await http.get(row["url"])
            assert (answer.status_code, answer.content) == (200, data)
            assert answer.headers["content-length"] == str(len(data))
            assert answer.headers["content-type"] == "application/pdf"
            assert answer.headers["content-disposition"] == (
                "attachment; filename=\"Angebot _.pdf\"; filename*=UTF-8''Angebot%20%E7%8E%8B.pdf"
            )
            assert (await http.head(row["url"])).headers["content-length"] == str(len(data))


async def test_no_other_url_than_a_fresh_one_of_ours_opens_a_file(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"files": {"link_seconds": 60}}) as crm, client(crm) as http:
        session = crm.acting_as(SYSTEM)
        id, other = await add(session, b"one"), await add(session, b"two")
        url = file_url(crm, id)
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        path = urlsplit(url).path
        tampered = [
            f"{urlsplit(file_url(crm, other)).path}?{urlsplit(url).query}",
            f"{path}?expires={int(query['expires']) + 60}&signature={query['signature']}",
            f"{path}?expires={query['expires']}&signature={query['signature'][:-1]}",
            f"{path}?expires={query['expires']}&signature=",
            f"{path}?expires=9e99&signature={query['signature']}",
            f"{path}?expires=\u0661&signature={query['signature']}",
            path,
            file_url(crm, id, now=time.time() - 61),
        ]
        for wrong in tampered:
            answer = await http.get(wrong)
            assert (answer.status_code, answer.headers["cache-control"]) == (403, "no-store"), wrong
        assert (await http.get(url)).content == b"one"
        assert (await http.get(file_url(crm, id, now=time.time() - 58))).content == b"one"


async def test_a_file_that_is_gone_is_not_found(make_crm: MakeCrm) -> None:
    async with make_crm() as crm, client(crm) as http:
        session = crm.acting_as(SYSTEM)
        deleted, lost, pending = [await add(session, text) for text in (b"deleted", b"lost", b"pending")]
        await session.delete(File, [deleted])
        await crm.storage.delete(hashlib.sha256(b"lost").hexdigest())
        waiting = await add(session, b"x", state="pending", storage_key=None)
        for id, status in ((deleted, 404), (lost, 404), (waiting, 404), (UUID(int=1), 404), (pending, 200)):
            assert (await http.get(file_url(crm, id))).status_code == status
        row = await session.find(File).select("url").get(waiting)
        assert row == {"url": None}


async def test_an_app_adds_files_to_be_sent(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"files": {"max_size": 10}}) as crm, client(crm) as http:
        session = crm.acting_as(SYSTEM)
        contents = [base64.b64encode(b"hello").decode(), "no base64!", base64.b64encode(bytes(11)).decode()]
        rows = [{"name": "../a.txt", "media_type": "Text/Plain; charset=x", "content": text} for text in contents]
        result = await session.run("add_file", rows, on_error="skip_invalid")
        assert [(error.index, error.path) for error in result.errors] == [(1, ("content",)), (2, ("content",))]
        assert result.ids[0] is not None
        row = await session.find(File).select("name", "media_type", "size", "url").get(result.ids[0])
        assert row is not None
        assert (row["name"], row["media_type"], row["size"]) == ("a.txt", "text/plain", "5")
        assert (await http.get(row["url"])).content == b"hello"


async def test_without_a_key_a_file_has_no_url_and_the_rest_of_the_answer_is_there(make_crm: MakeCrm) -> None:
    async with make_crm(settings={"security": {"keys": []}}) as crm:
        session = crm.acting_as(SYSTEM)
        await add(session, b"one")
        answer = await session.read({"files": session.find(File).select("name", "url").root()})
        assert answer.parsed()["files"]["nodes"] == [{"name": "offer.pdf", "url": None}]
        assert len(answer.errors) == 1


async def test_bytes_that_nothing_refers_to_are_swept_away(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        await add(session, b"kept")
        await session.delete(File, [await add(session, b"deleted, and may come back")])
        await keep(crm, b"orphan")

        assert await sweep(session) == 0
        assert await sweep(session, now=datetime.now(UTC) + timedelta(days=2)) == 1
        left = {key async for key, _ in crm.storage.stored()}
        assert left == {hashlib.sha256(data).hexdigest() for data in (b"kept", b"deleted, and may come back")}
