"""Those who follow an account come and go as they like, and none of them takes anything from another."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from jobstore.job import commands as c
from jobstore.store import Store, history, tail
from jobstore.store.history import Entry
from tests.store.asking import SECONDS, note, outcomes, query, say, submit
from tests.store.following import (
    KILL_BELLS,
    NEVER,
    OFTEN,
    Held,
    Reader,
    append_elsewhere,
    tailing,
)


async def test_all_listeners_are_given_the_same_batches(dsn: str, store: Store, account: int) -> None:
    async with Store(dsn) as other, tailing(store, bell=dsn) as tailed:
        first, second = await asyncio.gather(Reader(tailed, account).follow(), Reader(tailed, account).follow())
        futures = []
        for i in range(60):
            futures.append((store, other)[i % 2].ledger.append(submit(account)))
            await asyncio.wait(futures[-3:-2] or futures[:1])
        await first.until(60)
        assert first.batches == second.batches
        await first.assert_exact(store)


async def test_a_listener_that_fails_harms_no_other(store: Store, account: int) -> None:
    async with tailing(store) as tailed:
        await tailed.follow(account, lambda entries: print(1 // 0))
        reader = await Reader(tailed, account).follow()
        await store.ledger.append(submit(account))
        await reader.until(1)


async def test_a_listener_that_ends_another_while_it_is_called_has_ended_it(store: Store, account: int) -> None:
    async with tailing(store) as tailed:
        ended = Reader(tailed, account)

        def end(entries: Sequence[Entry]) -> None:
            ended.leave()

        await tailed.follow(account, end)
        await ended.follow()
        reader = await Reader(tailed, account).follow()
        await store.ledger.append(submit(account))
        await reader.until(1)
        assert ended.batches == []


async def test_who_follows_twice_is_called_once_and_told_where_it_is(store: Store, account: int) -> None:
    async with tailing(store) as tailed:
        reader = await Reader(tailed, account).follow()
        await store.ledger.append(submit(account))
        await reader.until(1)
        assert await tailed.follow(account, reader) == 1
        await store.ledger.append(submit(account))
        await reader.until(2)
        assert reader.positions == [1, 2]
        reader.leave()
        reader.leave()
        assert tailed.position(account) is None


async def test_an_account_that_nobody_follows_any_more_is_not_read(
    dsn: str, store: Store, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tailing(store) as tailed:
        left = await Reader(tailed, account).follow()
        await append_elsewhere(dsn, account, 1500)
        pages = Held(monkeypatch, history.OF_ACCOUNT)
        await store.ledger.append(submit(account))
        await pages.asked.wait()
        reading = tailed._followed[account].reading
        assert reading is not None
        left.leave()
        pages.go.set()
        await asyncio.wait([reading])
        await store.ledger.append(submit(account))
        assert (pages.count, left.batches) == (1, [])
        again = await Reader(tailed, account).follow()
        assert again.since == 1504


async def test_a_follower_who_gives_up_takes_nothing_from_the_others_and_leaves_nothing(
    store: Store, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tailing(store) as tailed:
        heads = Held(monkeypatch, tail.HEADS)
        leaving, staying = [asyncio.create_task(Reader(tailed, account).follow()) for _ in range(2)]
        await heads.asked.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        heads.go.set()
        reader = await staying
        await store.ledger.append(submit(account))
        await reader.until(1)
        reader.leave()
        assert tailed.position(account) is None

        heads.go.clear()
        heads.asked.clear()
        alone = asyncio.create_task(Reader(tailed, account).follow())
        await heads.asked.wait()
        alone.cancel()
        await asyncio.wait([alone])
        assert tailed._followed == {}
        heads.go.set()


@pytest.mark.parametrize("seed", range(6))
async def test_readers_who_come_and_go_at_any_moment_see_the_log_exactly(
    dsn: str, store: Store, account: int, seed: int
) -> None:
    """Two nodes that append and are followed, by readers of either, over lines that are cut now and then."""
    dice = random.Random(seed)
    accounts = [account, await store.accounts.create("second"), await store.accounts.create("third")]
    readers: list[Reader] = []
    left: list[Reader] = []
    jobs = {a: (await store.ledger.append(submit(a))).job for a in accounts}
    async with Store(dsn) as other, tailing(store, interval=OFTEN) as deaf:
        for node in (store, other):
            node.tail._interval = dice.choice([OFTEN, NEVER])
        tails = [store.tail, other.tail, deaf]

        async def come() -> None:
            readers.append(await Reader(dice.choice(tails), dice.choice(accounts)).follow())

        def go() -> None:
            if readers:
                left.append(readers.pop(dice.randrange(len(readers))))
                left[-1].leave()

        async def append() -> None:
            a = dice.choice(accounts)
            notes = [c.Annotate(note=f"{dice.random()}") for _ in range(dice.choice([1, 1, 1, 5, 300]))]
            request = submit(a) if dice.random() < 0.3 else say(a, jobs[a], *notes)
            await dice.choice([store, other]).ledger.append(request)

        await come()
        under_way: list[asyncio.Task[Any]] = []
        for _ in range(400):
            roll = dice.random()
            if roll < 0.1:
                under_way.append(asyncio.create_task(come()))
            elif roll < 0.17:
                go()
            elif roll < 0.18:
                under_way.append(asyncio.create_task(query(dsn, KILL_BELLS)))
            else:
                under_way.append(asyncio.create_task(append()))
            if under_way and dice.random() < 0.4:
                await asyncio.wait([dice.choice(under_way)])
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*under_way)
        if len(readers) < 3:
            await asyncio.gather(*[come() for _ in range(3)])
        for a in accounts:
            await outcomes(*[node.ledger.append(note(a, jobs[a], dice.random())) for node in (store, other)])
        for reader in readers:
            await reader.until(await store.history.head(reader._account_id))
        for reader in (*readers, *left):
            await reader.assert_exact(store)
        assert sum(len(reader.entries) for reader in (*readers, *left)) > 100, "there was something to see"
