"""The widget in a real Chromium, on the example's page, under its content security policy."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from amity import SYSTEM, ContactPoint, Conversation, Crm, Customer, Interaction, Session, Update, User
from amity.access import Principal
from amity.entity import encode_id
from amity_webchat import WebChat

from .chats import SECRET, Server, Staff, answer, new_chat, serving, settings
from .conftest import MakeCrm

CHROMIUM = os.environ.get("PLAYWRIGHT_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
EXAMPLE = Path(__file__).parents[1] / "examples" / "webchat-page"
SHOTS = os.environ.get("AMITY_TEST_SCREENSHOTS")
"""A folder where pictures of the widget are put, for people to look at."""
GREETING = "Hello! How can we help?"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'`${alert(3)}"

# one browser serves all of them, in a loop of its own
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="there is no Chromium; install it, or name one in PLAYWRIGHT_CHROMIUM"
    ),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=CHROMIUM)
        yield found
        await found.close()


@pytest.fixture
def scene(make_crm: MakeCrm, browser: Browser) -> MakeScene:
    return partial(_scene, make_crm, browser)


@contextmanager
def shop(widget: str) -> Iterator[str]:
    """The example's site, on a port of its own; its URL."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        import serve  # type: ignore[import-not-found, unused-ignore]
    finally:
        sys.path.remove(str(EXAMPLE))
    server = serve.site(widget, SECRET, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Scene:
    """A CRM with a chat, a shop with the widget, and somebody's browser; what went wrong in its pages."""

    crm: Crm
    server: Server
    chat: UUID
    shop: str
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    @property
    def session(self) -> Session:
        return self.crm.acting_as(SYSTEM)

    async def page(self, path: str = "") -> Page:
        page = await self.context.new_page()
        self.watch(page)
        await page.goto(self.shop + path)
        return page

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"a dialog: {dialog.message}"))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type == "error" and "WebSocket connection" not in message.text
                else None
            ),
        )

    async def conversation(self) -> dict[str, Any]:
        (found,) = await self.session.find(Conversation).select("id", "unread", "customer.id", "visitor").all()
        return found

    async def answer(self, text: str) -> str:
        (mia,) = await self.session.find(User).all()
        agent = self.crm.acting_as(Principal("user", mia["id"]))
        return await answer(self.crm, await self.conversation(), text, agent)


@asynccontextmanager
async def _scene(
    make_crm: MakeCrm, browser: Browser, *, context: Mapping[str, Any] | None = None, **account: Any
) -> AsyncIterator[Scene]:
    async with make_crm([WebChat], settings(heartbeat=1), policy=Staff()) as crm, serving(crm) as server:
        session = crm.acting_as(SYSTEM)
        await session.create(User, [{"name": "Mia Keller", "email": "mia@shop.example"}])
        look = {"title": "Northwind", "greeting": GREETING, "color": "#2f5d3a"}
        chat = await new_chat(session, **{**look, **account})
        with shop(server.widget(chat)) as url:
            allowed = {"id": encode_id("con", chat), "settings": {"allowed_origins": [url.rstrip("/")]}}
            changed = await session.run("update_connection", [allowed])
            assert not changed.errors, changed.errors
            made = await browser.new_context(**{"locale": "en-US", "reduced_motion": "reduce", **(context or {})})
            made.set_default_timeout(10_000)
            found = Scene(crm, server, chat, url, made)
            yield found
            await made.close()
            assert not found.complaints


MakeScene = Callable[..., AbstractAsyncContextManager[Scene]]


async def shot(page: Page, name: str) -> None:
    if SHOTS:
        await page.screenshot(path=f"{SHOTS}/{name}.png")


async def say(page: Page, text: str) -> None:
    await page.get_by_role("textbox", name="Write a message").fill(text)
    await page.get_by_role("textbox", name="Write a message").press("Enter")


async def bubbles(page: Page) -> list[str]:
    return await page.locator(".bubble").all_inner_texts()


async def test_a_visitor_is_greeted_asks_gets_an_answer_and_finds_it_again(scene: MakeScene) -> None:
    async with scene() as on:
        page = await on.page()
        assert await on.session.find(Conversation).count() == 0
        await page.get_by_role("button", name="Open the chat").click()
        await expect(page.locator(".bubble")).to_have_text([GREETING])
        await expect(page.locator(".status")).to_have_text("Leave us a message, we will answer here")
        await on.session.run("webchat_presence", [{"connection_id": encode_id("con", on.chat)}])
        await expect(page.locator(".status")).to_have_text("We are online")

        await say(page, "Do you have lamps?\nFor a city bike")
        await expect(page.locator(".mine .meta")).to_contain_text("Sent")
        thread = await on.conversation()
        assert thread["visitor"]["online"] is True
        await on.session.run("webchat_typing", [{"conversation_id": thread["id"]}])
        await expect(page.locator(".typing")).to_be_visible()
        await shot(page, "desktop-typing")
        id = await on.answer("We do: https://shop.example/lamps?b=1. Which one?")

        await expect(page.locator(".bubble").last).to_have_text(
            "We do: https://shop.example/lamps?b=1. Which one?"
        )
        await expect(page.locator(".typing")).to_be_hidden()
        await expect(page.locator(".theirs .meta").last).to_contain_text("Mia Keller")
        await expect(page.locator(".bubble a")).to_have_attribute("href", "https://shop.example/lamps?b=1")
        await shot(page, "desktop")
        row = on.session.find(Interaction).select("delivery").where({"id": {"eq": id}})
        await expect(page.locator(".badge")).to_be_hidden()
        await settled(row, "read")

        before = await bubbles(page)
        await page.reload()
        await expect(page.locator(".bubble")).to_have_text(before)
        keys = await page.evaluate("Object.keys(localStorage).map(key => key.split(':').slice(2).join(':'))")
        assert sorted(keys) == ["back", "token"], "nothing unsent is left"
        assert await page.context.cookies() == []


async def settled(query: Any, delivery: str) -> None:
    """Waits for a receipt."""
    async with asyncio.timeout(10):
        while (await query.one())["delivery"].lower() != delivery:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_what_is_written_while_the_server_restarts_arrives_once(scene: MakeScene) -> None:
    async with scene() as on:
        page = await on.page()
        await page.get_by_role("button", name="Open the chat").click()
        await say(page, "Before")
        await expect(page.locator(".mine .meta")).to_contain_text("Sent")
        await on.server.stop()
        await expect(page.locator(".status")).to_have_text("Connecting again")
        await say(page, "Meanwhile")
        await expect(page.locator(".mine .meta").last).to_contain_text("Sending")
        await shot(page, "desktop-reconnecting")
        await page.reload()  # what was not sent yet outlives the page
        await on.answer("An answer that nobody could see")
        await on.server.start()
        await page.reload()
        await expect(page.locator(".bubble")).to_have_text(
            [GREETING, "Before", "An answer that nobody could see", "Meanwhile"]
        )
        await expect(page.locator(".mine .meta").last).to_contain_text("Sent")
        await say(page, "After")
        await expect(page.locator(".mine .meta").last).to_contain_text("Sent")
        inbound = on.session.find(Interaction).select("body").where({"direction": {"eq": "inbound"}})
        assert [row["body"] for row in await inbound.order_by("occurred_at").all()] == [
            "Before",
            "Meanwhile",
            "After",
        ]


async def test_a_connection_that_died_silently_is_noticed(scene: MakeScene) -> None:
    async with scene() as on:
        page = await on.page()
        await page.get_by_role("button", name="Open the chat").click()
        await say(page, "Hello")
        await expect(page.locator(".mine .meta")).to_contain_text("Sent")
        await on.context.set_offline(True)
        await say(page, "Into the void")
        await on.context.set_offline(False)
        await on.server.stop()
        await on.server.start()
        await expect(page.locator(".mine .meta").last).to_contain_text("Sent", timeout=20_000)
        assert await on.session.find(Interaction).where({"body": {"eq": "Into the void"}}).count() == 1


async def test_nothing_that_anybody_writes_becomes_html(scene: MakeScene) -> None:
    async with scene(agent_names=True) as on:
        (mia,) = await on.session.find(User).all()
        await on.session.update(User, [Update(mia["id"], {"name": HOSTILE})])
        page = await on.page()
        await page.get_by_role("button", name="Open the chat").click()
        await say(page, HOSTILE)
        await expect(page.locator(".mine .meta")).to_contain_text("Sent")
        await on.answer(HOSTILE + ' javascript:alert(4) https://x.example/"onmouseover=alert(5)')
        await expect(page.locator(".theirs .bubble").last).to_contain_text(HOSTILE)
        await page.reload()
        await expect(page.locator(".mine .bubble")).to_have_text(HOSTILE)
        await expect(page.locator(".theirs .meta").last).to_contain_text(HOSTILE)
        assert await page.locator(".list img, .list script").count() == 0
        assert await page.locator(".list a").count() == 1
        await expect(page.locator(".list a")).to_have_attribute("href", "https://x.example/")


async def test_a_visitor_gives_an_address_when_asked(scene: MakeScene) -> None:
    async with scene(ask_email=True) as on:
        page = await on.page()
        await page.get_by_role("button", name="Open the chat").click()
        await expect(page.locator(".email")).to_be_hidden()
        await say(page, "Hello")
        box = page.get_by_role("textbox", name="Where can we answer if you leave?")
        await expect(box).to_be_visible()
        await shot(page, "desktop-email")
        await box.fill("ann@example")
        await box.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("Please check the e-mail address.")
        await box.fill("ann@acme.example")
        await box.press("Enter")
        await expect(page.locator(".email")).to_be_hidden()
        await expect(page.locator(".bubble").last).to_have_text("Thank you! We will also write to you there.")
        await page.reload()
        await expect(page.locator(".bubble")).to_have_text([GREETING, "Hello"])
        await expect(page.locator(".email")).to_be_hidden()
        notes = on.session.find(Interaction).select("custom_fields").where({"automatic": {"eq": True}})
        (note,) = await notes.all()
        assert note["custom_fields"]["webchat"]["claimed_email"] == "ann@acme.example"


async def test_the_keyboard_is_enough(scene: MakeScene) -> None:
    async with scene() as on:
        page = await on.page()
        focused = "() => document.activeElement.shadowRoot?.activeElement?.getAttribute('class') || ''"
        for _ in range(12):
            await page.keyboard.press("Tab")
            if await page.evaluate(focused) == "launcher":
                break
        launcher = page.get_by_role("button", name="Open the chat")
        await expect(launcher).to_be_focused()
        assert await launcher.get_attribute("aria-expanded") == "false"
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog", name="Northwind")).to_be_visible()
        await expect(page.get_by_role("textbox", name="Write a message")).to_be_focused()
        await page.keyboard.type("One")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("Two")
        await page.keyboard.press("Enter")
        await expect(page.locator(".mine .bubble")).to_have_text("One\nTwo")
        await expect(page.get_by_role("log")).to_have_attribute("aria-live", "polite")
        await page.keyboard.press("Shift+Tab")
        await expect(page.get_by_role("log")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await expect(page.locator(".launcher")).to_be_focused()
        await expect(page.locator(".mine .meta")).to_contain_text("Sent")
        await on.answer("While it is closed")
        await expect(page.get_by_role("button", name="Open the chat (unread: 1)")).to_be_visible()
        await shot(page, "desktop-badge")


async def test_two_tabs_show_the_same(scene: MakeScene) -> None:
    async with scene() as on:
        one, two = await on.page(), await on.page()
        for page in (one, two):
            await page.get_by_role("button", name="Open the chat").click()
            await expect(page.locator(".bubble")).to_have_text([GREETING])
        await say(one, "From the first")
        await expect(one.locator(".mine .meta")).to_contain_text("Sent")
        await say(two, "From the second")
        for page in (one, two):
            await expect(page.locator(".mine .bubble")).to_have_text(["From the first", "From the second"])
        await on.answer("To both")
        for page in (one, two):
            await expect(page.locator(".bubble")).to_have_text(
                [GREETING, "From the first", "From the second", "To both"]
            )


async def test_signing_in_brings_the_conversation_along_and_signing_out_leaves_nothing(scene: MakeScene) -> None:
    async with scene(identity_secret=SECRET) as on:
        (ann,) = (await on.session.create(Customer, [{"kind": "person", "name": "Ann Lee"}])).ids
        point = {"customer_id": ann, "channel": "email", "address": "ann@acme.example"}
        await on.session.create(ContactPoint, [point])
        page = await on.page()
        await page.get_by_role("button", name="Open the chat").click()
        await say(page, "As a guest")
        await expect(page.locator(".mine .meta")).to_contain_text("Sent")
        await page.goto(f"{on.shop}?user=ann@acme.example")
        await expect(page.locator(".mine .bubble")).to_have_text("As a guest")
        await say(page, "As Ann")
        await expect(page.locator(".mine .meta").last).to_contain_text("Sent")
        assert ann is not None
        assert (await on.conversation())["customer"]["id"] == encode_id("cus", ann)
        await page.goto(on.shop)
        await expect(page.locator(".bubble")).to_have_text([GREETING])


PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


async def test_it_speaks_the_visitors_language_from_right_to_left_on_a_phone(scene: MakeScene) -> None:
    greetings = {"en": GREETING, "ar": "مرحبًا! كيف يمكننا مساعدتك؟"}
    async with scene(context=PHONE, languages=["en", "ar"], greeting=greetings, ask_email=True) as on:
        page = await on.page("?lang=ar-EG")
        await shot(page, "phone-closed")
        await page.get_by_role("button", name="فتح المحادثة").tap()
        await expect(page.locator(".bubble")).to_have_text([greetings["ar"]])
        await expect(page.locator(".root")).to_have_attribute("dir", "rtl")
        panel = await page.locator(".panel").bounding_box()
        assert panel == {"x": 0, "y": 0, "width": 390, "height": 844}, "it takes the whole phone"
        await page.get_by_role("textbox", name="اكتب رسالة").fill("هل لديكم مصابيح؟ Model X-200")
        await page.get_by_role("button", name="إرسال").tap()
        await expect(page.locator(".mine .meta")).to_contain_text("أُرسلت")
        mine = await page.locator(".mine .bubble").bounding_box()
        theirs = await page.locator(".theirs .bubble").bounding_box()
        assert mine is not None
        assert theirs is not None
        assert mine["x"] < 40, "own messages are at the end, which is the left"
        assert theirs["x"] + theirs["width"] > 350
        await shot(page, "phone-rtl")
        await page.get_by_role("button", name="إغلاق المحادثة").tap()
        await expect(page.get_by_role("dialog")).to_be_hidden()


async def test_a_long_conversation_on_a_phone(scene: MakeScene) -> None:
    async with scene(context=PHONE) as on:
        page = await on.page()
        await page.get_by_role("button", name="Open the chat").tap()
        await say(page, "Hello, I am looking for a bicycle for my daughter, who is 1.55 m tall")
        await expect(page.locator(".mine .meta")).to_contain_text("Sent")
        for number in range(33):
            await answer_quickly(on, f"Answer {number}")
        await on.answer("Here they are: https://shop.example/" + "very-long-" * 12 + "address")
        await expect(page.locator(".bubble").last).to_contain_text("Here they are")
        await shot(page, "phone")
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width == 390, "nothing makes the page wider than the phone"
        await page.reload()
        await expect(page.locator(".bubble")).to_have_count(31)
        await asyncio.sleep(0.3)  # looks for new messages bring none of the earlier ones
        await expect(page.locator(".bubble")).to_have_count(31)
        await page.get_by_role("button", name="Show earlier messages").tap()
        await expect(page.locator(".bubble")).to_have_count(36)
        await expect(page.get_by_role("button", name="Show earlier messages")).to_be_hidden()
        texts = await bubbles(page)
        assert texts[2:5] == ["Answer 0", "Answer 1", "Answer 2"]


async def answer_quickly(on: Scene, text: str) -> None:
    """An answer that is on its way before the next one is written."""
    asked = {"conversation_id": (await on.conversation())["id"], "body": text}
    assert not (await on.session.run("send_message", [asked])).errors
