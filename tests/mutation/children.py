"""Functions run in forks of this process, which begin with everything that it has imported."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """``run`` is called in a fork and returns what JSON can hold; after ``timeout`` seconds it is killed."""

    name: Any
    run: Callable[[], Any]
    timeout: float


class Killed(Exception):
    """A child that did not finish: it ran out of time, or died."""


def in_children(tasks: Iterable[Task], jobs: int, log: Path) -> Iterator[tuple[Task, Any]]:
    """Each task with what it returned, as they finish; with ``Killed`` where it did not. ``jobs`` at a time.

    Tasks are taken one by one, when there is room: they may depend on results of those before.
    """
    gc.collect()
    gc.freeze()
    waiting = iter(tasks)
    running: dict[Connection, tuple[Task, int, float, Path]] = {}
    more = True
    try:
        while more or running:
            while more and len(running) < jobs:
                task = next(waiting, None)
                if task is None:
                    more = False
                    break
                _start(task, running, log)
            yield from _finished(running)
    finally:
        for connection in list(running):
            _end(connection, running)


def _start(task: Task, running: dict[Connection, tuple[Task, int, float, Path]], log: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="amity-mutant-"))
    here, there = Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        os.setsid()
        here.close()
        _child(task, there, folder, log)
    there.close()
    running[here] = task, child, time.monotonic() + task.timeout, folder


def _child(task: Task, connection: Connection, folder: Path, log: Path) -> None:
    """Does not come back: what the process registered for its end is the parent's."""
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        connection.send_bytes(json.dumps(task.run()).encode())
        status = 0
    finally:
        os._exit(status)


def _finished(running: dict[Connection, tuple[Task, int, float, Path]]) -> Iterator[tuple[Task, Any]]:
    first = min((deadline for _, _, deadline, _ in running.values()), default=0.0)
    ready = deque(wait(list(running), max(0.0, first - time.monotonic())))
    for connection in list(running):
        task, _, deadline, _ = running[connection]
        if connection in ready:
            assert isinstance(connection, Connection)
            try:
                result = json.loads(connection.recv_bytes())
            except EOFError:
                result = Killed("it died")
        elif time.monotonic() > deadline:
            result = Killed(f"it took longer than {task.timeout:.0f} s")
        else:
            continue
        _end(connection, running)
        yield task, result


def _end(connection: Connection, running: dict[Connection, tuple[Task, int, float, Path]]) -> None:
    _, child, _, folder = running.pop(connection)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    connection.close()
    shutil.rmtree(folder, ignore_errors=True)
