"""Two nodes on one database: what a node remembers never makes it record what is not so."""

import asyncio
import random

import pytest

from jobstore.job import commands as c
from jobstore.job.decider import Refused
from jobstore.store import Store, writing
from jobstore.store.request import Append, Appended, Conflict, NoSuchJob
from tests.store.asking import drafts, new_job, note, notes, outcomes, query, say, submit
from tests.store.sound import assert_sound


def anything(dice: random.Random, account: int, jobs: list[int], i: int) -> Append:
    """A request of which many are refused, by the job's state or for its version."""
    commands: list[c.Command] = [
        c.Start(), c.Prepare(), c.ReportProgress(done=i), c.RequestStop(), c.Complete(), c.Fail(), c.ScheduleRetry(),
        c.Annotate(note=f"{i}"), c.Annotate(note="again"), c.Remove(), c.ProduceOutput(output=i, key="out"),
    ]  # fmt: skip
    if dice.random() < 0.1:
        return submit(account)
    return say(
        account, dice.choice(jobs), dice.choice(commands), expected=dice.choice([None, None, None, dice.randint(1, 9)])
    )


async def test_two_nodes_that_take_turns_on_a_job_leave_no_gap(store: Store, account: int, dsn: str) -> None:
    job = await new_job(store, account)
    async with Store(dsn) as node:
        for i in range(40):
            done = await (store, node)[i % 2].ledger.append(note(account, job, i))
            assert (done.version, done.position) == (i + 3, i + 3)
    assert await notes(dsn, account, job) == [str(i) for i in range(40)]
    assert await assert_sound(dsn) == 42


@pytest.mark.parametrize("seed", range(4))
async def test_nodes_that_append_at_once_leave_a_sound_log(dsn: str, store: Store, account: int, seed: int) -> None:
    dice = random.Random(seed)
    other = await store.accounts.create("other")
    jobs = {a: [(await store.ledger.append(submit(a))).job for _ in range(3)] for a in (account, other)}
    async with Store(dsn) as second, Store(dsn) as third:
        futures = []
        for i in range(600):
            a = dice.choice([account, other])
            futures.append(dice.choice([store, second, third]).ledger.append(anything(dice, a, jobs[a], i)))
            if dice.random() < 0.1:
                await asyncio.wait([dice.choice(futures)])
        done = await outcomes(*futures)
    assert {type(outcome) for outcome in done} <= {Appended, Refused, Conflict}
    recorded = sum(len(outcome.events) for outcome in done if isinstance(outcome, Appended))
    assert await assert_sound(dsn) == 6 + recorded


async def test_of_all_who_expect_the_same_version_one_is_recorded(store: Store, account: int, dsn: str) -> None:
    job = await new_job(store, account)
    async with Store(dsn) as node:
        for version in range(2, 22):
            futures = [n.ledger.append(note(account, job, (version, i), expected=version)) for i, n in
                       enumerate((store, node, store, node))]  # fmt: skip
            done = await outcomes(*futures)
            assert sorted(type(outcome).__name__ for outcome in done) == ["Appended", *["Conflict"] * 3]
            assert all(outcome.version == version + 1 for outcome in done if isinstance(outcome, Conflict))
    assert await assert_sound(dsn) == 22


async def test_a_node_sees_a_job_that_another_one_has_just_made_or_ended(store: Store, account: int, dsn: str) -> None:
    async with Store(dsn) as node:
        with pytest.raises(NoSuchJob):
            await node.ledger.append(note(account, 1, "too early"))
        job = await new_job(store, account)
        assert (await node.ledger.append(note(account, job, "in time"))).version == 3
        await store.ledger.append(say(account, job, c.Complete()))
        with pytest.raises(Refused, match="completed"):
            await node.ledger.append(say(account, job, c.ReportProgress(fraction=0.5)))
    await assert_sound(dsn)


async def test_a_job_whose_row_lags_behind_is_loaded_as_it_is(store: Store, account: int, dsn: str) -> None:
    job = await new_job(store, account)
    for i in range(62):
        await store.ledger.append(say(account, job, c.ReportProgress(done=i, total=100)))
    [row] = await query(dsn, "SELECT version FROM jobs")
    last = (await store.ledger.append(note(account, job, "last"))).version
    assert row["version"] < last, "the row is a memo, or this test shows nothing"
    async with Store(dsn) as node:
        assert (await node.ledger.append(say(account, job, c.ReportProgress(done=61)))).events == []
        with pytest.raises(Refused, match="more than"):
            await node.ledger.append(say(account, job, c.ReportProgress(done=101)))
        assert (await node.ledger.append(note(account, job, "next"))).version == last + 1
    await assert_sound(dsn)


async def test_a_node_that_can_remember_only_few_jobs_records_the_same(
    dsn: str, store: Store, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(7)
    accounts = [account, *[await store.accounts.create(f"account-{i}") for i in range(4)]]
    jobs = {a: [(await store.ledger.append(submit(a))).job for _ in range(5)] for a in accounts}
    monkeypatch.setattr(writing, "STATES", 3)
    async with Store(dsn) as node:
        futures = []
        for i in range(800):
            a = dice.choice(accounts)
            futures.append(dice.choice([node, node, node, store]).ledger.append(anything(dice, a, jobs[a], i)))
            if dice.random() < 0.15:
                await asyncio.wait([dice.choice(futures)])
        done = await outcomes(*futures)
        assert {type(outcome) for outcome in done} <= {Appended, Refused, Conflict}
    await assert_sound(dsn)


async def test_a_request_of_very_many_events_is_one_transaction(store: Store, account: int, dsn: str) -> None:
    job = await new_job(store, account)
    heard = drafts(store)
    async with Store(dsn) as node:
        for n in (store, node, store):
            commands = [c.Annotate(note=f"{id(n)} {i}") for i in range(1500)]
            assert len((await n.ledger.append(say(account, job, *commands))).events) == 1500
        await outcomes(*[store.ledger.append(note(account, job, ("beside", i))) for i in range(1500)])
    assert len(heard) < 20
    assert await assert_sound(dsn) == 2 + 3 * 1500 + 1500
