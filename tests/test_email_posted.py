"""Messages that are posted to a mailbox over HTTP, and the account's settings."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from amity import Interaction, Undelivered
from amity.entity import encode_id
from amity.server import app
from amity_email import EmailAccount
from tests.conftest import MakeCrm
from tests.email_corpus.build import MAILBOX, envelope, message
from tests.email_office import SECRET, Office, office

ROOT = Path(__file__).parent.parent
BEARER = {"Authorization": f"Bearer {SECRET}"}
HELLO = message(envelope("posted.1@kunde.example", subject="Hello"), "from outside")


@asynccontextmanager
async def door(
    make_crm: MakeCrm, folder: Path, **account: Any
) -> AsyncIterator[tuple[Office, httpx2.AsyncClient, str]]:
    async with office(make_crm, folder, **account) as place:
        transport = httpx2.ASGITransport(app=app(place.crm, opens=False))
        async with httpx2.AsyncClient(transport=transport, base_url="https://crm.amity-crm.example") as client:
            yield place, client, f"/connections/{encode_id('con', place.id)}"


async def test_posted_messages_come_in_once(make_crm: MakeCrm, tmp_path: Path) -> None:
    signature = hmac.new(SECRET.encode(), HELLO, hashlib.sha256).hexdigest()
    async with door(make_crm, tmp_path) as (place, client, url):
        for headers in (BEARER, {"X-Signature": f"sha256={signature}"}, {"authorization": f"bearer {SECRET}"}):
            answer = await client.post(url, content=HELLO, headers=headers)
            assert (answer.status_code, answer.content) == (204, b"")
        (row,) = await place.messages("subject", "body", "direction", "customer.name")
        assert row == {
            "subject": "Hello",
            "body": "from outside",
            "direction": "inbound",
            "customer": {"name": "Anna Keller"},
        }


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer guessed"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {SECRET}"},
        {"X-Signature": "sha256=0000"},
        {"X-Signature": "sha256=" + hmac.new(SECRET.encode(), b"other", hashlib.sha256).hexdigest()},
        {"X-Signature": "ü"},
    ],
    ids=range(7),
)
async def test_nobody_else_can_post(make_crm: MakeCrm, tmp_path: Path, headers: dict[str, str]) -> None:
    given = {name: value.encode() for name, value in headers.items()}
    async with door(make_crm, tmp_path) as (place, client, url):
        answer = await client.post(url, content=HELLO, headers=given)  # type: ignore[arg-type]
        assert answer.status_code == 401
        assert await place.session.find(Interaction).count() == 0
        assert await place.session.find(Undelivered).count() == 0


async def test_nobody_can_post_where_there_is_no_secret(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with door(make_crm, tmp_path, webhook_secret=None) as (_, client, url):
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
            assert (await client.post(url, content=HELLO, headers=headers)).status_code == 401


async def test_copies_of_what_was_sent_are_posted_as_such(make_crm: MakeCrm, tmp_path: Path) -> None:
    copy = message(
        envelope("copy.1@amity-crm.example", MAILBOX, to="Anna <anna@kunde.example>",
                 more=[("In-Reply-To", "<posted.1@kunde.example>")]),
        "our answer",
    )  # fmt: skip
    async with door(make_crm, tmp_path) as (place, client, url):
        for raw, query in ((HELLO, ""), (copy, "?folder=sent")):
            assert (await client.post(url + query, content=raw, headers=BEARER)).status_code == 204
        rows = await place.messages("body", "direction", "conversation.id", "address")
        assert {(row["body"], row["direction"], row["address"]) for row in rows} == {
            ("from outside", "inbound", "anna@kunde.example"),
            ("our answer", "outbound", "anna@kunde.example"),
        }
        assert len({row["conversation"]["id"] for row in rows}) == 1


async def test_what_is_no_mail_or_too_large_is_kept_with_the_reason(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with door(make_crm, tmp_path, max_size=10_000) as (place, client, url):
        large = message(envelope("large.1@kunde.example"), "x" * 20_000)
        for raw in (b"no mail", large, b"no mail"):
            assert (await client.post(url, content=raw, headers=BEARER)).status_code == 204
        rows = await place.session.find(Undelivered).select("reason", "file.size").all()
        assert sorted((row["reason"], int(row["file"]["size"])) for row in rows) == [
            (f"it has {len(large)} bytes, and at most 10000 are taken", len(large)),
            ("it has no header fields, so it is no e-mail", 7),
        ]


# --- the account -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"address": "nobody"}, "is no e-mail address"),
        ({"aliases": ["nobody"]}, "is no e-mail address"),
        ({"imap_host": "mail.example.com"}, "imap_host needs an imap_password"),
        ({"smtp_security": "none", "smtp_password": "x"}, "smtp_security none would send the password in clear"),
        ({"imap_security": "none", "imap_password": "x"}, "imap_security none would send the password in clear"),
        ({"certificate_authority": "-----BEGIN"}, "it is no certificate"),
        ({"smtp_hots": "mail.example.com"}, "Extra inputs are not permitted"),
    ],
)
def test_an_account_that_is_wrong_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        EmailAccount(**{"address": MAILBOX, **given})


def test_ports_go_with_security() -> None:
    given: dict[str, Any] = {
        "address": "Support@Bücher.example",
        "smtp_host": "s",
        "imap_host": "i",
        "imap_password": "x",
    }
    account = EmailAccount(**given)
    assert (account.smtp_at, account.imap_at) == (("s", 465), ("i", 993))
    account = EmailAccount(**given, smtp_security="starttls", imap_security="starttls")
    assert (account.smtp_at, account.imap_at) == (("s", 587), ("i", 143))
    assert EmailAccount(**given, smtp_port=2525).smtp_at == ("s", 2525)
    assert account.own == {"support@bücher.example"}
    assert account.domain == "xn--bcher-kva.example"
    with pytest.raises(LookupError, match="no smtp_host"):
        _ = EmailAccount(address=MAILBOX).smtp_at


def test_every_setting_of_an_account_stands_in_the_docs() -> None:
    page = (ROOT / "docs" / "email.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, flags=re.MULTILINE))
    assert shown.keys() == EmailAccount.model_fields.keys()
    for name, field in EmailAccount.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if shown[name].startswith("`"):
            assert shown[name].strip("`") == str(default).replace("False", "false")
        else:
            assert field.is_required() or default in (None, [])
