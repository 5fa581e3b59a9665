"""The page of GraphiQL, the explorer."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from graphql import GraphQLSchema, parse, validate

from . import assets

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Amity</title>
<link rel="icon" href="data:,">
<style>body {{ margin: 0 }} #graphiql {{ height: 100vh }}</style>
{style}
</head>
<body>
<div id="graphiql">Loading…</div>
{scripts}
<script>
const tabs = {tabs};
const fetcher = GraphiQL.createFetcher({{ url: {url} }});
ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {{ fetcher, defaultTabs: tabs, defaultEditorToolsVisibility: "variables" }})
);
</script>
</body>
</html>
"""


def page(path: str, schema: GraphQLSchema) -> str:
    """The page for an endpoint at ``path``; its files are ours where they are all there, else the CDN's."""
    local = f"{path}/static" if assets.complete() else None
    style = _tag(assets.GRAPHIQL_STYLE, local)
    scripts = [_tag(asset, local) for asset in (assets.REACT, assets.REACT_DOM, assets.GRAPHIQL)]
    tabs = [{"query": text, "variables": ""} for text in examples(schema)]
    return _PAGE.format(style=style, scripts="\n".join(scripts), tabs=_script(tabs), url=_script(path))


def examples(schema: GraphQLSchema) -> list[str]:
    """Example operations that the schema has everything for, the customer's whole view first; each is a tab."""
    return [text for text in _examples() if not validate(schema, parse(text))]


@cache
def _examples() -> tuple[str, ...]:
    text = files(__package__).joinpath("examples.graphql").read_text(encoding="utf-8")
    found = []
    for definition in parse(text).definitions:
        assert definition.loc is not None
        found.append(text[definition.loc.start : definition.loc.end])
    return tuple(found)


def _tag(asset: assets.Asset, local: str | None) -> str:
    source = f"{local}/{asset.name}" if local else asset.url
    check = f'integrity="sha384-{asset.digest}" crossorigin="anonymous"'
    if asset.name.endswith(".css"):
        return f'<link rel="stylesheet" href="{source}" {check}>'
    return f'<script src="{source}" {check}></script>'


def _script(value: object) -> str:
    """A value as it may stand in a script within a page."""
    return json.dumps(value).replace("<", "\\u003c")
