"""Requests that are written together share a transaction and nothing else."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from jobstore.job import codec
from jobstore.job import commands as c
from jobstore.job.decider import Refused
from jobstore.job.events import Annotated, Event, ProgressReported
from jobstore.store import Store
from jobstore.store.ledger import BATCH, Ledger
from jobstore.store.request import Appended, Conflict, NoSuchJob
from tests.store.asking import (
    SECONDS,
    drafts,
    holding,
    new_job,
    note,
    notes,
    outcomes,
    query,
    say,
    submit,
    until_locked,
)
from tests.store.sound import assert_sound


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes that Postgres refuses, and progress that cannot be encoded."""
    encode = codec.encode

    def poison(event: Event) -> str:
        if isinstance(event, ProgressReported) and event.message == "unspeakable":
            raise ValueError("it cannot be said")
        text = encode(event)
        return text + "\0" if isinstance(event, Annotated) and event.note == "poison" else text

    monkeypatch.setattr(codec, "encode", poison)


async def test_requests_that_arrive_together_share_transactions(store: Store, account: int, dsn: str) -> None:
    heard = drafts(store)
    done = await outcomes(*[store.ledger.append(submit(account)) for _ in range(200)])
    assert [outcome.job for outcome in done if isinstance(outcome, Appended)] == list(range(1, 201))
    assert len(heard) <= 4
    assert sum(len(draft.outcomes) for draft in heard) == 200
    assert await assert_sound(dsn) == 200


async def test_listeners_hear_after_the_callers_were_answered_and_a_broken_one_harms_nobody(
    store: Store, account: int, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("a broken listener")

    store.ledger.listen(broken)
    answered: list[bool] = []
    store.ledger.listen(lambda draft: answered.extend(request.future.done() for request, _ in draft.outcomes))
    await store.ledger.append(submit(account))
    assert answered == [True]
    assert "a listener failed" in caplog.text


async def test_each_request_meets_only_its_own_failure(
    node: Store, store: Store, account: int, dsn: str, poisoned: None
) -> None:
    job, queued = await new_job(store, account), (await store.ledger.append(submit(account))).job
    done = await outcomes(
        *map(
            node.ledger.append,
            [
                note(account, job, "first"),
                say(account, queued, c.ReportProgress(fraction=0.5)),
                note(account, job, "too late", expected=2),
                note(account, job, "in time", expected=3),
                note(account, 4711, "whose?"),
                note(account, job, "poison"),
                say(account, job, c.Annotate(note="all or"), c.Start(stage="none"), c.Prepare()),
                submit(account),
                note(account, job, "last"),
            ],
        )
    )
    assert [type(outcome) for outcome in done] == [
        Appended, Refused, Conflict, Appended, NoSuchJob, asyncpg.CharacterNotInRepertoireError, Refused, Appended,
        Appended,
    ]  # fmt: skip
    conflict = done[2]
    assert isinstance(conflict, Conflict)
    assert conflict.version == 3
    assert await notes(dsn, account, job) == ["first", "in time", "last"]
    assert await assert_sound(dsn) == 7


async def test_a_request_that_cannot_be_encoded_leaves_nothing_behind(
    node: Store, store: Store, account: int, dsn: str, poisoned: None
) -> None:
    job = await new_job(store, account)
    done = await outcomes(
        node.ledger.append(say(account, job, c.Annotate(note="half"), c.ReportProgress(message="unspeakable"))),
        node.ledger.append(note(account, job, "neighbour")),
    )
    assert [type(outcome) for outcome in done] == [ValueError, Appended]
    assert await assert_sound(dsn) == 3
    assert (await node.ledger.append(note(account, job, "whole"))).version == 4
    assert await notes(dsn, account, job) == ["neighbour", "whole"]


async def test_what_is_poisoned_is_refused_alone_beside_a_request_of_very_many_events(
    node: Store, store: Store, account: int, dsn: str, poisoned: None
) -> None:
    job = await new_job(store, account)
    done = await outcomes(
        node.ledger.append(say(account, job, *[c.Annotate(note=f"many {i}") for i in range(1500)])),
        node.ledger.append(note(account, job, "poison")),
        node.ledger.append(note(account, job, "after")),
    )
    assert [type(outcome) for outcome in done] == [Appended, asyncpg.CharacterNotInRepertoireError, Appended]
    assert await assert_sound(dsn) == 2 + 1500 + 1


@pytest.mark.parametrize("moment", ["before it is taken", "while it is written"])
async def test_a_caller_who_gives_up_changes_nothing_for_the_others(
    store: Store, account: int, dsn: str, moment: str
) -> None:
    job = await new_job(store, account)
    async with holding(dsn, "LOCK TABLE events IN SHARE MODE") as let_go:
        callers = [asyncio.ensure_future(store.ledger.append(note(account, job, i))) for i in range(9)]
        if moment == "while it is written":
            await until_locked(dsn)
        else:
            await asyncio.sleep(0)
        callers[4].cancel()
        await let_go()
        done = await outcomes(*callers)
    assert isinstance(done[4], asyncio.CancelledError)
    assert all(isinstance(outcome, Appended) for i, outcome in enumerate(done) if i != 4)
    assert (await store.ledger.append(note(account, job, "after"))).version == await assert_sound(dsn)


async def test_what_is_put_first_is_recorded_first(store: Store, account: int, dsn: str) -> None:
    job = await new_job(store, account)
    futures = []
    for i in range(3 * BATCH):
        futures.append(store.ledger.append(note(account, job, i)))
        if i % 37 == 0:
            await asyncio.sleep(0)
    assert not [outcome for outcome in await outcomes(*futures) if isinstance(outcome, BaseException)]
    assert await notes(dsn, account, job) == [str(i) for i in range(3 * BATCH)]
    await assert_sound(dsn)


async def test_an_account_with_thousands_in_line_does_not_keep_another_waiting(store: Store, account: int) -> None:
    job = await new_job(store, account)
    other = await store.accounts.create("other")
    many = [store.ledger.append(note(account, job, i)) for i in range(8 * BATCH)]
    await asyncio.wait_for(store.ledger.append(submit(other)), SECONDS)
    assert sum(future.done() for future in many) <= 2 * BATCH
    await asyncio.gather(*many)


async def test_time_does_not_run_backwards_when_the_clock_does(store: Store, account: int, dsn: str) -> None:
    begin = datetime.now(UTC) + timedelta(minutes=1)
    times = iter([begin, begin - timedelta(days=1), begin - timedelta(hours=1), begin + timedelta(seconds=1)])
    ledger = Ledger(store.postgres, clock=lambda: next(times))
    job = (await ledger.append(submit(account))).job
    for text in "abc":
        await ledger.append(note(account, job, text))
    at = [row["at"] for row in await query(dsn, "SELECT at FROM events ORDER BY position")]
    assert at == [begin, begin, begin, begin + timedelta(seconds=1)]
    await assert_sound(dsn)


async def test_a_log_begins_at_whatever_time_the_clock_says(store: Store, account: int, dsn: str) -> None:
    long_ago = datetime(1999, 12, 31, tzinfo=UTC)
    async with Store(dsn, clock=lambda: long_ago) as node:
        await node.ledger.append(submit(account))
    [first] = await store.history.of_account(account, limit=2)
    assert first.at == long_ago
    assert await query(dsn, "SELECT FROM heads WHERE at = $1", long_ago)
    await assert_sound(dsn)


async def test_an_account_that_does_not_exist_is_answered_and_harms_nobody(
    dsn: str, store: Store, account: int
) -> None:
    node = Store(dsn, patience=1)
    await node.open()
    try:
        lost, fine = node.ledger.append(submit(account + 1)), node.ledger.append(submit(account))
        assert (await asyncio.wait_for(fine, SECONDS)).job == 1
        await asyncio.wait([lost], timeout=3)
        assert lost.done(), "nobody waits for ever"
        assert lost.exception() is not None
    finally:
        await node.postgres.close()  # ends a lane that goes round and round
        await node.close()


async def test_closing_answers_what_was_asked(dsn: str, store: Store, account: int) -> None:
    async with Store(dsn) as node:
        futures: list[asyncio.Future[Appended]] = [node.ledger.append(submit(account)) for _ in range(2 * BATCH)]
    assert all(future.done() and future.exception() is None for future in futures)
