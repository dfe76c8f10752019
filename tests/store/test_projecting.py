"""A job of many events that was folded ahead is shown from a memo, if that is of the revision that is asked for."""

from dataclasses import replace
from typing import Any

import pytest

from jobstore.formats import PROJECTIONS, native
from jobstore.job import codec
from jobstore.job import commands as c
from jobstore.job.projection import Projection
from jobstore.store import Store, projecting, views
from tests.store.asking import note, query, say, submit
from tests.store.sound import assert_sound

LONG = 8


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of few events are long ones here."""
    monkeypatch.setattr(views, "MEMO_AFTER", LONG)
    monkeypatch.setattr(projecting, "MEMO_AFTER", LONG)
    monkeypatch.setattr(projecting, "LOOKED_AT", 4)


async def long_job(store: Store, account: int, events: int = LONG + 3) -> int:
    job = (await store.ledger.append(submit(account))).job
    await store.ledger.append(say(account, job, *[c.Annotate(note=f"{i}") for i in range(events - 1)]))
    return job


async def project(store: Store, account: int, projection: Projection[Any], **share: int) -> tuple[int, int]:
    """How many jobs were looked at, and how many memos were written."""
    steps = [step async for step in store.projecting.project(account, projection, **share)]
    return sum(step.jobs for step in steps), sum(step.memos for step in steps)


async def test_every_long_job_gets_a_memo_once(store: Store, account: int, dsn: str) -> None:
    other = await store.accounts.create("rival")
    jobs = [await long_job(store, account) for _ in range(9)]
    short = await long_job(store, account, LONG)
    await long_job(store, other)
    removed = await long_job(store, account)
    await store.ledger.append(say(account, removed, c.Fail(), c.Remove()))
    assert await store.projecting.count(account) == 11
    for format in PROJECTIONS.values():
        assert await project(store, account, format) == (11, 9)
        assert await project(store, account, format) == (11, 0)
    rows = await query(dsn, "SELECT DISTINCT job, version FROM views WHERE account_id = $1 ORDER BY 1", account)
    assert [tuple(row) for row in rows] == [(job, LONG + 3) for job in jobs]
    assert short not in jobs
    for i in range(LONG):
        await store.ledger.append(note(account, jobs[0], f"more {i}"))
    assert await project(store, account, native.PROJECTION) == (11, 0), "a reader folds so few"
    await store.ledger.append(note(account, jobs[0], "one too many"))
    assert await project(store, account, native.PROJECTION) == (11, 1)
    await assert_sound(dsn)


async def test_shares_of_the_work_are_all_of_it_and_do_not_overlap(store: Store, account: int) -> None:
    for _ in range(10):
        await long_job(store, account)
    done = [await project(store, account, native.PROJECTION, share=share, shares=3) for share in range(3)]
    assert done == [(3, 3), (4, 4), (3, 3)]
    assert await project(store, account, native.PROJECTION) == (10, 0)


async def test_who_stops_half_way_leaves_the_rest_for_the_next_one(store: Store, account: int, dsn: str) -> None:
    for _ in range(6):
        await long_job(store, account)
    async for step in store.projecting.project(account, native.PROJECTION):
        assert step.memos == 1
        break
    assert await project(store, account, native.PROJECTION) == (6, 5)
    await assert_sound(dsn)


async def test_a_reader_starts_from_what_was_folded_ahead(
    store: Store, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await long_job(store, account)
    await project(store, account, native.PROJECTION)
    await store.ledger.append(note(account, job, "since then"))
    decoded: list[str] = []
    decode = codec.decode

    def count(name: str, data: str) -> Any:
        decoded.append(name)
        return decode(name, data)

    monkeypatch.setattr(codec, "decode", count)
    async with Store(store.postgres.dsn) as fresh:
        where = await fresh.views.where(account, job)
        assert where is not None
        assert (await fresh.views.show(account, job, where, native.PROJECTION)).version == LONG + 4
    assert decoded == ["annotated"]


async def test_a_changed_format_leaves_the_memos_of_before_unread_and_is_folded_beside_them(
    store: Store, account: int, dsn: str
) -> None:
    job = await long_job(store, account)
    old = native.PROJECTION
    new = replace(old, revision=old.revision + 1)
    await project(store, account, old)
    await query(dsn, "UPDATE views SET memo = replace(memo, 'index.build', 'as it was told before')")
    where = await store.views.where(account, job)
    assert where is not None
    async with Store(dsn) as upgraded:
        assert b"as it was told" not in (await upgraded.views.show(account, job, where, new)).body
        await upgraded.views.close()
    async with Store(dsn) as before:
        assert b"index.build" in (await before.views.show(account, job, where, old)).body
        await before.views.close()
    assert await project(store, account, new) == (1, 0), "the reader has left one of this revision"
    await query(dsn, "DELETE FROM views")
    await project(store, account, old)
    assert await project(store, account, new) == (1, 1)
    assert [tuple(row) for row in await query(dsn, "SELECT revision FROM views")] == [(new.revision,)]
