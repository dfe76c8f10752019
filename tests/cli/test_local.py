"""A database is followed in order and once, whatever fails meanwhile and however late the news is."""

import asyncio
from contextlib import aclosing
from datetime import datetime, timedelta
from itertools import chain, repeat

import pytest

from jobstore.cli.local import Wanted, events
from jobstore.job import commands as c
from jobstore.store import Store
from jobstore.store.clock import now
from jobstore.store.history import Entry
from jobstore.store.postgres import Unavailable
from jobstore.web.filters import Filter
from jobstore.web.reading import PAGE
from tests.store.asking import SECONDS, new_job, note, say


async def taken(store: Store, account: int, wanted: Wanted, count: int) -> list[int]:
    """The positions of so many events of a feed."""
    async with asyncio.timeout(SECONDS), aclosing(events(store, account, wanted)) as feed:
        return [int((await anext(feed)).id) for _ in range(count)]


async def test_a_read_that_fails_in_the_middle_is_taken_up_from_there(
    store: Store, account: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = await new_job(store, account)
    notes = tuple(c.Annotate(note=str(number)) for number in range(PAGE))
    await store.ledger.append(say(account, job, *notes))
    read, fails = store.history.of_account, chain([False, True], repeat(False))

    async def of_account(account_id: int, *, after: int = 0, limit: int = PAGE) -> list[Entry]:
        if next(fails):
            raise Unavailable("it does not answer")
        return await read(account_id, after=after, limit=limit)

    monkeypatch.setattr(store.history, "of_account", of_account)
    assert await taken(store, account, Wanted(Filter(), 0), PAGE + 2) == list(range(1, PAGE + 3))
    assert capsys.readouterr() == ("", "trying again: it does not answer\n")


async def test_a_tail_that_is_behind_where_it_begins_repeats_nothing(
    store: Store, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new_job(store, account)
    position, asked = store.tail.position, asyncio.Event()

    def behind_at_first(account_id: int) -> int | None:
        if asked.is_set():
            return position(account_id)
        asked.set()
        return 1

    monkeypatch.setattr(store.tail, "position", behind_at_first)
    async with asyncio.timeout(SECONDS):
        first = asyncio.create_task(taken(store, account, Wanted(Filter(), 2), 1))
        await asked.wait()
        await store.ledger.append(note(account, job, "new"))
        assert await first == [3]


async def test_what_is_of_other_jobs_is_read_once(store: Store, account: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = await new_job(store, account), await new_job(store, account)
    begun: list[int] = []
    read = store.history.of_account

    async def of_account(account_id: int, *, after: int = 0, limit: int = PAGE) -> list[Entry]:
        begun.append(after)
        return await read(account_id, after=after, limit=limit)

    monkeypatch.setattr(store.history, "of_account", of_account)
    wanted = Wanted(Filter(frozenset((mine,))), 0)
    async with asyncio.timeout(SECONDS), aclosing(events(store, account, wanted)) as feed:
        assert [int((await anext(feed)).id) for _ in range(2)] == [1, 2]
        for number in range(3):
            await store.ledger.append(note(account, other, number))
            await store.ledger.append(note(account, mine, number))
            assert int((await anext(feed)).id) == 6 + 2 * number
    assert begun == sorted(set(begun))
    assert begun[1] >= 4


async def test_what_happens_after_the_past_was_told_is_told_at_once(dsn: str) -> None:
    moments = iter([timedelta(), timedelta(), timedelta(hours=1)])
    begin = now()

    def clock() -> datetime:
        return begin + next(moments)

    async with Store(dsn, clock=clock) as store:
        account = await store.accounts.create("acme")
        job = await new_job(store, account)
        wanted = Wanted(Filter(frozenset((job,))), 0, ends=True, speed=1.0)
        told = []
        async with asyncio.timeout(SECONDS), aclosing(events(store, account, wanted)) as feed:
            told += [int((await anext(feed)).id) for _ in range(2)]
            await store.ledger.append(say(account, job, c.Complete()))
            told += [int(event.id) async for event in feed]
        assert told == [1, 2, 3]
