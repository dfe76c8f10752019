"""A server that also has the page for a browser, a relay in front of it, and the browser itself."""

import os
import shutil
from collections.abc import AsyncIterator
from functools import partial

import pytest
from aiohttp.test_utils import TestClient

from jobstore.store import Store
from jobstore.web.app import application
from tests.conftest import AsServed, Client
from tests.feeds import clients
from tests.feeds.relay import Relay, relayed


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Debian's chromium is. `JOBSTORE_TEST_BROWSER=required` fails without one."""
    program = shutil.which("chromium")
    if program is not None:
        return program
    why = "NO BROWSER HAS READ A FEED: there is no chromium here (on Debian: apt install chromium)"
    if os.environ.get("JOBSTORE_TEST_BROWSER") == "required":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(params=["httpx-sse", "aiohttp-sse-client", "chromium"])
def follow(request: pytest.FixtureRequest) -> clients.Follow:
    """A client, in the hands of somebody who follows a feed with it."""
    match request.param:
        case "httpx-sse":
            return clients.httpx_sse
        case "aiohttp-sse-client":
            return clients.aiohttp_sse_client
        case _:
            return partial(clients.chromium, request.getfixturevalue("chromium"))


@pytest.fixture
async def client(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client of a node whose readers come back at once."""
    monkeypatch.setattr("jobstore.web.following.RETRY", 10)
    async with TestClient(node(store)) as http:
        yield Client(http, store)


def node(store: Store) -> AsServed:
    """A server that also has the page."""
    app = application(store)
    app.router.add_get(clients.PATH, clients.show_page)
    return AsServed(app)


@pytest.fixture
async def relay(client: Client) -> AsyncIterator[Relay]:
    """A relay in front of the node."""
    assert client.http.port is not None
    async with relayed(client.http.port) as relay:
        yield relay
