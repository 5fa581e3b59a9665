"""Snippets of the documentation: reading them out of a page, running them, comparing what they show.

A page is run from top to bottom in one folder, one Python namespace, and one database of its own.

======== ====================================================================================================
fence    what is done with it
======== ====================================================================================================
python   run in the page's namespace; ``await`` may stand at the top level
graphql  answered by the page's CRM, or by the server that the page has started, with the page's API key
http     sent to the server that the page has started; a request line, headers, an empty line, a body
toml     read and checked, as the note above it says: settings, or a mapping of the CSV plugin
console  lines after ``$`` are run by a shell; what follows them is what they print, if it is shown
json     the answer of the graphql or http snippet before it
csv      written to the file that the note above it names
text     what the python snippet before it prints; not looked at anywhere else
======== ====================================================================================================

In what is shown, ``…`` stands for any characters. HTML comments above a fence are notes to the runner::

    <!-- setup: company, Visits -->   the page's CRM: with the company of tests/company.py, and these plugins
    <!-- variables: {"first": 2} -->  variables of a GraphQL operation
    <!-- file: shop/entities.py -->   the snippet is not run, but written to this file
    <!-- add: shop/__init__.py -->    its imports go to the top of the file, its indented lines to the end
    <!-- toml: settings -->           what a TOML snippet is: settings or mapping
    <!-- fails -->                    the command fails
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
import types
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amity import SYSTEM, Crm, Plugin
from amity.composition import compose
from amity.settings import from_mapping
from amity_csv.mapping import parse_mapping
from amity_graphql import execute

from . import company

ROOT = Path(__file__).parent.parent
NOT_RUN = frozenset(("", "mermaid", "text", "diff"))
START = 60.0
"""Seconds that a server may take to start, and a command to end."""

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]


@dataclass(frozen=True)
class Snippet:
    """A fence of a page, with the notes above it. ``line`` is that of its first line of text."""

    page: Path
    line: int
    language: str
    text: str
    notes: Mapping[str, str]


def snippets(page: Path) -> Iterator[Snippet]:
    """The fences of a page, from top to bottom."""
    notes: dict[str, str] = {}
    lines: list[str] | None = None
    language, start, indent = "", 0, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if lines is not None:
            if line.strip() == "```":
                yield Snippet(page, start, language, "\n".join(lines) + "\n", notes)
                notes, lines = {}, None
            else:
                lines.append(line.removeprefix(indent))
        elif fence := re.fullmatch(r"( *)```(\w*)", line):
            indent, language, start, lines = fence[1], fence[2], number + 1, []
        elif note := re.fullmatch(r" *<!-- (\w+)(?:: (.*))? -->", line):
            notes[note[1]] = note[2] or ""
    assert lines is None, f"{page.name}:{start}: the fence is not closed"


# --- comparing ---------------------------------------------------------------------------------------------


def same_text(shown: str, actual: str) -> bool:
    """Whether a text is what is shown; ``…`` in it stands for any characters."""
    pattern = ".*?".join(re.escape(part) for part in shown.split("…"))
    return re.fullmatch(pattern, actual, re.DOTALL) is not None


def differences(shown: Any, actual: Any, where: str = "answer") -> list[str]:
    """What of an answer is not as it is shown, one sentence each."""
    if isinstance(shown, dict) and isinstance(actual, dict):
        found = [f"{where}.{key} is shown, but not there" for key in shown.keys() - actual.keys()]
        found += [f"{where}.{key} is there, but not shown" for key in actual.keys() - shown.keys()]
        for key in shown.keys() & actual.keys():
            found += differences(shown[key], actual[key], f"{where}.{key}")
        return found
    if isinstance(shown, list) and isinstance(actual, list):
        if len(shown) != len(actual):
            return [f"{where} has {len(actual)} items, {len(shown)} are shown"]
        found = []
        for index, pair in enumerate(zip(shown, actual, strict=True)):
            found += differences(*pair, f"{where}[{index}]")
        return found
    if isinstance(shown, str) and isinstance(actual, str) and same_text(shown, actual):
        return []
    same = shown == actual and type(shown) is type(actual)
    return [] if same else [f"{where} is {actual!r}, shown is {shown!r}"]


def same_output(shown: str, printed: str) -> bool:
    """Whether a command prints what is shown. JSON may have its white space elsewhere."""
    try:
        return not differences(json.loads(shown), json.loads(printed))
    except json.JSONDecodeError:
        return same_text(_tidy(shown), _tidy(printed))


def _tidy(text: str) -> str:
    """The same, columns of tables one space apart: their widths are nobody's business."""
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


# --- running -----------------------------------------------------------------------------------------------


@dataclass
class Run:
    """One run of a page. ``folder`` is where files are written and commands are run."""

    page: Path
    folder: Path
    make_crm: MakeCrm
    port: int
    environment: Mapping[str, str]
    module: types.ModuleType
    stack: AsyncExitStack
    crm: Crm | None = None
    setup: AsyncExitStack = field(default_factory=AsyncExitStack)
    serving: bool = False
    answer: Any = None
    printed: str = ""
    key: str | None = None
    """The API key that a command of the page has printed; a page shows it as ``amity_…``."""

    async def snippet(self, snippet: Snippet) -> None:
        """Runs one snippet. Raises AssertionError with its place."""
        try:
            if snippet.language != "json":
                self.end()
            if "setup" in snippet.notes:
                await self._set_up(snippet.notes["setup"])
            if "file" in snippet.notes:
                self._write(self.folder / snippet.notes["file"], snippet.text)
            elif "add" in snippet.notes:
                self._add(self.folder / snippet.notes["add"], snippet.text)
            elif snippet.language not in NOT_RUN or (snippet.language == "text" and self.printed):
                run = getattr(self, f"_{snippet.language}", None)
                assert run is not None, f"nothing is known of {snippet.language!r} snippets"
                result = run(snippet)
                if inspect.isawaitable(result):
                    await result
        except Exception as error:
            place = f"{self.page.relative_to(ROOT)}:{snippet.line}"
            raise AssertionError(f"{place}: {type(error).__name__}: {error}\n\n{snippet.text}") from error

    def end(self) -> None:
        """Called where the page goes on: an answer that it did not show must at least be one."""
        answer, self.answer = self.answer, None
        assert "errors" not in (answer or {}), f"the operation before this fails: {answer['errors']}"

    async def close(self) -> None:
        """Closes what a page leaves open where one of its snippets fails."""
        await self.setup.aclose()
        for value in list(vars(self.module).values()):
            if isinstance(value, Crm) and value is not self.crm:
                await value.close()

    async def _set_up(self, note: str) -> None:
        await self.setup.aclose()
        first, *names = [name.strip() for name in note.split(",")]
        plugins: list[type[Plugin[Any]]] = [getattr(self.module, name) for name in names]
        crm = await self.setup.enter_async_context(self.make_crm(plugins, {"plugins": ["graphql"]}))
        await company.FILL[first](crm.acting_as(SYSTEM))
        self.crm = crm
        self.module.__dict__["crm"] = crm

    # --- files ---------------------------------------------------------------------------------------------

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _add(self, path: Path, text: str) -> None:
        """Imports go to the top, indented lines to the end; a line with ``class`` replaces that of the class."""
        top = [line for line in text.splitlines() if re.match(r"(from|import) ", line)]
        rest = [line for line in text.splitlines() if not line or line.startswith(" ")]
        lines = path.read_text(encoding="utf-8").rstrip().splitlines()
        for head in re.findall(r"^class (?:\w+)\(.*$", text, flags=re.MULTILINE):
            start = head[: head.index("(") + 1]
            lines = [head if line.startswith(start) else line for line in lines]
        first = next(index for index, line in enumerate(lines) if line.startswith("from __future__")) + 1
        self._write(path, "\n".join([*lines[:first], *top, *lines[first:], *rest]).rstrip() + "\n")

    def _csv(self, snippet: Snippet) -> None:
        raise AssertionError("a csv snippet needs a note that names its file")

    def _toml(self, snippet: Snippet) -> None:
        match snippet.notes.get("toml"):
            case "settings":
                settings = from_mapping(tomllib.loads(snippet.text))
                compose(settings)
            case "mapping":
                parse_mapping(snippet.text, Path("import.toml"))
            case _:
                raise AssertionError("a toml snippet needs a note: file, or toml: settings, or toml: mapping")

    # --- Python --------------------------------------------------------------------------------------------

    async def _python(self, snippet: Snippet) -> None:
        # empty lines before it, so that a traceback leads to the line of the page
        source = "\n" * (snippet.line - 1) + snippet.text
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, str(self.page), "exec", flags=flags, dont_inherit=True)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            result = eval(code, self.module.__dict__)
            if inspect.iscoroutine(result):
                await result
        self.printed = out.getvalue()

    def _text(self, snippet: Snippet) -> None:
        printed, self.printed = _tidy(self.printed), ""
        assert same_text(_tidy(snippet.text), printed), f"it prints\n{printed}"

    # --- GraphQL -------------------------------------------------------------------------------------------

    async def _graphql(self, snippet: Snippet) -> None:
        variables = json.loads(snippet.notes.get("variables", "{}"))
        if self.crm is None:
            assert self.serving, "a graphql snippet needs a server, or a note above it or an earlier one: setup"
            self.answer = await self._sent("POST", "/graphql", {"query": snippet.text, "variables": variables})
            return
        session = self.crm.acting_as(SYSTEM)
        result = await execute(self.crm, session, snippet.text, variables)
        self.answer = json.loads(result.encode())

    def _json(self, snippet: Snippet) -> None:
        assert self.answer is not None, "a json snippet shows the answer of a graphql or http snippet before it"
        answer, self.answer = self.answer, None
        found = differences(json.loads(snippet.text), answer)
        text = json.dumps(answer, indent=2, ensure_ascii=False)
        assert not found, "\n".join([*found, "", "the answer is", text])

    async def _http(self, snippet: Snippet) -> None:
        head, _, body = snippet.text.partition("\n\n")
        first, *lines = head.splitlines()
        method, path = first.split()
        headers = dict(line.split(": ", 1) for line in lines)
        self.answer = await self._sent(method, path, json.loads(body) if body.strip() else None, headers)

    async def _sent(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        data = None if body is None else json.dumps(body).encode()
        if headers is None:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        elif headers.get("Authorization") == "Bearer amity_…":
            headers = {**headers, "Authorization": f"Bearer {self.key}"}
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, dict(headers), method=method)
        return json.loads(await asyncio.to_thread(_sent, request))

    # --- commands ------------------------------------------------------------------------------------------

    async def _console(self, snippet: Snippet) -> None:
        for command, shown in _commands(snippet.text):
            program, *arguments = shlex.split(command)
            if program == "make":
                assert arguments[0].split("=")[0] in _targets(), f"the Makefile has no {arguments[0]}"
            elif program == "pip":
                self._pip(arguments)
            elif program == "amity" and "serve" in arguments:
                await self._serve(command)
            elif program == "cd":
                self.folder = (self.folder / arguments[0]).resolve()
            elif program not in ("git", "python3") and not command.startswith("source "):
                printed = await asyncio.to_thread(self._shell, command, "fails" in snippet.notes)
                if key := re.search(r"\bamity_\w{32,}[\w-]*", printed):
                    self.key = key[0]
                if shown:
                    assert same_output(shown, printed), f"{command}\nprints\n{printed}"

    def _shell(self, command: str, fails: bool) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START,
            check=False,
        )
        failed = done.returncode != 0
        expected = "to fail" if fails else "to succeed"
        assert failed == fails, f"expected {command}\n{expected}; it prints\n{done.stdout}{done.stderr}"
        return done.stdout or done.stderr

    def _pip(self, arguments: Sequence[str]) -> None:
        """Extras that are named must exist. A project of the page's folder is made known to later commands."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for name in re.findall(r"\[([a-z,]+)\]", " ".join(arguments)):
            assert set(name.split(",")) <= project["optional-dependencies"].keys(), f"there is no extra {name}"
        if arguments[:2] == ["install", "-e"] and (self.folder / arguments[2] / "pyproject.toml").exists():
            _installed(self.folder / arguments[2])

    async def _serve(self, command: str) -> None:
        server = await asyncio.to_thread(self._start, command)
        self.stack.push_async_callback(asyncio.to_thread, _stop, server)
        async with asyncio.timeout(START):
            while not await asyncio.to_thread(_listens, self.port):
                assert server.poll() is None, f"{command} ended: {server.stderr.read() if server.stderr else ''}"
                await asyncio.sleep(0.1)
        self.serving = True

    def _start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=dict(self.environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Commands, and what is shown of what each prints."""
    for part in re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def _targets() -> set[str]:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    return {match[1] for line in lines if (match := re.match(r"([a-z-]+):(?!=)", line))}


def _installed(folder: Path) -> None:
    """What ``pip install -e`` notes down of a project, in its own folder instead of the environment's."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    points = project["entry-points"]["amity.plugins"]
    text = "\n".join(f"{name} = {value}" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[amity.plugins]\n{text}\n", encoding="utf-8")


def _sent(request: urllib.request.Request) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=START) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return bytes(error.read())


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _stop(server: subprocess.Popen[str]) -> None:
    server.terminate()
    server.communicate(timeout=START)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def page_run(
    page: Path, folder: Path, make_crm: MakeCrm, url: str | None, commands: Path
) -> AsyncIterator[Run]:
    """A run of a page in a folder, with the ``amity`` of the folder ``commands``.

    ``url`` is the database of its commands; they make a SQLite file without.
    """
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AMITY_")},
        "PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(folder),
        "COLUMNS": "110",
        "NO_COLOR": "1",
        "AMITY_SERVER__PORT": str(port),
        **({"AMITY_DATABASE_URL": url} if url else {}),
    }
    module = types.ModuleType(f"page_{page.stem.replace('-', '_')}")
    sys.modules[module.__name__] = module
    before, variables = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    os.environ.update({name: value for name, value in environment.items() if name.startswith("AMITY_")})
    try:
        async with AsyncExitStack() as stack:
            run = Run(page, folder, make_crm, port, environment, module, stack)
            stack.push_async_callback(run.close)
            yield run
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(variables)
        del sys.modules[module.__name__]
