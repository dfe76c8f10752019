"""A server whose clock stands where a test puts it, so that a vendor's own documents can be reproduced."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp.test_utils import TestClient

from jobstore.store import Store
from jobstore.web.app import application
from tests.conftest import AsServed, Client


class Clock:
    """Says the time that it was set to."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
async def store(dsn: str, clock: Clock) -> AsyncIterator[Store]:
    """A node on a fresh database."""
    async with Store(dsn, clock=clock) as store:
        yield store


@asynccontextmanager
async def reached_at(store: Store, url: str | None) -> AsyncIterator[Client]:
    """A client of a server that says of itself that it is at `url`."""
    async with TestClient(AsServed(application(store, url=url))) as http:
        yield Client(http, store)
