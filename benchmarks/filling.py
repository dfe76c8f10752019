"""Knows how to write a valid log of any size fast, past the ledger; must not know what is measured on it.

An account's log is made by the ledger's own link. It has a job for every hundred events, but at least ten jobs where it
has as many events. At most a thousand jobs run at a time and report in turn; when each has said all it has to say, the
next thousand begin. Accounts report in turn too, so an account's events lie as far apart as they would.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from jobstore.job import codec
from jobstore.job.decider import INITIAL, State, evolve
from jobstore.job.events import Event, JobQueued, JobStarted, ProgressReported
from jobstore.store import Store
from jobstore.store.chain import digest, genesis, link, microseconds

BY: Final = "acme/bench"
BEGIN: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)

_KIND: Final = "index.build"
_LENGTH: Final = 100  # events a job
_FEWEST: Final = 10  # jobs an account
_AT_A_TIME: Final = 1_000  # jobs

_EVENTS: Final = ("account_id", "position", "job", "version", "type", "at", "data", "by", "trace", "hash")
_JOBS: Final = ("account_id", "number", "uid", "kind", "phase", "removed", "version", "state")
_MAKE: Final = """
INSERT INTO accounts (name) SELECT name FROM unnest($1::text[]) WITH ORDINALITY AS made (name, place) ORDER BY place
RETURNING account_id, name
"""
_FINISH: Final = """
INSERT INTO heads (account_id, position, jobs, hash, at)
SELECT account_id, position, $2, hash, at FROM events WHERE position = $1
"""


def said(version: int, uid: int = 1) -> Event:
    """What a job's event of this version says."""
    if version == 1:
        return JobQueued(uid=f"{uid:032x}", kind=_KIND, args={"index": "users"})
    if version == 2:
        return JobStarted(stage="load")
    return ProgressReported(fraction=version % 9973 / 9973, stage="load", message=f"row {version}")


def jobs_of(count: int) -> int:
    """How many jobs a log of so many events has."""
    return min(count, max(_FEWEST, count // _LENGTH))


def turns(count: int) -> Iterator[tuple[int, int]]:
    """Which job each event of a log is of, by number, and its version there."""
    jobs = jobs_of(count)
    length, at_a_time = -(-count // jobs), min(jobs, _AT_A_TIME)
    for index in range(count):
        before, turn = divmod(index, at_a_time * length)
        yield before * at_a_time + turn % at_a_time + 1, turn // at_a_time + 1


def log(accounts: Sequence[tuple[int, str]], count: int) -> Iterator[tuple[Any, ...]]:
    """The rows of a log of so many events in each of the accounts, given by id and name."""
    hashes = [genesis(name) for _, name in accounts]
    for position, (job, version) in enumerate(turns(count), 1):
        event, at = said(version, job), BEGIN + timedelta(milliseconds=position)
        type, data, since_1970 = codec.name(event), codec.encode(event), microseconds(at)
        payload = digest(data)
        for index, (account_id, _) in enumerate(accounts):
            hash = link(hashes[index], position, job, version, type, since_1970, BY, None, payload)
            hashes[index] = hash
            yield account_id, position, job, version, type, at, data, BY, None, hash


async def fill(dsn: str, count: int, accounts: int = 1) -> None:
    """So many events in an account `acme`; or so many in each of the accounts `acme-1`, `acme-2` and so on."""
    names = ["acme"] if accounts == 1 else [f"acme-{number}" for number in range(1, accounts + 1)]
    async with Store(dsn):
        pass  # which makes the tables
    connection = await asyncpg.connect(dsn)
    made = [(row["account_id"], row["name"]) for row in await connection.fetch(_MAKE, names)]
    await connection.copy_records_to_table("events", records=log(made, count), columns=_EVENTS)
    versions = dict(turns(count))
    rows = (_job(account_id, number, version) for account_id, _ in made for number, version in versions.items())
    await connection.copy_records_to_table("jobs", records=rows, columns=_JOBS)
    await connection.execute(_FINISH, count, len(versions))
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def _job(account_id: int, number: int, version: int) -> tuple[Any, ...]:
    """A row of `jobs`."""
    phase, state = _state(version)
    return account_id, number, UUID(int=number), _KIND, phase, False, version, state


@cache
def _state(version: int) -> tuple[str | None, str]:
    """The phase and the state of a job after so many events."""
    state: State = INITIAL
    for number in range(1, version + 1):
        state = evolve(state, said(number))
    return state.phase, msgspec.json.encode(state).decode()
