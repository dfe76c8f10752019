"""Whoever waits for a job or for a position is woken by what it waits for, and never told what is not so any more."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from jobstore.store import Store, history, tail, views
from jobstore.store.views import Where
from tests.store.asking import SECONDS, new_job, note, submit, until
from tests.store.following import NEVER, NOWHERE, Held, counting, until_listening

T = TypeVar("T")


@pytest.fixture
async def job(store: Store, account: int) -> int:
    """A job that runs, at version 2; nobody asks for news of it unasked."""
    store.tail._interval = NEVER
    return await new_job(store, account)


async def soon(waited: Awaitable[T]) -> T:
    """What comes of it, long before who waits gives up."""
    async with asyncio.timeout(SECONDS):
        return await waited


async def test_a_wait_is_woken_by_what_another_node_commits(dsn: str, store: Store, account: int, job: int) -> None:
    async with Store(dsn) as other:
        for version in range(2, 6):
            past = asyncio.create_task(store.watch.past(account, job, version, NEVER))
            reached = asyncio.create_task(store.watch.reached(account, version + 1, NEVER))
            await until_listening(dsn)
            await other.ledger.append(note(account, job, version))
            assert await soon(past) == Where(version + 1, version + 1, False)
            assert await soon(reached) == version + 1
    assert not store.watch._waiting
    assert not store.tail._followed


async def test_a_wait_for_one_job_is_not_woken_by_another(
    store: Store, account: int, job: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, positions = counting(monkeypatch, views.WHERE), counting(monkeypatch, history.HEAD)
    waiting = asyncio.create_task(store.watch.past(account, job, 4, NEVER))
    far = asyncio.create_task(store.watch.reached(account, 50, NEVER))
    await until(lambda: (len(jobs), len(positions)) == (1, 2))
    for i in range(40):
        await store.ledger.append(submit(account))
        if i < 2:
            await store.ledger.append(note(account, job, i))
    assert not waiting.done()
    assert len(jobs) == 1
    assert len(positions) == 2, "and waiting for a position asks nothing either"
    await store.ledger.append(note(account, job, "last"))
    assert await soon(waiting) == Where(5, 45, False)
    assert not far.done()
    for _ in range(5):
        await store.ledger.append(submit(account))
    assert await soon(far) == 50
    assert (len(jobs), len(positions)) == (2, 3)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("statement", [tail.HEADS, views.WHERE])
async def test_a_change_at_any_moment_of_the_beginning_is_not_missed(
    store: Store, account: int, job: int, monkeypatch: pytest.MonkeyPatch, statement: str, before: bool
) -> None:
    question = Held(monkeypatch, statement, before=before)
    waiting = asyncio.create_task(store.watch.past(account, job, 2, NEVER))
    await question.asked.wait()
    await store.ledger.append(note(account, job, "now"))
    question.go.set()
    assert await soon(waiting) == Where(3, 3, False)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("statement", [tail.HEADS, history.HEAD])
async def test_a_position_that_is_reached_at_the_beginning_is_not_missed(
    store: Store, account: int, job: int, monkeypatch: pytest.MonkeyPatch, statement: str, before: bool
) -> None:
    question = Held(monkeypatch, statement, before=before)
    waiting = asyncio.create_task(store.watch.reached(account, 3, NEVER))
    await question.asked.wait()
    await store.ledger.append(note(account, job, "now"))
    question.go.set()
    assert await soon(waiting) == 3


async def test_who_waited_in_vain_is_told_what_is_so_at_the_end(dsn: str, store: Store, account: int, job: int) -> None:
    """Although no news came: the answer is of the moment in which it is given."""
    store.bell._dsn = NOWHERE
    past = asyncio.create_task(store.watch.past(account, job, 2, NEVER))
    reached = asyncio.create_task(store.watch.reached(account, 9, NEVER))
    await until(lambda: store.tail.position(account) is not None)
    async with Store(dsn) as other:
        await other.ledger.append(note(account, job, "unheard of"))
    store.watch.stop()
    assert await soon(past) == Where(3, 3, False)
    assert await soon(reached) == 3
    assert await soon(store.watch.past(account, job, 3, NEVER)) == Where(3, 3, False), "nobody begins to wait either"


async def test_who_gives_up_leaves_nothing(store: Store, account: int, job: int) -> None:
    staying, leaving = [asyncio.create_task(store.watch.past(account, job, 2, NEVER)) for _ in range(2)]
    too = asyncio.create_task(store.watch.reached(account, 9, NEVER))
    await until(lambda: store.tail.position(account) is not None)
    leaving.cancel()
    too.cancel()
    await asyncio.wait([leaving, too])
    await store.ledger.append(note(account, job, "now"))
    assert await soon(staying) == Where(3, 3, False)
    assert not store.watch._waiting
    assert not store.tail._followed
