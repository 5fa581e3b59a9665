"""``amity`` at a shell, without the second that a process takes to import it.

A server has imported it once, and forks for each command, which gets the caller's arguments, environment, folder,
and standard streams. ``amity serve`` starts a process of its own, as always.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_COMMAND = """#!{python} -IS
import json, os, socket, sys
if "serve" in sys.argv:
    os.execv({amity!r}, sys.argv)
server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
socket.send_fds(server, [b"."], [0, 1, 2])
server.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
server.shutdown(socket.SHUT_WR)
sys.exit(int(server.recv(10) or b"1"))
"""


@contextmanager
def warm(folder: Path) -> Iterator[Path]:
    """A folder for the head of ``PATH``, whose ``amity`` is such a command."""
    path, bin = folder / "socket", folder / "bin"
    bin.mkdir()
    command = bin / "amity"
    amity = str(Path(sys.executable).parent / "amity")
    command.write_text(_COMMAND.format(python=sys.executable, amity=amity, path=str(path)), encoding="utf-8")
    command.chmod(0o755)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    number = listening.fileno()
    server = subprocess.Popen([sys.executable, "-m", "tests.warm", str(number)], pass_fds=[number], cwd=_ROOT)
    listening.close()
    try:
        yield bin
    finally:
        server.terminate()
        server.wait()


_ROOT = Path(__file__).parent.parent


def _serve(listening: socket.socket) -> None:
    import amity_graphql  # noqa: F401 what most commands import
    from amity.cli import main  # noqa: F401

    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        client, _ = listening.accept()
        with client:
            if os.fork() == 0:
                listening.close()
                _child(client)


def _child(client: socket.socket) -> None:
    """Runs one command, and does not come back."""
    status = 1
    try:
        _, streams, _, _ = socket.recv_fds(client, 1, 3)
        arguments, folder, environment = json.loads(b"".join(iter(lambda: client.recv(65_536), b"")))
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:0] = [item for item in environment.get("PYTHONPATH", "").split(os.pathsep) if item]
        status = _status(arguments)
    finally:
        client.sendall(str(status).encode())
        os._exit(status)


def _status(arguments: list[str]) -> int:
    from amity.cli import main

    sys.argv = ["amity", *arguments]
    try:
        main(prog_name="amity")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
