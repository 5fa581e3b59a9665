"""The page of GraphiQL, the explorer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template

from graphql import GraphQLSchema, parse, validate

from . import assets
from .settings import SignIn


@dataclass(frozen=True)
class Explorer:
    """The page, and the content security policy that it is to be sent with."""

    page: str
    policy: str


def explorer(path: str, session: str, schema: GraphQLSchema, sign_ins: Sequence[SignIn] = ()) -> Explorer:
    """The page for an endpoint at ``path``, with sign-in at ``session``.

    GraphiQL's files are ours where they are all there, else the CDN's. ``sign_ins`` are offered as buttons, and
    their passwords stand in the page.
    """
    local = f"{path}/static" if assets.complete() else None
    nonce = secrets.token_urlsafe(16)
    scripts = [_script_tag(asset, local, nonce) for asset in (assets.REACT, assets.REACT_DOM, assets.GRAPHIQL)]
    page = _template().substitute(
        style=_style_tag(assets.GRAPHIQL_STYLE, local),
        scripts="\n".join(scripts),
        nonce=nonce,
        tabs=_script([{"query": text, "variables": ""} for text in examples(schema)]),
        sign_ins=_script([item.model_dump() for item in sign_ins]),
        session=_script(session),
        url=_script(path),
    )
    return Explorer(page, _policy(nonce, None if local else assets.CDN))


def _policy(nonce: str, cdn: str | None) -> str:
    """Scripts are those that the page names; nothing is sent anywhere else; no page may frame it."""
    styles = f" {cdn}" if cdn else ""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'nonce-{nonce}'",
            f"style-src 'self' 'unsafe-inline'{styles}",
            "font-src 'self' data:",
            "img-src 'self' data:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def examples(schema: GraphQLSchema) -> list[str]:
    """Example operations that the schema has everything for, the customer's whole view first; each is a tab."""
    return [text for text in _examples() if not validate(schema, parse(text))]


@cache
def _template() -> Template:
    return Template(files(__package__).joinpath("explorer.html").read_text(encoding="utf-8"))


@cache
def _examples() -> tuple[str, ...]:
    text = files(__package__).joinpath("examples.graphql").read_text(encoding="utf-8")
    found = []
    for definition in parse(text).definitions:
        assert definition.loc is not None
        found.append(text[definition.loc.start : definition.loc.end])
    return tuple(found)


def _style_tag(asset: assets.Asset, local: str | None) -> str:
    return f'<link rel="stylesheet" href="{_source(asset, local)}" {_check(asset)}>'


def _script_tag(asset: assets.Asset, local: str | None, nonce: str) -> str:
    return f'<script nonce="{nonce}" src="{_source(asset, local)}" {_check(asset)}></script>'


def _source(asset: assets.Asset, local: str | None) -> str:
    return f"{local}/{asset.name}" if local else asset.url


def _check(asset: assets.Asset) -> str:
    return f'integrity="sha384-{asset.digest}" crossorigin="anonymous"'


def _script(value: object) -> str:
    """A value as it may stand in a script within a page."""
    return json.dumps(value).replace("<", "\\u003c")
