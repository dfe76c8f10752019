"""The server under test behaves as `jobstore serve` does: a handler whose client left is not cancelled."""

import itertools
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient

from jobstore.store import Store
from jobstore.web.app import application
from tests.conftest import AsServed, Client, _at, _execute

together = pytest.mark.asyncio(loop_scope="module")

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(server: str, template: str) -> AsyncIterator[Client]:
    """A client of one server for a whole file of quick tests; job 1 is running. For tests marked with `together`."""
    name = f"jobstore_test_{os.getpid()}_{next(_numbers)}_shared"
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    async with Store(_at(server, name)) as store, TestClient(AsServed(application(store))) as http:
        client = Client(http, store)
        await client.report(await client.submit(), {"type": "started"})
        yield client
    await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")
