"""An account whose head somebody else holds waits alone, in order, and loses nothing by it."""

import asyncio
from typing import Any

import pytest
from asyncpg.pool import PoolConnectionProxy

from jobstore.job import commands as c
from jobstore.store import Store, writing
from jobstore.store.ledger import BATCH
from jobstore.store.postgres import Unavailable
from jobstore.store.request import Appended
from tests.store.asking import (
    SECONDS,
    holding,
    holding_heads,
    new_job,
    note,
    notes,
    outcomes,
    say,
    submit,
    until_locked,
)
from tests.store.sound import assert_sound


@pytest.fixture
async def other(store: Store) -> int:
    """The id of another account."""
    return await store.accounts.create("other")


async def test_a_held_head_does_not_delay_other_accounts(store: Store, account: int, other: int, dsn: str) -> None:
    async with holding_heads(dsn, account) as let_go:
        held = store.ledger.append(submit(account))
        both = [store.ledger.append(submit(other)) for _ in range(3)]
        assert len(await outcomes(*both)) == 3
        await until_locked(dsn)
        await asyncio.wait_for(store.ledger.append(submit(other)), SECONDS)
        assert not held.done()
        await let_go()
        assert (await asyncio.wait_for(held, SECONDS)).position == 1
    assert await assert_sound(dsn) == 5


async def test_more_held_heads_than_connections_do_not_delay_other_accounts(dsn: str, store: Store, other: int) -> None:
    accounts = [await store.accounts.create(f"held-{i}") for i in range(5)]
    job = await new_job(store, other)
    async with Store(dsn, connections=4, patience=5) as node, holding_heads(dsn, *accounts) as let_go:
        held = [node.ledger.append(submit(account)) for account in accounts]
        await until_locked(dsn)
        async with asyncio.timeout(2):
            for i in range(20):
                await node.ledger.append(note(other, job, i))
                where = await node.views.where(other, job)
                assert where is not None
                assert where.version == 3 + i
        assert not any(future.done() for future in held)
        await let_go()
        assert all(isinstance(outcome, Appended) for outcome in await outcomes(*held))
    await assert_sound(dsn)


async def test_an_account_held_for_a_moment_does_not_wait_for_those_that_are_held_for_long(
    dsn: str, store: Store, other: int
) -> None:
    accounts = [await store.accounts.create(f"held-{i}") for i in range(5)]
    async with Store(dsn, connections=4, patience=5) as node, holding_heads(dsn, *accounts):
        held = [node.ledger.append(submit(account)) for account in accounts]
        await until_locked(dsn)
        async with holding_heads(dsn, other):
            short = node.ledger.append(submit(other))
            await outcomes(node.ledger.append(submit(await store.accounts.create("free"))))
        await asyncio.wait([short], timeout=2)
        assert short.done()
        assert not any(future.done() for future in held)
    await assert_sound(dsn)


async def test_order_is_kept_when_an_account_moves_to_a_lane_of_its_own(
    store: Store, account: int, other: int, dsn: str
) -> None:
    job = await new_job(store, account)
    slow = (await store.ledger.append(submit(other))).job
    async with (
        holding_heads(dsn, account) as let_go_of_head,
        holding(dsn, "SELECT FROM jobs WHERE account_id = $1 FOR UPDATE", other) as let_go_of_slow,
    ):
        # One write that takes its time, because the other account's row is held; requests of the held account that are
        # in that write, taken for the next one meanwhile, in line behind that, and come when the lane is there.
        futures = [store.ledger.append(note(account, job, 0)), store.ledger.append(say(other, slow, c.Start()))]
        for i in range(1, 20):
            futures.append(store.ledger.append(note(account, job, i)))
            await asyncio.sleep(0)
        await until_locked(dsn)
        futures += [store.ledger.append(note(account, job, i)) for i in range(20, 30)]
        await let_go_of_slow()
        await until_locked(dsn)
        futures += [store.ledger.append(note(account, job, i)) for i in range(30, 40)]
        await let_go_of_head()
        assert all(isinstance(outcome, Appended) for outcome in await outcomes(*futures))
    assert await notes(dsn, account, job) == [str(i) for i in range(40)]
    await assert_sound(dsn)


async def test_order_is_kept_when_the_lane_ends_and_the_account_comes_back(
    store: Store, account: int, other: int, dsn: str
) -> None:
    job = await new_job(store, account)
    futures = []
    for round in range(5):
        async with holding_heads(dsn, account) as let_go:
            futures += [store.ledger.append(note(account, job, 100 * round + i)) for i in range(20)]
            await until_locked(dsn)
            await let_go()
            for i in range(20, 100):
                futures.append(store.ledger.append(note(account, job, 100 * round + i)))
                futures.append(store.ledger.append(submit(other)))
                await asyncio.sleep(0)
    assert all(isinstance(outcome, Appended) for outcome in await outcomes(*futures))
    assert await notes(dsn, account, job) == [str(i) for i in range(500)]
    await assert_sound(dsn)


async def test_order_is_kept_beside_a_request_that_cannot_be_written(
    store: Store, account: int, other: int, dsn: str
) -> None:
    job = await new_job(store, account)
    poison = submit(other)
    poison.by = "NUL: \0"
    async with Store(dsn) as node:
        async with holding_heads(dsn, account) as let_go:
            futures = [node.ledger.append(note(account, job, 0)), node.ledger.append(poison)]
            futures += [node.ledger.append(note(account, job, i)) for i in (1, 2)]
            for i in range(3, 20):
                futures.append(node.ledger.append(note(account, job, i)))
                await asyncio.sleep(0)
            await until_locked(dsn)
            futures += [node.ledger.append(note(account, job, i)) for i in range(20, 30)]
            await let_go()
        assert len([outcome for outcome in await outcomes(*futures) if isinstance(outcome, Appended)]) == 30
    assert await notes(dsn, account, job) == [str(i) for i in range(30)]
    await assert_sound(dsn)


async def test_a_head_held_for_too_long_makes_the_log_unavailable_within_patience_for_all_who_wait(
    dsn: str, store: Store, account: int
) -> None:
    async with Store(dsn, patience=0.5) as node, holding_heads(dsn, account):
        loop = asyncio.get_running_loop()
        begin = loop.time()
        futures = [node.ledger.append(submit(account)) for _ in range(4 * BATCH)]
        done = await outcomes(*futures)
        assert {type(outcome) for outcome in done} == {Unavailable}
        assert loop.time() - begin < 3 * 0.5, "patience is for a request, not for each batch before it"
    assert await assert_sound(dsn) == 0


async def test_what_was_given_up_is_not_recorded_later(dsn: str, store: Store, account: int) -> None:
    async with Store(dsn, patience=0.5) as node:
        async with holding_heads(dsn, account):
            done = await outcomes(*[node.ledger.append(submit(account)) for _ in range(3)])
            assert {type(outcome) for outcome in done} == {Unavailable}
        assert (await node.ledger.append(submit(account))).job == 1
    assert await assert_sound(dsn) == 1


async def test_memory_running_out_meanwhile_does_not_fail_who_waits_in_a_lane(
    dsn: str, store: Store, account: int, other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new_job(store, account)
    asked, go = asyncio.Event(), asyncio.Event()
    fetch = PoolConnectionProxy.fetch

    async def slow(self: Any, statement: str, *arguments: Any, **more: Any) -> Any:
        if "idempotency" in statement:
            asked.set()
            await go.wait()
        return await fetch(self, statement, *arguments, **more)

    monkeypatch.setattr(writing, "STATES", 3)
    monkeypatch.setattr(PoolConnectionProxy, "fetch", slow)
    async with Store(dsn) as node:
        async with holding_heads(dsn, account) as let_go:
            held = node.ledger.append(note(account, job, "held", key="k", digest=bytes(32)))
            await until_locked(dsn)
            await let_go()
        await asyncio.wait_for(asked.wait(), SECONDS)
        await outcomes(*[node.ledger.append(submit(other)) for _ in range(9)])
        go.set()
        done = await outcomes(held) + await outcomes(node.ledger.append(submit(account)))
    assert [type(outcome) for outcome in done] == [Appended, Appended]
    await assert_sound(dsn)
