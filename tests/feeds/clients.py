"""Knows how three clients that are not ours are used to follow a feed, each as its documentation says.

What the clients leave to whoever uses them is written here: httpx-sse does not come back by itself, aiohttp-sse-client
only after a proper end, a browser always.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit

import aiohttp
import httpx
from aiohttp import web
from aiohttp_sse_client.client import EventSource
from httpx_sse import SSEError, aconnect_sse
from multidict import CIMultiDict
from playwright.async_api import Page, async_playwright

from jobstore.web.filters import TYPES
from tests.web.eventstream import Event

PATH: Final = "/page.html"
PAGE: Final = (Path(__file__).parent / "page.html").read_text()
LISTENED_TO: Final = ",".join((*TYPES, "message", "gap", "end"))


class Following(Protocol):
    """A client at work."""

    async def heard(self) -> list[Event]:
        """The events that it was given so far."""

    async def stopped(self) -> bool:
        """Whether it has stopped for good, by itself."""


Follow = Callable[[str, str], AbstractAsyncContextManager[Following]]  # with a feed's address, and a key


class InPython:
    """A client that runs as a task here."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.task: asyncio.Task[None]

    async def heard(self) -> list[Event]:
        if self.task.done():
            self.task.result()
        return self.events

    async def stopped(self) -> bool:
        await self.heard()
        return self.task.done()


class InBrowser:
    """A page in which an EventSource reads."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def heard(self) -> list[Event]:
        return [Event(*event) for event in await self.page.evaluate("heard")]

    async def stopped(self) -> bool:
        return bool(await self.page.evaluate("source.readyState === EventSource.CLOSED"))


async def _with_httpx_sse(url: str, key: str, events: list[Event]) -> None:
    last: dict[str, str] = {}
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=20) as http:
        while True:
            try:
                async with aconnect_sse(http, "GET", url, headers=dict(last)) as source:
                    async for event in source.aiter_sse():
                        last["Last-Event-ID"] = event.id
                        if event.data:  # here a mere id is an event too
                            events.append(Event(event.event, event.data, event.id))
            except SSEError:
                return
            except httpx.TransportError:
                continue


async def _with_aiohttp_sse_client(url: str, key: str, events: list[Event]) -> None:
    last: dict[str, str] = {}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as http:
        while True:
            try:
                async with EventSource(url, session=http, headers=CIMultiDict(last)) as source:
                    async for event in source:
                        last["Last-Event-ID"] = event.last_event_id
                        events.append(Event(event.type, event.data, event.last_event_id))
            except ConnectionAbortedError:
                return
            except aiohttp.ClientError:
                continue


@asynccontextmanager
async def _running(client: Callable[[str, str, list[Event]], Any], url: str, key: str) -> AsyncIterator[Following]:
    following = InPython()
    following.task = asyncio.create_task(client(url, key, following.events))
    try:
        yield following
    finally:
        following.task.cancel()
        await asyncio.gather(following.task, return_exceptions=True)


httpx_sse: Final[Follow] = partial(_running, _with_httpx_sse)
aiohttp_sse_client: Final[Follow] = partial(_running, _with_aiohttp_sse_client)


@asynccontextmanager
async def chromium(program: str, url: str, key: str, *, origin: str | None = None) -> AsyncIterator[InBrowser]:
    """A page of `origin`, or of the server itself, that follows. An EventSource has no way to send a key, so the
    browser is told to add it, as a gateway in front of the server would."""
    home = "{0.scheme}://{0.netloc}".format(urlsplit(url)) if origin is None else origin
    async with async_playwright() as playwright:
        # The page is the tests' own, and root has no sandbox.
        browser = await playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
        context = await browser.new_context(extra_http_headers={"Authorization": f"Bearer {key}"})
        page = await context.new_page()
        await page.goto(f"{home}{PATH}?{urlencode({'feed': url, 'types': LISTENED_TO})}")
        try:
            yield InBrowser(page)
        finally:
            await browser.close()


async def show_page(_: web.Request) -> web.Response:
    """The page."""
    return web.Response(text=PAGE, content_type="text/html")
