"""A real Postgres for every test: one server a session, one database a test, cloned from a migrated template.

The server is the embedded one; `JOBSTORE_TEST_POSTGRES=docker` takes one from testcontainers, of `JOBSTORE_TEST_IMAGE`.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import BaseRunner

from jobstore.store import Store
from jobstore.store.embedded import Embedded
from jobstore.store.migrations import migrate
from jobstore.web.app import RUNNER, application

TEMPLATE = "jobstore_template"

_names = (f"jobstore_test_{os.getpid()}_{n}" for n in itertools.count(1))


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server that belongs to this session."""
    with _in_docker() if os.environ.get("JOBSTORE_TEST_POSTGRES") == "docker" else _embedded() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def template(server: str) -> str:
    """The name of a database that every test's is a copy of."""

    async def prepare() -> None:
        await _execute(server, f"DROP DATABASE IF EXISTS {TEMPLATE}", f"CREATE DATABASE {TEMPLATE}")
        connection = await asyncpg.connect(_at(server, TEMPLATE))
        await migrate(connection)
        await connection.close()

    asyncio.run(prepare())
    return TEMPLATE


@pytest.fixture
async def dsn(server: str, template: str) -> AsyncIterator[str]:
    """The address of a fresh, migrated database."""
    name = next(_names)
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _at(server, name)
    await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    """A node on a fresh database."""
    async with Store(dsn) as store:
        yield store


@pytest.fixture
async def account(store: Store) -> int:
    """The id of an account named acme."""
    return await store.accounts.create("acme")


class Client:
    """A client of one server, with a key of the account that it asks for."""

    def __init__(self, http: "TestClient[Any, Any]", store: Store) -> None:
        self.http = http
        self.store = store
        self.keys: dict[str, str] = {}

    async def ask(
        self, method: str, path: str, *, account: str = "acme", headers: dict[str, str] | None = None, **kwargs: Any
    ) -> Any:
        """The response, read; `json` and `data` as aiohttp takes them."""
        if account not in self.keys:
            if not any(known.name == account for known in await self.store.accounts.all()):
                await self.store.accounts.create(account)
            self.keys[account] = (await self.store.accounts.create_key(account, "admin"))[1]
        sent = {"Authorization": f"Bearer {self.keys[account]}", **(headers or {})}
        response = await self.http.request(method, path, headers=sent, **kwargs)
        await response.read()
        return response

    async def submit(self, kind: str = "index.build", **fields: Any) -> int:
        """The number of a new job."""
        response = await self.ask("POST", "/jobs", json={"kind": kind, **fields})
        assert response.status == 202, await response.text()
        number: int = (await response.json())["number"]
        return number

    async def report(self, job: int, *events: dict[str, Any]) -> Any:
        """The response to a report of `events`, as a whole."""
        return await self.ask("POST", f"/jobs/{job}/events", json=list(events))


class AsServed(TestServer):
    """aiohttp's test server, run as `jobstore serve` runs: handlers are not cancelled, bodies not unpacked."""

    async def _make_runner(self, **kwargs: Any) -> BaseRunner:
        return await super()._make_runner(**kwargs | RUNNER | {"handler_cancellation": False, "shutdown_timeout": 5.0})


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    """A client of a node on a fresh database."""
    async with TestClient(AsServed(application(store))) as http:
        yield Client(http, store)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that the user of an embedded server can reach, whoever runs the tests."""
    path = Path(tempfile.mkdtemp(prefix="jobstore-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait, without a fixed sleep, until a condition holds."""

    async def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
        async with asyncio.timeout(seconds):
            while True:
                result = condition()
                if asyncio.iscoroutine(result):
                    result = await result
                if result:
                    return result
                await asyncio.sleep(0.02)

    return until


@contextmanager
def _embedded() -> Iterator[str]:
    path = Path(tempfile.mkdtemp(prefix="jobstore-tests-", dir="/tmp"))
    path.chmod(0o755)
    server = Embedded(path / "data")
    server.open()
    try:
        yield server.dsn
    finally:
        server.close()
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _in_docker() -> Iterator[str]:
    from testcontainers.community.postgres import PostgresContainer

    image = os.environ.get("JOBSTORE_TEST_IMAGE", "postgres:15")
    with PostgresContainer(image, driver=None) as container:
        yield container.get_connection_url()


async def _execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _at(dsn: str, database: str) -> str:
    """The address of another database of the same server."""
    return (
        urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))
        if urlsplit(dsn).hostname
        else dsn.replace("@/postgres?", f"@/{database}?")
    )
