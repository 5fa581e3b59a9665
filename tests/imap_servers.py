"""IMAP servers for tests: Dovecot in a folder of its own where it is installed, and a small one of our making.

The small one speaks the part of RFC 3501 and RFC 2177 that a client needs to read a folder: enough for the
tests to run anywhere, over a real socket. That real servers agree is what Dovecot is for.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from imapclient import IMAPClient

DOVECOT = shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
USER, PASSWORD = "support", "open_sesame"


class Mailboxes(Protocol):
    """What tests ask of a server."""

    account: dict[str, Any]

    async def put(self, folder: str, raw: bytes) -> None:
        """Delivers a message."""

    async def renumber(self, folder: str) -> None:
        """Gives the folder's messages new UIDs, and the folder another UIDVALIDITY."""

    async def restart(self) -> None:
        """Ends all connections, and takes new ones."""


def _account(port: int) -> dict[str, Any]:
    return {
        "imap_host": "127.0.0.1",
        "imap_port": port,
        "imap_security": "none",
        "imap_username": USER,
        "imap_password": PASSWORD,
        "imap_folder": "Support",
        "allow_private": True,
        "timeout": 10,
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


# --- the small one -----------------------------------------------------------------------------------------


class SmallServer:
    """Folders in memory. ``broken`` are UIDs that it can't read; ``idles`` is whether it has IDLE."""

    def __init__(self, *, idles: bool = True) -> None:
        self.folders: dict[str, dict[int, bytes]] = {"Support": {}, "Sent": {}}
        self.validity = 1
        self.broken: set[int] = set()
        self.idles = idles
        self.port = _free_port()
        self.account = _account(self.port)
        self.commands: list[str] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await self._server.wait_closed()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def put(self, folder: str, raw: bytes) -> None:
        messages = self.folders[folder]
        messages[max(messages, default=0) + 1] = raw

    async def renumber(self, folder: str) -> None:
        self.validity += 1
        kept = list(self.folders[folder].values())
        self.folders[folder] = dict(enumerate(reversed(kept), 1))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        folder = ""
        writer.write(b"* OK small server\r\n")
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := (await reader.readline()).decode().strip():
                tag, _, rest = line.partition(" ")
                self.commands.append(rest)
                verb = rest.upper().removeprefix("UID ").split(" ")[0]
                done = f"{tag} OK done\r\n"
                if verb == "LOGIN" and PASSWORD not in rest:
                    done = f"{tag} NO [AUTHENTICATIONFAILED] wrong password\r\n"
                elif verb == "CAPABILITY":
                    writer.write(b"* CAPABILITY IMAP4rev1%s\r\n" % (b" IDLE" if self.idles else b""))
                elif verb in ("SELECT", "EXAMINE"):
                    folder = rest.split(" ", 1)[1].strip('"')
                    done = self._select(writer, tag, folder)
                elif verb == "SEARCH":
                    first = int(re.findall(r"UID (\d+):\*", rest)[0])
                    found = [uid for uid in self.folders[folder] if uid >= first]
                    found = found or sorted(self.folders[folder])[-1:]  # n:* always has the last one
                    writer.write(f"* SEARCH {' '.join(map(str, found))}\r\n".encode())
                elif verb == "FETCH":
                    done = self._fetch(writer, tag, folder, rest)
                elif verb == "IDLE":
                    await self._idle(reader, writer, folder)
                elif verb == "LOGOUT":
                    writer.write(b"* BYE\r\n")
                writer.write(done.encode())
                await writer.drain()
                if verb == "LOGOUT":
                    break
        self._writers.discard(writer)
        writer.close()

    def _select(self, writer: asyncio.StreamWriter, tag: str, folder: str) -> str:
        if folder not in self.folders:
            return f"{tag} NO [NONEXISTENT] there is no such folder\r\n"
        messages = self.folders[folder]
        writer.write(f"* {len(messages)} EXISTS\r\n* OK [UIDVALIDITY {self.validity}] valid\r\n".encode())
        writer.write(f"* OK [UIDNEXT {max(messages, default=0) + 1}] next\r\n".encode())
        return f"{tag} OK [READ-ONLY] done\r\n"

    def _fetch(self, writer: asyncio.StreamWriter, tag: str, folder: str, rest: str) -> str:
        messages = self.folders[folder]
        wanted = [int(uid) for uid in rest.split(" ")[2].split(",")]
        if "BODY.PEEK[]" in rest and self.broken & set(wanted):
            return f"{tag} NO [SERVERBUG] internal error\r\n"
        for number, uid in enumerate(messages, 1):
            if uid not in wanted:
                continue
            raw = messages[uid]
            if "BODY.PEEK[" in rest:
                name = "BODY[HEADER]" if "HEADER" in rest else "BODY[]"
                data = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if "HEADER" in rest else raw
                writer.write(f"* {number} FETCH (UID {uid} {name} {{{len(data)}}}\r\n".encode() + data + b")\r\n")
            else:
                told = f'RFC822.SIZE {len(raw)} INTERNALDATE " 2-Mar-2026 10:00:00 +0100"'
                writer.write(f"* {number} FETCH (UID {uid} {told})\r\n".encode())
        return f"{tag} OK done\r\n"

    async def _idle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, folder: str) -> None:
        writer.write(b"+ idling\r\n")
        ended = asyncio.create_task(reader.readline())
        known = len(self.folders[folder])
        while not (await asyncio.wait([ended], timeout=0.02))[0]:
            if len(self.folders[folder]) != known:
                known = len(self.folders[folder])
                writer.write(f"* {known} EXISTS\r\n".encode())
                await writer.drain()


@asynccontextmanager
async def small_server(*, idles: bool = True) -> AsyncIterator[SmallServer]:
    server = SmallServer(idles=idles)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


# --- Dovecot -----------------------------------------------------------------------------------------------

_CONFIG = """
protocols = imap
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
default_internal_user = {us}
default_internal_group = {group}
default_login_user = {us}
first_valid_uid = 1
mail_location = maildir:{folder}/mail/%u
disable_plaintext_auth = no
auth_failure_delay = 0
ssl = {ssl}
{certificate}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {tls_port}
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


class Dovecot:
    """Dovecot, as the user that runs the tests, or as nobody where that is root."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path] | None) -> None:
        self.folder = folder
        self.port = _free_port()
        self.tls_port = _free_port() if certificate else 0
        self.account = _account(self.port)
        user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        shown = "" if certificate is None else f"ssl_cert = <{certificate[0]}\nssl_key = <{certificate[1]}"
        for name in ("run", "state", "mail"):
            (folder / name).mkdir()
        os.chown(folder / "mail", user.pw_uid, user.pw_gid)
        group = subprocess.run(
            ["id", "-gn", user.pw_name], capture_output=True, text=True, check=True
        ).stdout.strip()
        (folder / "dovecot.conf").write_text(
            _CONFIG.format(
                folder=folder, us=user.pw_name, group=group, uid=user.pw_uid, gid=user.pw_gid, port=self.port,
                tls_port=self.tls_port, password=PASSWORD, ssl="yes" if certificate else "no",
                certificate=shown,
            )
        )  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            str(DOVECOT), "-F", "-c", str(self.folder / "dovecot.conf"),
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        for _ in range(100):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
        raise RuntimeError((self.folder / "log").read_text())

    async def stop(self) -> None:
        assert self._process is not None
        # asked nicely, it keeps connections that wait for ten more seconds
        os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def put(self, folder: str, raw: bytes) -> None:
        await asyncio.to_thread(self._put, folder, [raw])

    async def renumber(self, folder: str) -> None:
        await asyncio.to_thread(self._renumber, folder)

    def _put(self, folder: str, raws: list[bytes]) -> None:
        with self._client() as client:
            if not client.folder_exists(folder):
                client.create_folder(folder)
            for raw in raws:
                client.append(folder, raw)

    def _renumber(self, folder: str) -> None:
        with self._client() as client:
            client.select_folder(folder)
            kept = client.fetch(client.search("ALL"), ["BODY.PEEK[]"])
            client.unselect_folder() if client.has_capability("UNSELECT") else client.close_folder()
            client.delete_folder(folder)
        self._put(folder, [data[b"BODY[]"] for data in reversed(list(kept.values()))])

    def _client(self) -> Any:
        client = IMAPClient("127.0.0.1", self.port, ssl=False, timeout=10)
        client.login(USER, self.account["imap_password"])
        return client


@asynccontextmanager
async def dovecot(certificate: tuple[Path, Path] | None = None) -> AsyncIterator[Dovecot]:
    # not pytest's folder, whose parents another user, as which it runs where this is root, can't walk through
    with tempfile.TemporaryDirectory(prefix="amity-dovecot-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        server = Dovecot(folder, certificate)
        await server.start()
        try:
            for name in ("Support", "Sent"):
                await asyncio.to_thread(server._put, name, [])
            yield server
        except Exception:
            print((folder / "log").read_text(), file=sys.stderr)
            raise
        finally:
            await server.stop()
