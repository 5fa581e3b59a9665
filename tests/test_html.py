"""The HTML of messages: whatever it tries, nothing runs, loads or submits when it is read."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from amity import SYSTEM
from amity.entity import decode_id
from amity.messaging.files import columns_of, keep, routes
from amity.messaging.html import sanitized
from amity.model import File, Interaction
from amity.testing import recorded

from .conftest import MakeCrm

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(100)
ATTACKS = [
    "<script>alert(1)</script>",
    "<ScRiPt>alert(1)</sCrIpT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    '<img src="x" ONERROR="alert(1)">',
    "<img src=javascript:alert(1)>",
    "<img src=' &#14; javascript:alert(1);'>",
    '<img src="jav\tascript:alert(1)">',
    "<img src=&#106;&#97;&#118;&#97;&#115;&#99;&#114;&#105;&#112;&#116;&#58;alert(1)>",
    "<img src='data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+'>",
    "<img src='data:text/html,<script>alert(1)</script>'>",
    "<img src='https://tracker.example/p.gif?u=1'>",
    "<img src='//tracker.example/p.gif'>",
    "<img srcset='https://tracker.example/p.gif 2x'>",
    "<img src=cid:unknown>",
    "<picture><source srcset='https://tracker.example/a'><img src=x></picture>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='JaVaScRiPt:alert(1)'>x</a>",
    "<a href=' javascript:alert(1)'>x</a>",
    "<a href='java&#10;script:alert(1)'>x</a>",
    "<a href='vbscript:msgbox(1)'>x</a>",
    "<a href='data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=='>x</a>",
    "<a href='/files/fil_1'>x</a>",
    "<a href='https://ok.example' target=_self onclick=alert(1)>x</a>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<iframe src='https://evil.example'></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data='https://evil.example'></object>",
    "<embed src='https://evil.example'>",
    "<applet code=x></applet>",
    "<form action='https://evil.example'><input name=password><button>Sign in</button></form>",
    "<input autofocus onfocus=alert(1)>",
    "<button formaction='javascript:alert(1)'>x</button>",
    "<isindex type=image src=1 onerror=alert(1)>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href='https://evil.example/'>",
    "<link rel=stylesheet href='https://evil.example/x.css'>",
    "<style>@import 'https://evil.example/x.css'; body{background:url(https://tracker.example)}</style>",
    "<div style='background:url(https://tracker.example/p.gif)'>x</div>",
    "<div style='background-image:url(https://tracker.example/p.gif)'>x</div>",
    "<div style='color:red;background-color:u\\72l(https://tracker.example)'>x</div>",
    "<div style='width:expression(alert(1))'>x</div>",
    "<div style='position:fixed;top:0;left:0;width:100%;height:100%;z-index:9999'>x</div>",
    "<div style='font-family:&quot;</style><script>alert(1)</script>&quot;'>x</div>",
    "<div style='border-image:url(https://tracker.example)'>x</div>",
    "<table background='https://tracker.example/p.gif'><td background='https://tracker.example'>x</table>",
    "<video src='https://tracker.example' poster='https://tracker.example' onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<body onload=alert(1) background='https://tracker.example'>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<details open ontoggle=alert(1)>x</details>",
    "<p id='login' class='btn' name='getElementById'>x</p>",
    "<template><img src=x onerror=alert(1)></template>",
    "<!--><img src=x onerror=alert(1)-->",
    "<!--[if IE]><script>alert(1)</script><![endif]-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version='1.0'?><x:script xmlns:x='http://www.w3.org/1999/xhtml'>alert(1)</x:script>",
    "<a href='https://ok.example' ping='https://tracker.example'>x</a>",
    "<blockquote cite='https://tracker.example'>x</blockquote>",
    "<q cite='javascript:alert(1)'>x</q>",
    "<textarea></textarea><script>alert(1)</script>",
    "<title></title><img src=x onerror=alert(1)>",
    "<xmp><img src=x onerror=alert(1)></xmp>",
    "<plaintext><script>alert(1)</script>",
    "<p dir='\"><img src=x onerror=alert(1)>'>x</p>",
    "<a href='https://ok.example/\"onmouseover=\"alert(1)'>x</a>",
    "\x00<scr\x00ipt>alert(1)</scr\x00ipt>",
]
FORBIDDEN_TAGS = (
    "script style iframe frame frameset object embed applet svg math form input button select textarea "
    "meta base link video audio source track body html head title template noscript marquee picture dialog "
    "portal xmp plaintext isindex map area layer bgsound keygen"
)
FORBIDDEN = frozenset(FORBIDDEN_TAGS.split())
LOADING = frozenset(("id", "class", "name", "srcset", "background", "action", "cite", "ping", "poster", "data"))


@dataclass
class Found(HTMLParser):
    """What a page would make of HTML."""

    tags: list[tuple[str, Mapping[str, str | None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def found(html: str) -> Found:
    parser = Found()
    parser.feed(html)
    parser.close()
    return parser


def assert_harmless(html: str) -> None:
    for tag, attributes in found(html).tags:
        assert re.fullmatch("[a-z][a-z0-9]*", tag), html
        assert tag not in FORBIDDEN, html
        for name, value in attributes.items():
            assert not name.startswith("on"), html
            assert name not in LOADING, html
            text = (value or "").strip().lower()
            if name == "href":
                assert re.match(r"(https?://|mailto:|tel:)", text), html
                assert (attributes["rel"], attributes["target"]) == ("noopener noreferrer", "_blank")
            if name == "src":
                assert re.match(r"(/files/fil_|data:image/(png|gif|jpe?g|webp);base64,)", text), html
            if name == "style":
                assert not re.search(r"url|expression|position|z-index|\\|@|image", text), html


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_gets_through(attack: str) -> None:
    for html in (attack, f"<p>Hello</p>{attack}<p>Bye</p>", f'<div title="{attack}">{attack}'):
        assert_harmless(sanitized(html))


SNIPPETS = st.one_of(
    st.sampled_from(ATTACKS), st.sampled_from(["<", ">", '"', "'", "</p>", "&#x3c;"]), st.text(max_size=5)
)


@settings(max_examples=200)
@given(parts=st.lists(SNIPPETS, max_size=6))
def test_no_mixture_of_attacks_gets_through(parts: list[str]) -> None:
    once = sanitized("".join(parts))
    assert_harmless(once)
    assert_harmless(sanitized(once))


LOOKS = [
    ("<p>Hello <b>Ann</b><br>how are you?</p>", "<p>Hello <b>Ann</b><br>how are you?</p>"),
    (
        "<table><tr><td width='5' bgcolor='#fff'>x</table>",
        '<table><tbody><tr><td width="5" bgcolor="#fff">x</td></tr></tbody></table>',
    ),
    ("<span style='color:red;font-size:12px'>x</span>", '<span style="color:red;font-size:12px">x</span>'),
    (
        "<a href='https://ok.example?a=1&amp;b=2'>x</a>",
        '<a href="https://ok.example?a=1&amp;b=2" target="_blank" rel="noopener noreferrer">x</a>',
    ),
    ("<html><head><title>T</title></head><body><p>x</p></body></html>", "<p>x</p>"),
    ("1 < 2 & 3 > 2", "1 &lt; 2 &amp; 3 &gt; 2"),
    (
        "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>",
        '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
    ),
]


@pytest.mark.parametrize(("html", "shown"), LOOKS)
def test_what_is_harmless_stays(html: str, shown: str) -> None:
    assert sanitized(html) == shown


def test_pictures_from_elsewhere_are_loaded_only_when_asked_for() -> None:
    html = "<img src='https://pictures.example/a.png' alt='A chart'>"
    assert sanitized(html) == '<img alt="A chart">'
    assert sanitized(html, remote_images=True) == '<img src="https://pictures.example/a.png" alt="A chart">'


def test_deeply_nested_and_endless_html_is_done_with_in_time() -> None:
    began = time.perf_counter()
    deep = "<div>" * 400_000
    assert sanitized(f"<p>Hello</p>{deep}<p>deep down</p>") == f"<p>Hello</p>{'<div>' * 500}{'</div>' * 500}"
    for html in ("<b><i>" * 100_000, "<table><tr><td>" * 100_000, "<p" * 100_000, "<p>x<br>" * 100_000):
        assert_harmless(sanitized(html))
    assert sanitized("<p>x" * 1000).count("<p>") == 1000
    assert time.perf_counter() - began < 20


async def test_the_html_of_a_message_is_made_harmless_when_it_is_read(make_crm: MakeCrm) -> None:
    async with make_crm() as crm:
        session = crm.acting_as(SYSTEM)
        html = "<p>Hi</p><script>x</script><img src='cid:Logo%40x'><img src='cid:b'><img src='http://a.example/b'>"
        rows = [
            {"channel": "email", "direction": "inbound", "occurred_at": datetime.now(UTC), "html_source": source}
            for source in (html, None, "<b>x</b>")
        ]
        made = await session.create(Interaction, rows, read_only=True)
        ids = [id for id in made.ids if id is not None]
        stored = columns_of(await keep(crm, PICTURE))
        logo = {"name": "logo.png", "media_type": "image/png", "interaction_id": ids[0], "content_id": "logo@x"}
        assert not (await session.create(File, [{**logo, **stored}], read_only=True)).errors

        with recorded() as statements:
            answer = await session.find(Interaction).order_by("id").select("id", "html").all()
        assert len(statements) == 3
        shown = {decode_id("int", row["id"]): row["html"] for row in answer}
        assert shown[ids[1]] is None
        assert shown[ids[2]] == "<b>x</b>"
        assert_harmless(shown[ids[0]])
        (_, attributes), *others = [item for item in found(shown[ids[0]]).tags if item[0] == "img"]
        assert [other[1].get("src") for other in others] == [None, None]
        source = attributes["src"]
        assert source is not None
        transport = httpx2.ASGITransport(app=Starlette(routes=routes(crm)))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            picture = await http.get(source)
        assert (picture.content, picture.headers["content-type"]) == (PICTURE, "image/png")

        # what came is in no event, and can't be read as it came
        assert "<script>" not in str(await session.find("Event").select("after").all())
        with pytest.raises(ValueError, match="html_source"):
            await session.find(Interaction).select("html_source").all()
