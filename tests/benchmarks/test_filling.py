"""A filled log is one that the ledger could have written, and can go on with."""

import json

import asyncpg
import pytest

from benchmarks.filling import BY, fill, turns
from jobstore.formats import native
from jobstore.job.commands import Annotate
from jobstore.store import Store
from jobstore.store.request import Append
from jobstore.store.verifying import verify


@pytest.mark.parametrize(("count", "accounts"), [(1, 1), (7, 3), (250, 2), (1_234, 1)])
async def test_every_log_holds_and_has_so_many_events(store: Store, dsn: str, count: int, accounts: int) -> None:
    await fill(dsn, count, accounts)

    logs = await store.logs.all()

    assert [await verify(log) for _, log in logs] == [count] * accounts


async def test_the_rows_of_jobs_are_as_of_their_last_events(store: Store, dsn: str) -> None:
    await fill(dsn, 250, 2)
    connection = await asyncpg.connect(dsn)

    rows = await connection.fetch(
        "SELECT account_id, number, jobs.version, phase, state, max(events.version) AS last, count(*) FROM jobs "
        "JOIN events USING (account_id) WHERE job = number GROUP BY account_id, number"
    )
    heads = await connection.fetch("SELECT jobs FROM heads")
    await connection.close()

    assert len(rows) == 20
    assert all(row["version"] == row["last"] == row["count"] == 25 for row in rows)
    assert {(row["phase"], json.loads(row["state"])["message"]) for row in rows} == {("running", "row 25")}
    assert [head["jobs"] for head in heads] == [10, 10]


async def test_the_ledger_goes_on_where_the_log_ends(store: Store, dsn: str) -> None:
    await fill(dsn, 250)
    (account,) = await store.accounts.all()

    appended = await store.ledger.append(Append(account.account_id, 10, (Annotate(note="more"),), BY))

    assert (appended.position, appended.version) == (251, 26)
    where = await store.views.where(account.account_id, 10)
    assert where is not None
    shown = await store.views.show(account.account_id, 10, where, native.PROJECTION)
    assert b'"message":"row 25"' in shown.body.replace(b": ", b":")
    (log,) = [log for _, log in await store.logs.all()]
    assert await verify(log) == 251


def test_jobs_report_in_turn_a_thousand_at_a_time() -> None:
    said = [(0, 0), *turns(100_100)]  # so that an event is at its position

    assert [said[position] for position in (1, 1_000, 1_001)] == [(1, 1), (1_000, 1), (1, 2)]
    assert [said[position] for position in (100_000, 100_001, 100_100)] == [(1_000, 100), (1_001, 1), (1_100, 1)]
