"""Knows what must be true of every database, whatever was done to it: `assert_sound` recomputes all of it."""

from itertools import pairwise
from typing import Any

import asyncpg
import msgspec

from jobstore.formats import PROJECTIONS
from jobstore.job import codec
from jobstore.job.decider import INITIAL, State, evolve
from jobstore.job.events import JobQueued, Recorded
from jobstore.store.batch import ROW_AFTER
from jobstore.store.chain import digest, genesis, link, microseconds

_ACCOUNTS = "SELECT account_id, coalesce(began_as, name) FROM accounts"
_EVENTS = """
SELECT position, job, version, type, at, data, by, trace, erased, hash FROM events
WHERE account_id = $1 ORDER BY position
"""


async def assert_sound(dsn: str, *, restored: bool = False) -> int:
    """Every law that can be seen in the tables; the number of events they hold. A `restored` log has lost its keys."""
    connection = await asyncpg.connect(dsn, server_settings={"timezone": "UTC"})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            total = 0
            for account_id, name in await connection.fetch(_ACCOUNTS):
                total += await _assert_account(connection, account_id, name, restored=restored)
            assert await connection.fetchval("SELECT count(*) FROM events") == total
            return total
    finally:
        await connection.close()


async def _assert_account(connection: "asyncpg.Connection[Any]", account_id: int, name: str, *, restored: bool) -> int:
    rows = await connection.fetch(_EVENTS, account_id)
    head = await connection.fetchrow("SELECT position, jobs, hash, at FROM heads WHERE account_id = $1", account_id)
    assert head is not None
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1)), "positions have no gaps"
    assert all(a["at"] <= b["at"] for a, b in pairwise(rows)), "time does not run backwards"

    hash = genesis(name)
    jobs: dict[int, list[Recorded]] = {}
    for position, job, version, type, at, data, by, trace, erased, stored in rows:
        payload = digest(data) if erased is None else erased.hex()
        hash = link(hash, position, job, version, type, microseconds(at), by, trace, payload)
        assert hash == stored, f"the chain of {name} breaks at {position}"
        events = jobs.setdefault(job, [])
        assert version == len(events) + 1, f"job {job} of {name} has version {version} after {len(events)}"
        events.append(Recorded(position, job, version, at, by, codec.decode(type, data), trace))

    assert (head["position"], head["hash"]) == (len(rows), hash), f"the head of {name} is not its last event"
    assert not rows or head["at"] == rows[-1]["at"]
    assert jobs.keys() >= set(range(1, head["jobs"] + 1)), "numbers are given in order, without gaps"
    await _assert_jobs(connection, account_id, jobs)
    await _assert_memos(connection, account_id, jobs)
    if not restored:
        await _assert_keys(connection, account_id, jobs)
    return len(rows)


async def _assert_jobs(connection: "asyncpg.Connection[Any]", account_id: int, jobs: dict[int, list[Recorded]]) -> None:
    rows = {
        row["number"]: row for row in await connection.fetch("SELECT * FROM jobs WHERE account_id = $1", account_id)
    }
    assert rows.keys() == jobs.keys(), "every job has a row, and no row is without a job"
    for number, events in jobs.items():
        row, states, state = rows[number], {}, INITIAL
        for recorded in events:
            state = evolve(state, recorded.event)
            states[recorded.version] = state
        assert (row["phase"], row["removed"]) == (state.phase, state.removed), f"the row of job {number} lags"
        assert msgspec.json.decode(row["state"], type=State) == states[row["version"]], f"job {number}: a wrong memo"
        assert len(events) - row["version"] < ROW_AFTER
        queued = events[0].event
        assert isinstance(queued, JobQueued)
        assert (row["uid"].hex, row["kind"], row["user_name"]) == (queued.uid, queued.kind, queued.user)
        assert row["claim"] == queued.claim


async def _assert_memos(
    connection: "asyncpg.Connection[Any]", account_id: int, jobs: dict[int, list[Recorded]]
) -> None:
    for row in await connection.fetch("SELECT * FROM views WHERE account_id = $1", account_id):
        projection = PROJECTIONS.get(row["format"])
        if projection is None or projection.revision != row["revision"]:
            continue
        view = projection.fold(jobs[row["job"]][: row["version"]])
        assert projection.thaw(row["memo"]) == projection.thaw(projection.freeze(view)), "a memo is a fold of a prefix"


async def _assert_keys(connection: "asyncpg.Connection[Any]", account_id: int, jobs: dict[int, list[Recorded]]) -> None:
    keys = await connection.fetch("SELECT * FROM idempotency WHERE account_id = $1", account_id)
    known = {row["key"] for row in keys}
    traces = {event.trace for events in jobs.values() for event in events if event.trace is not None}
    assert all(trace in known or " " in trace for trace in traces), "a trace is a key, or cannot be one"
    for row in keys:
        traced = [event for events in jobs.values() for event in events if event.trace == row["key"]]
        first, last = row["first_version"], row["last_version"]
        assert [event.version for event in traced] == list(range(first, last + 1)), f"key {row['key']}"
        assert {event.job for event in traced} <= {row["job"]}
        assert jobs[row["job"]][last - 1].position == row["position"]
