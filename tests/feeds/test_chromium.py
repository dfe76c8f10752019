"""Given a page of another origin than the server's, when it follows a feed, then it may only where that is allowed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from jobstore.store import Store
from jobstore.web.app import application
from tests.conftest import AsServed, Client
from tests.feeds import clients
from tests.feeds.relay import Relay, relayed
from tests.feeds.test_clients import DONE, STARTED, Until, heard
from tests.web.feeding import positions
from tests.web.wire import key_of


@pytest.fixture
async def origin() -> AsyncIterator[str]:
    """The origin of a server that has nothing but the page."""
    app = web.Application()
    app.router.add_get(clients.PATH, clients.show_page)
    async with TestServer(app) as server:
        yield f"http://127.0.0.1:{server.port}"


@asynccontextmanager
async def allowing(store: Store, *origins: str) -> AsyncIterator[tuple[Client, Relay]]:
    """A client of a node that lets pages of these origins read, and a relay in front of the node."""
    async with TestClient(AsServed(application(store, origins=origins))) as http:
        assert http.port is not None
        async with relayed(http.port) as relay:
            yield Client(http, store), relay


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobstore.web.following.RETRY", 10)


@pytest.mark.parametrize("which", ["its own", "any"])
async def test_a_page_of_an_allowed_origin_follows_and_comes_back(
    chromium: str, store: Store, origin: str, until: Until, which: str
) -> None:
    async with allowing(store, origin if which == "its own" else "*") as (client, relay):
        job, key = await client.submit(), await key_of(client)
        feed = f"{relay.address}/jobs/{job}/feed?lastEventId=earliest"
        async with clients.chromium(chromium, feed, key, origin=origin) as page:
            await heard(page, 1, until)
            relay.cut()
            await client.report(job, STARTED, DONE)
            await until(page.stopped)
            assert positions(await heard(page, 4, until)) == [1, 2, 3, 3]
        assert any(f"Origin: {origin}\r\n" in asked for asked in relay.asked), "it was of another origin"


@pytest.mark.parametrize("allowed", [(), ("http://127.0.0.1:1",)])
async def test_a_page_of_another_origin_hears_nothing(
    chromium: str, store: Store, origin: str, until: Until, allowed: tuple[str, ...]
) -> None:
    async with allowing(store, *allowed) as (client, relay):
        job, key = await client.submit(), await key_of(client)
        feed = f"{relay.address}/jobs/{job}/feed?lastEventId=earliest"
        async with clients.chromium(chromium, feed, key, origin=origin) as page:
            await until(page.stopped)
            assert await page.heard() == []
        assert relay.times_asked(f"/jobs/{job}/feed") == 1, "it was refused for good"
