"""A server that is away, hangs or was killed: bounded waits while it lasts, and everything as before afterwards."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobstore.formats import native
from jobstore.store import Store
from jobstore.store.embedded import Embedded
from jobstore.store.postgres import Unavailable
from jobstore.store.request import Append, Appended
from tests.store.asking import SECONDS, new_job, note, outcomes, submit
from tests.store.sound import assert_sound

PATIENCE = 0.5
BOUND = 4 * PATIENCE  # a connection that hangs is waited for, then a new one is


@pytest.fixture(scope="module")
def own() -> Iterator[Embedded]:
    """A server that this module's tests may stop."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="jobstore-test-") as folder:
        Path(folder).chmod(0o755)
        server = Embedded(Path(folder) / "data")
        server.open()
        yield server
        server.close()


@pytest.fixture
async def node(own: Embedded) -> AsyncIterator[Store]:
    """A node of little patience."""
    async with Store(own.dsn, patience=PATIENCE) as store:
        yield store


@pytest.fixture
async def job(node: Store) -> tuple[int, int]:
    """An account of its own, and a job of it that runs."""
    account = await node.accounts.create(f"a{len(await node.accounts.all())}")
    return account, await new_job(node, account)


def pids(server: Embedded) -> list[int]:
    """The postmaster, and its children."""
    postmaster = psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))
    return [postmaster.pid, *(child.pid for child in postmaster.children(recursive=True))]


@contextmanager
def stopped(server: Embedded) -> Iterator[None]:
    server.close()
    try:
        yield
    finally:
        server.open()


@contextmanager
def hanging(server: Embedded) -> Iterator[None]:
    stopped = pids(server)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


AWAY = pytest.mark.parametrize("away", [stopped, hanging])
READS: list[Callable[[Store, int, int], Any]] = [
    lambda node, account, job: node.views.where(account, job),
    lambda node, account, job: node.history.of_job(account, job),
    lambda node, account, job: node.history.head(account),
    lambda node, account, job: node.jobs.page(account, limit=10),
    lambda node, account, job: node.watch.past(account, job, 1, 5),
    lambda node, account, job: node.accounts.all(),
    lambda node, account, job: node.gate.admit(f"jsk_{'0' * 12}_{'0' * 40}"),
]
WRITES: list[Callable[[Store, int, int], Any]] = [
    lambda node, account, job: node.accounts.create("another"),
    lambda node, account, job: node.accounts.create_key("a0", "read"),
    lambda node, account, job: node.accounts.revoke("0" * 12),
    lambda node, account, job: node.accounts.first_start(),
]


@AWAY
async def test_while_the_server_is_away_appends_end_as_unavailable_in_bounded_time(
    node: Store, own: Embedded, job: tuple[int, int], away: Any
) -> None:
    loop = asyncio.get_running_loop()
    with away(own):
        begin = loop.time()
        done = await outcomes(*[node.ledger.append(note(*job, i)) for i in range(1200)])
        assert {type(outcome) for outcome in done} == {Unavailable}
        assert loop.time() - begin < BOUND
    appended = await _in_the_end(node, note(*job, "after"))
    assert (appended.version, appended.position) == (await node.history.head(job[0]),) * 2
    assert await assert_sound(own.dsn)


@AWAY
@pytest.mark.parametrize("asked", [READS, WRITES], ids=["reads", "changes of accounts"])
async def test_while_the_server_is_away_everything_else_ends_as_unavailable_in_bounded_time(
    node: Store, own: Embedded, job: tuple[int, int], away: Any, asked: list[Callable[[Store, int, int], Any]]
) -> None:
    loop = asyncio.get_running_loop()
    with away(own):
        begin = loop.time()
        done = await outcomes(*[asyncio.ensure_future(question(node, *job)) for question in asked])
        assert [type(outcome) for outcome in done] == [Unavailable] * len(asked)
        assert loop.time() - begin < BOUND
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                where = await node.views.where(*job)
                break
            except Unavailable:
                continue
    assert where is not None
    assert (await node.views.show(*job, where, native.PROJECTION)).version == 2


async def test_an_outage_shorter_than_patience_is_not_noticed(own: Embedded, node: Store, job: tuple[int, int]) -> None:
    async with Store(own.dsn, patience=SECONDS) as patient:
        with stopped(own):
            futures = [patient.ledger.append(note(*job, i)) for i in range(50)]
            reading = asyncio.ensure_future(patient.views.where(*job))
            await asyncio.wait(futures, timeout=0.3)
            assert not reading.done()
        assert all(isinstance(outcome, Appended) for outcome in await outcomes(*futures))
        assert await asyncio.wait_for(reading, SECONDS) is not None
    assert await assert_sound(own.dsn)


async def test_a_server_killed_at_full_load_has_all_that_was_acknowledged(own: Embedded, node: Store) -> None:
    account = await node.accounts.create("load")
    async with Store(own.dsn, patience=SECONDS) as patient:
        futures: list[asyncio.Future[Appended]] = []
        for turn in range(3):
            acknowledged = len(futures)
            while sum(future.done() for future in futures) < acknowledged + 300:
                futures += [patient.ledger.append(submit(account)) for _ in range(20)]
                await asyncio.wait(futures[-400:-300] or futures[:1])
            postmaster, *children = pids(own)
            os.kill(postmaster if turn else children[-1], signal.SIGKILL)
            psutil.wait_procs([psutil.Process(postmaster)] if turn else [], timeout=SECONDS)
            await asyncio.to_thread(own.revive)
        done = await outcomes(*futures)
    assert all(isinstance(outcome, Appended) for outcome in done)
    assert [outcome.job for outcome in done if isinstance(outcome, Appended)] == list(range(1, len(done) + 1))
    await assert_sound(own.dsn)


async def test_a_server_that_is_not_there_is_unavailable_at_once_and_named(folder: Path) -> None:
    with pytest.raises(Unavailable, match="cannot connect"):
        await asyncio.wait_for(Store(f"postgresql://postgres@/postgres?host={folder}").open(), SECONDS)


async def _in_the_end(node: Store, request: Append) -> Appended:
    """The outcome, once the server answers again."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await node.ledger.append(request)
            except Unavailable:
                continue
