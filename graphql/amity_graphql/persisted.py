"""Operations that clients name by a hash instead of sending their text.

There are two kinds. *Automatic* ones (Apollo's protocol) are made known by the clients: the first request that
names a hash nobody knows is told so, sends text and hash, and from then on the hash will do, as long as this
process keeps the text. *Registered* ones are read from files when the CRM starts, and can be the only operations
that are answered over HTTP.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSyntaxError,
    Node,
    OperationDefinitionNode,
    Visitor,
    parse,
    visit,
)

from amity.composition import CompositionError

from .bounded import MAX_TEXT, Bounded
from .errors import (
    BAD_USER_INPUT,
    OPERATION_NOT_ALLOWED,
    PERSISTED_QUERY_NOT_FOUND,
    PERSISTED_QUERY_NOT_SUPPORTED,
    coded,
    placed,
)
from .settings import GraphQLSettings

_MISSING = "query is missing; expected the text of a GraphQL document"
_SUFFIXES = (".graphql", ".gql")


class Unreadable(ValueError):
    """Raised for files that are no operations; the text says which, and what was expected."""


@dataclass(frozen=True)
class Asked:
    """Which document a request is about: its text, its id, or both."""

    text: str | None
    id: str | None = None
    version: int = 1


def asked(request: Mapping[str, Any]) -> Asked:
    """The document that the JSON of a request names. Raises ValueError where it names none."""
    text = request.get("query")
    if text is not None and not isinstance(text, str):
        raise ValueError(_MISSING)
    text = text if text and text.strip() else None
    extensions = request.get("extensions")
    persisted = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    if persisted is not None:
        if not isinstance(persisted, dict) or not isinstance(persisted.get("sha256Hash"), str):
            raise ValueError('extensions.persistedQuery is wrong; expected {"version": 1, "sha256Hash": "…"}')
        return Asked(text, persisted["sha256Hash"], persisted.get("version", 1))
    id = request.get("documentId")
    if id is not None and not isinstance(id, str):
        raise ValueError(f"documentId is {type(id).__name__}; expected a text")
    if text is None and id is None:
        raise ValueError(_MISSING)
    return Asked(text, id.removeprefix("sha256:") if id else None)


def digest(text: str) -> str:
    """What a document is named by, unless a manifest says otherwise: SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


class Persisted:
    """The documents that can be named, of one schema in one process."""

    def __init__(self, settings: GraphQLSettings, registered: Mapping[str, str] | None = None) -> None:
        self.registered = dict(registered or {})
        """Texts by their ids."""
        self._texts = frozenset(self.registered.values())
        self._only = settings.only_persisted
        self._automatic: Bounded[str] = Bounded(settings.cached_documents, settings.cached_characters)

    def text(self, asked: Asked, valid: Callable[[str], bool]) -> str | GraphQLError:
        """The text of the document that a request is about, or why it is not answered.

        ``valid`` says whether a text is a document that could be run; no other is kept.
        """
        known = None if asked.id is None else self.registered.get(asked.id)
        if known is not None and asked.text in (None, known):
            return known
        if self._only:
            return self._not_allowed(asked)
        if asked.id is None or asked.version != 1:
            return asked.text if asked.text is not None and asked.id is None else _not_supported()
        if asked.text is None:
            return self._automatic.get(asked.id) or self._not_found()
        if digest(asked.text) != asked.id:
            message = "provided sha does not match query; send the SHA-256 of the query's text, in hexadecimal"
            return coded(GraphQLError(message), BAD_USER_INPUT)
        if len(asked.text) <= MAX_TEXT and valid(asked.text):
            self._automatic.put(asked.id, asked.text, len(asked.text))
        return asked.text

    def _not_allowed(self, asked: Asked) -> str | GraphQLError:
        if asked.id is None and asked.text in self._texts:
            return str(asked.text)
        message = "only operations that were registered are answered here (only_persisted in [graphql])"
        return coded(GraphQLError(message), OPERATION_NOT_ALLOWED)

    def _not_found(self) -> GraphQLError:
        if not self._automatic.most or not self._automatic.most_characters:
            return _not_supported()
        # the message is part of the protocol
        return coded(GraphQLError("PersistedQueryNotFound"), PERSISTED_QUERY_NOT_FOUND)


def _not_supported() -> GraphQLError:
    return coded(GraphQLError("PersistedQueryNotSupported"), PERSISTED_QUERY_NOT_SUPPORTED)


# --- files ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Registered:
    """A document from a file, with what it is to be named by, and what people know it by."""

    id: str
    name: str
    text: str


def registered(path: Path | None, problems: Callable[[str], Sequence[GraphQLError]]) -> dict[str, str]:
    """The texts of the registered operations by their ids, all of which fit the schema.

    ``problems`` says what is wrong with a text. Raises CompositionError, which names each file.
    """
    if path is None:
        return {}
    try:
        found = load(path)
    except Unreadable as error:
        raise CompositionError([f"registered operations: {line}" for line in str(error).splitlines()]) from error
    wrong = [
        f"the registered operation {item.name} does not fit the schema: {placed(error)}"
        for item in found
        for error in problems(item.text)
    ]
    if wrong:
        raise CompositionError(wrong)
    return {item.id: item.text for item in found}


def load(path: Path) -> list[Registered]:
    """The documents of a file or a folder. Raises :class:`Unreadable`, which lists all that is wrong.

    A file ends in ``.graphql`` or ``.gql`` and is one document; fragments may come from other files of the
    folder. Or it ends in ``.json`` and is a manifest: Relay's, ids to texts, or Apollo's.
    """
    if not path.exists():
        raise Unreadable(f"{path} is not there; expected a folder of .graphql files, or a manifest")
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    problems: list[str] = []
    found: list[Registered] = []
    documents: dict[Path, str] = {}
    for file in files:
        try:
            if file.suffix in _SUFFIXES:
                documents[file] = file.read_text(encoding="utf-8")
            elif file.suffix == ".json":
                found += _manifest(file)
            elif not path.is_dir():
                raise Unreadable(f"{file} ends in {file.suffix!r}; expected .graphql, .gql or .json")
        except (Unreadable, UnicodeDecodeError, OSError) as error:
            problems.append(str(error) if isinstance(error, Unreadable) else f"{file}: {error}")
    found += _combined(documents, problems)
    ids: dict[str, Registered] = {}
    for item in found:
        other = ids.setdefault(item.id, item)
        if other.text != item.text:
            problems.append(f"{other.name} and {item.name} have the same id {item.id!r}, and differ")
    if problems:
        raise Unreadable("\n".join(problems))
    return list(ids.values())


def _manifest(file: Path) -> Iterator[Registered]:
    expected = 'a manifest: {"<id>": "<document>"}, or Apollo\'s {"operations": [{"id": …, "body": …}]}'
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise Unreadable(f"{file} is no JSON: {error}; expected {expected}") from None
    operations = value.get("operations") if isinstance(value, dict) else None
    if isinstance(operations, list):
        pairs = [
            (item.get("id"), item.get("body")) if isinstance(item, dict) else (None, None) for item in operations
        ]
    else:
        pairs = list(value.items()) if isinstance(value, dict) else [(None, None)]
    for id, text in pairs:
        if not isinstance(id, str) or not isinstance(text, str):
            raise Unreadable(f"{file} is no manifest; expected {expected}")
        yield Registered(id, f"{file.name}: {id}", text)


def _combined(texts: Mapping[Path, str], problems: list[str]) -> Iterator[Registered]:
    """The files that have operations, each with the fragments that it needs from others."""
    parsed: dict[Path, DocumentNode] = {}
    fragments: dict[str, tuple[Path, FragmentDefinitionNode]] = {}
    for file, text in texts.items():
        try:
            parsed[file] = parse(text)
        except (GraphQLSyntaxError, RecursionError) as error:
            problems.append(f"{file}: {error}")
            continue
        for definition in parsed[file].definitions:
            if isinstance(definition, FragmentDefinitionNode):
                other, _ = fragments.setdefault(definition.name.value, (file, definition))
                if other != file:
                    problems.append(f"{file}: the fragment {definition.name.value} is in {other}, too")
    for file, document in parsed.items():
        if any(isinstance(item, OperationDefinitionNode) for item in document.definitions):
            needed = sorted(_needed(document, file, fragments), key=lambda item: item.name.value)
            text = "\n\n".join([texts[file], *(_text(item) for item in needed)])
            yield Registered(digest(text), str(file), text)


def _needed(
    document: DocumentNode, file: Path, fragments: Mapping[str, tuple[Path, FragmentDefinitionNode]]
) -> list[FragmentDefinitionNode]:
    """The fragments of other files that a document needs, and those that these need."""
    found: dict[str, FragmentDefinitionNode] = {}
    waiting = _spreads(document)
    while waiting:
        name = waiting.pop()
        home, fragment = fragments.get(name, (file, None))
        if fragment is not None and home != file and name not in found:
            found[name] = fragment
            waiting += _spreads(fragment)
    return list(found.values())


def _text(definition: FragmentDefinitionNode) -> str:
    assert definition.loc is not None
    return definition.loc.source.body[definition.loc.start : definition.loc.end]


def _spreads(node: Node) -> list[str]:
    found: list[str] = []

    class Collect(Visitor):
        def enter_fragment_spread(self, node: FragmentSpreadNode, *_: Any) -> None:
            found.append(node.name.value)

    visit(node, Collect())
    return found
