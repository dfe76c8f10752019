"""A poll shows what was acknowledged before it was asked, on every node, however the view was come by."""

import asyncio
import random
from typing import Any

import orjson
import pytest

from jobstore.formats import native
from jobstore.job import codec
from jobstore.job import commands as c
from jobstore.store import Store, views
from jobstore.store.views import Shown, Views, Where
from tests.store.asking import SECONDS, new_job, note, query, say, submit


class Counted:
    """How many events were decoded since the last look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._count = 0
        decode = codec.decode

        def count(*arguments: Any) -> Any:
            self._count += 1
            return decode(*arguments)

        monkeypatch.setattr(codec, "decode", count)

    def __call__(self) -> int:
        count, self._count = self._count, 0
        return count


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Counts events that are folded."""
    return Counted(monkeypatch)


async def poll(node: Store, account: int, job: int) -> Shown:
    """What a poll of the job shows now."""
    where = await node.views.where(account, job)
    assert where is not None
    return await node.views.show(account, job, where, native.PROJECTION)


async def long_job(store: Store, account: int, events: int) -> int:
    """The number of a job that has so many events."""
    job = (await store.ledger.append(submit(account))).job
    await store.ledger.append(say(account, job, *[c.Annotate(note=f"{i}") for i in range(events - 1)]))
    return job


async def test_a_poll_after_an_append_shows_it_on_the_same_node_and_on_another(store: Store, account: int) -> None:
    async with Store(store.postgres.dsn) as other:
        job = (await store.ledger.append(submit(account))).job
        for i in range(40):
            writer, reader = random.Random(i).sample([store, other], 2)
            done = await writer.ledger.append(note(account, job, i))
            for node in (reader, writer):
                shown = await poll(node, account, job)
                assert (shown.version, shown.position) == (done.version, done.position)


async def test_a_job_that_is_not_there_is_nowhere_and_one_that_was_removed_is_told(store: Store, account: int) -> None:
    assert await store.views.where(account, 1) is None
    job = await new_job(store, account)
    assert await store.views.where(account + 1, job) is None
    done = await store.ledger.append(say(account, job, c.Fail(), c.Remove()))
    assert await store.views.where(account, job) == Where(4, done.position, True)


async def test_polls_that_come_together_ask_the_database_once(store: Store, account: int) -> None:
    jobs = [await new_job(store, account) for _ in range(5)]
    read, asked, go = store.postgres.read, 0, asyncio.Event()

    async def slow(question: Any, *line: Any) -> Any:
        nonlocal asked
        asked += 1
        await go.wait()
        return await read(question, *line)

    store.postgres.read = slow  # type: ignore[assignment, method-assign]
    polls = [asyncio.ensure_future(store.views.where(account, jobs[i % 5])) for i in range(200)]
    await asyncio.sleep(0)
    polls += [asyncio.ensure_future(store.views.where(account, jobs[i % 5])) for i in range(200)]
    await asyncio.sleep(0)
    go.set()
    assert {where and where.version for where in await asyncio.gather(*polls)} == {2}
    assert asked <= 2


async def test_a_poll_is_never_answered_by_a_query_that_began_before_it(store: Store, account: int) -> None:
    job = await new_job(store, account)
    read, answered, go = store.postgres.read, asyncio.Event(), asyncio.Event()

    async def slow(question: Any, *line: Any) -> Any:
        answer = await read(question, *line)
        answered.set()
        await go.wait()
        return answer

    store.postgres.read = slow  # type: ignore[assignment, method-assign]
    early = asyncio.ensure_future(store.views.where(account, job))
    await asyncio.wait_for(answered.wait(), SECONDS)
    await store.ledger.append(note(account, job, "meanwhile"))
    late = asyncio.ensure_future(store.views.where(account, job))
    await asyncio.sleep(0)
    go.set()
    assert [where and where.version for where in (await early, await late)] == [2, 3]


async def test_a_view_seen_before_is_brought_up_by_what_it_lacks_alone(
    store: Store, account: int, decoded: Counted
) -> None:
    job = await long_job(store, account, 50)
    await poll(store, account, job)
    assert decoded() == 50
    await store.ledger.append(note(account, job, "one more"))
    await poll(store, account, job)
    await poll(store, account, job)
    assert decoded() == 1


async def test_a_memory_too_small_for_two_views_shows_them_all(store: Store, account: int) -> None:
    jobs = [await long_job(store, account, 3) for _ in range(30)]
    small = Views(store.postgres, store.history, memory=1)
    where = [await small.where(account, job) for job in jobs]
    async with asyncio.timeout(SECONDS):
        for _ in range(3):
            shown = await asyncio.gather(
                *[small.show(account, job, at, native.PROJECTION) for job, at in zip(jobs, where, strict=True) if at]
            )
            assert [s.position for s in shown] == [at.position for at in where if at]
    assert len(small._folded) == 1


async def test_a_job_reported_on_again_and_again_does_not_drive_others_out_of_memory(
    store: Store, account: int, decoded: Counted
) -> None:
    store.views = Views(store.postgres, store.history, memory=100_000)
    hot, other, third = [await long_job(store, account, 3) for _ in range(3)]
    await poll(store, account, other)
    await poll(store, account, hot)
    for i in range(200):
        done = await store.ledger.append(say(account, hot, c.Annotate(note=f"hot {i}")))
        await store.views.show_after(account, done, native.PROJECTION)
    await poll(store, account, third)
    decoded()
    await poll(store, account, other)
    assert decoded() == 0


async def test_a_long_fold_leaves_a_memo_from_which_another_node_starts(
    store: Store, account: int, dsn: str, decoded: Counted
) -> None:
    events = views.MEMO_AFTER + 5
    job = await long_job(store, account, events)
    first = await poll(store, account, job)
    await store.views.close()
    assert [tuple(row) for row in await query(dsn, "SELECT job, version FROM views")] == [(job, events)]
    await store.ledger.append(note(account, job, "one more"))
    decoded()
    async with Store(dsn) as fresh:
        shown = await poll(fresh, account, job)
        assert decoded() == 1
    assert (shown.version, shown.position) == (events + 1, events + 1)
    assert first.version == events


@pytest.mark.parametrize("change", ["revision = revision + 1", "revision = 0", "memo = '[]'", "memo = '{\"uid\": 1}'"])
async def test_a_memo_of_another_revision_or_of_no_sense_is_not_read(
    store: Store, account: int, dsn: str, change: str
) -> None:
    job = await long_job(store, account, views.MEMO_AFTER + 5)
    shown = await poll(store, account, job)
    await store.views.close()
    await query(dsn, "UPDATE views SET memo = replace(memo, 'index.build', 'wrong')")
    await query(dsn, f"UPDATE views SET {change}")
    async with Store(dsn) as fresh:
        assert await poll(fresh, account, job) == shown


async def test_a_memo_younger_than_the_question_shows_the_job_with_its_own_position(
    store: Store, account: int, dsn: str
) -> None:
    job = await long_job(store, account, views.MEMO_AFTER + 1)
    earlier = await store.views.where(account, job)
    assert earlier is not None
    await store.ledger.append(submit(account))
    await store.ledger.append(note(account, job, "later"))
    await poll(store, account, job)
    await store.views.close()
    async with Store(dsn) as fresh:
        shown = await fresh.views.show(account, job, earlier, native.PROJECTION)
        body = orjson.loads(shown.body)
        assert (shown.version, shown.position) == (body["version"], body["position"])
        exact = await fresh.views.show_exactly(account, job, earlier, native.PROJECTION)
        assert (exact.version, exact.position) == (earlier.version, earlier.position)
