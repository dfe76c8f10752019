"""Fixtures of the tests that start a server, or follow a feed, from a database or from a server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobstore.job import commands as c
from jobstore.store import Store
from tests.cli.serving import Served, kill_all, serving
from tests.store.asking import new_job, say

NASTY = "a\ttab, a\r\nline, \x1b[31mred\x1b[0m, \x9b, ⌘ 日本"


@pytest.fixture
def data(folder: Path) -> Iterator[Path]:
    """A folder for a server, of which nothing is left afterwards."""
    yield folder / "data"
    kill_all(folder / "data")


@pytest.fixture
async def key(store: Store, account: int) -> str:
    """A key that may read acme."""
    return (await store.accounts.create_key("acme", "read"))[1]


@pytest.fixture
def node(dsn: str) -> Iterator[Served]:
    """A server on the database."""
    with serving("--dsn", dsn) as served:
        yield served


@pytest.fixture
def way(request: pytest.FixtureRequest, dsn: str, key: str) -> tuple[str, ...]:
    """The options by which a command gets its feed."""
    if request.param == "database":
        return ("--dsn", dsn)
    return ("--server", request.getfixturevalue("node").address, "--key", key)


@pytest.fixture
async def job(store: Store, account: int) -> int:
    """A job that has happened, up to position 6: it says nasty things, and is over."""
    job = await new_job(store, account)
    for said in (c.ReportProgress(fraction=0.25), c.Annotate(note=NASTY), c.ProduceOutput(output=[1]), c.Complete()):
        await store.ledger.append(say(account, job, said))
    return job
