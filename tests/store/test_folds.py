"""A view is a fold of a prefix: now, at any position of the past, and while the job is written by others."""

import asyncio
import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobstore.formats import native
from jobstore.job import commands as c
from jobstore.job.decider import Refused
from jobstore.job.events import Recorded
from jobstore.store import Store, history, views
from jobstore.store.ledger import Ledger
from jobstore.store.request import Appended
from jobstore.store.views import Views, Where
from tests.histories import commands, rendered
from tests.store.asking import SECONDS, new_job, note, outcomes, query, say, submit
from tests.store.sound import assert_sound
from tests.store.strictly import STRICT, Seen, seen

on_a_database = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Ends a test whose event loop does not turn any more; no timeout of asyncio could."""

    def ring(*_: object) -> None:
        raise TimeoutError("the event loop hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 20, 1)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


async def live(store: Store, account: int, said: list[c.Command], dice: random.Random) -> list[Recorded]:
    """The recorded events of a job to which `said` was said, among others, on whatever node."""
    first, *rest = said
    assert isinstance(first, c.Submit)
    made = await store.ledger.append(submit(account, first.kind))
    recorded = made.events
    for command in rest:
        if dice.random() < 0.3:
            await store.ledger.append(submit(account))
        done = (await outcomes(store.ledger.append(say(account, made.job, command))))[0]
        assert isinstance(done, Appended | Refused)
        recorded += done.events if isinstance(done, Appended) else []
    return recorded


@given(said=commands, seed=st.integers(0, 99))
@on_a_database
async def test_a_view_at_a_position_is_the_fold_of_what_came_up_to_there(
    store: Store, account: int, said: list[c.Command], seed: int
) -> None:
    dice = random.Random(seed)
    before = await store.history.head(account)
    recorded = await live(store, account, said, dice)
    job, head = recorded[0].job, await store.history.head(account)
    views.MEMO_AFTER, usual = 3, views.MEMO_AFTER  # type: ignore[misc]
    try:
        fresh = Views(store.postgres, store.history)
        positions = list(range(before, head + 1))
        dice.shuffle(positions)
        for position in positions:
            prefix = [event for event in recorded if event.position <= position]
            where = await store.past.where(account, job, position)
            if not prefix:
                assert where is None
                continue
            assert where is not None
            assert where[:2] == (prefix[-1].version, prefix[-1].position)
            body = rendered(native.PROJECTION, native.PROJECTION.fold(prefix))
            for node in (fresh, store.views):
                exact = await node.show_exactly(account, job, where, native.PROJECTION)
                assert (exact.version, exact.position, exact.body) == (*where[:2], body)
                later = await node.show(account, job, where, native.PROJECTION)
                assert later.body == rendered(native.PROJECTION, native.PROJECTION.fold(recorded[: later.version]))
                assert later.version >= where.version
        await fresh.close()
    finally:
        views.MEMO_AFTER = usual  # type: ignore[misc]


class Heard(msgspec.Struct):
    """Every event that was folded."""

    events: list[Recorded] = []


def hear(view: Heard, recorded: Recorded) -> Heard:
    view.events.append(recorded)
    return view


HEARD = replace(STRICT, name="heard", view=Heard, evolve=hear)


@given(said=commands, page=st.integers(1, 5), beyond=st.integers(0, 7), seed=st.integers(0, 99))
@on_a_database
async def test_a_fold_of_the_past_is_given_every_event_as_it_was_recorded(
    store: Store, account: int, said: list[c.Command], page: int, beyond: int, seed: int
) -> None:
    recorded = await live(store, account, said, random.Random(seed))
    job = recorded[0].job
    for more in ({"key": f"key {uuid4()}", "digest": bytes(32)}, {"trace": "trace 1"}):
        [done] = await outcomes(store.ledger.append(note(account, job, "\x1f", **more)))
        recorded += done.events if isinstance(done, Appended) else []
    with patch.object(history, "PAGE", page):
        for version in (1, len(recorded) // 2, len(recorded), len(recorded) + beyond):
            heard = await store.history.view(account, job, version, HEARD)
            assert heard.events == recorded[:version]


async def test_who_said_something_may_have_any_name_in_a_log_that_was_imported(
    dsn: str, store: Store, account: int
) -> None:
    job = await new_job(store, account)
    await query(
        dsn,
        "INSERT INTO events SELECT account_id, position + 1, job, version + 1, 'annotated', at, '{}', $1, $1, hash "
        "FROM events WHERE position = 2",
        "a\x1fb",
    )
    heard = await store.history.view(account, job, 3, HEARD)
    assert [(event.by, event.trace) for event in heard.events[1:]] == [("acme/tests", None), ("a\x1fb", "a\x1fb")]


@pytest.mark.parametrize("memory", [1, 10_000_000], ids=["hardly any memory", "memory"])
@pytest.mark.parametrize("seed", range(3))
async def test_a_job_that_is_shown_while_it_is_written_is_folded_once_and_never_goes_back(
    dsn: str, store: Store, account: int, seed: int, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "MEMO_AFTER", 20)
    dice = random.Random(seed)
    jobs = [await new_job(store, account) for _ in range(3)]
    over = asyncio.Event()

    async def write(node: Store) -> None:
        for i in range(60):
            job = dice.choice(jobs)
            more = [c.Annotate(note=f"{id(node)} {i} {k}") for k in range(dice.choice([1, 1, 1, 30]))]
            done = await node.ledger.append(say(account, job, *more))
            shown = await node.views.show_after(account, done, STRICT)
            assert seen(shown)[done.first_version - 1 : done.version] == [event.position for event in done.events]

    async def read(node: Store) -> None:
        last = dict.fromkeys(jobs, 0)
        while not over.is_set():
            job = dice.choice(jobs)
            where = await node.views.where(account, job)
            assert where is not None
            assert where.version >= last[job], "polls never go back"
            last[job] = where.version
            if dice.random() < 0.5:
                assert len(seen(await node.views.show(account, job, where, STRICT))) >= where.version
            else:
                past = await node.past.where(account, job, dice.randint(6, max(6, where.position)))
                assert past is not None
                assert len(seen(await node.views.show_exactly(account, job, past, STRICT))) == past.version

    async with Store(dsn) as other:
        for node in (store, other):
            node.views = Views(node.postgres, node.history, memory=memory)
        readers = [asyncio.create_task(read(node)) for node in (store, other, store, other)]
        async with asyncio.timeout(3 * SECONDS):
            await asyncio.gather(*[write(node) for node in (store, other, store)])
            over.set()
            await asyncio.gather(*readers)
        for job in jobs:
            where = await store.views.where(account, job)
            assert where is not None
            of_job = [entry.position async for page in store.history.pages_of_job(account, job) for entry in page]
            for node in (store, other):
                assert seen(await node.views.show(account, job, where, STRICT)) == of_job
    await assert_sound(dsn)


async def test_a_poll_in_the_very_moment_in_which_a_fold_ends_does_not_hang(store: Store, account: int) -> None:
    job = await new_job(store, account)
    early = await store.views.where(account, job)
    await store.ledger.append(note(account, job, "later"))
    late = await store.views.where(account, job)
    assert early is not None
    assert late is not None
    ending = asyncio.get_running_loop().create_future()

    def evolve(view: Seen, recorded: Recorded) -> Seen:
        if recorded.version == 2 and not ending.done():
            ending.set_result(None)  # who waits for this is resumed before those who wait for the fold
        return STRICT.evolve(view, recorded)  # type: ignore[no-any-return]

    async def news(wanted: Any) -> Any:
        return (await load(wanted)) if ending.done() else {key: e[:2] for key, e in (await load(wanted)).items()}

    load, store.views._news._load = store.views._news._load, news
    telling = replace(STRICT, evolve=evolve)
    first = asyncio.create_task(store.views.show(account, job, early, telling))
    await ending
    signal.setitimer(signal.ITIMER_REAL, 3, 1)
    assert len(seen(await store.views.show(account, job, late, telling))) == 3
    assert len(seen(await first)) >= 2


async def test_who_gives_up_waiting_for_a_view_takes_it_from_nobody(store: Store, account: int) -> None:
    job = await new_job(store, account)
    where = await store.views.where(account, job)
    assert where is not None
    asked: list[asyncio.Task[Any]] = [
        asyncio.create_task(store.views.show(account, job, where, STRICT)) for _ in range(5)
    ]
    await asyncio.sleep(0)
    asked[0].cancel()
    asked[3].cancel()
    shown = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(outcome, asyncio.CancelledError) for outcome in shown] == [True, False, False, True, False]
    assert seen(await store.views.show(account, job, where, STRICT)) == [1, 2]


async def test_a_moment_is_found_in_the_log_as_if_all_of_it_were_read(store: Store, account: int) -> None:
    begin = datetime.now(UTC) + timedelta(hours=1)
    dice = random.Random(3)
    times = [begin + timedelta(seconds=s) for s in sorted(dice.choices(range(30), k=40))]
    clock = iter(times)
    ledger = Ledger(store.postgres, clock=lambda: next(clock))
    assert await store.history.position_at(account, begin) == 0
    for _ in times:
        await ledger.append(submit(account))
    for second in range(-2, 33):
        for moment in (begin + timedelta(seconds=second), begin + timedelta(seconds=second, microseconds=-1)):
            assert await store.history.position_at(account, moment) == sum(at <= moment for at in times)


async def test_a_watcher_is_woken_by_an_append_here_by_one_elsewhere_and_by_the_end(
    dsn: str, store: Store, account: int
) -> None:
    job = await new_job(store, account)
    assert await store.watch.past(account, job + 1, 1, 5) is None
    async with Store(dsn) as other:
        for version, writer in ((2, store), (3, other)):
            waiting = [asyncio.create_task(store.watch.past(account, job, version, SECONDS)) for _ in range(3)]
            await asyncio.sleep(0)
            assert not any(task.done() for task in waiting)
            done = await writer.ledger.append(note(account, job, version))
            async with asyncio.timeout(3):
                assert await asyncio.gather(*waiting) == [Where(version + 1, done.position, False)] * 3
        assert (await store.watch.past(account, job, 4, 0.01) or Where(0, 0, False)).version == 4
        last = asyncio.create_task(store.watch.past(account, job, 4, 60))
        await asyncio.sleep(0)
        store.watch.stop()
        assert (await asyncio.wait_for(last, 3) or Where(0, 0, False)).version == 4
