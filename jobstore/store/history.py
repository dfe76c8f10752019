"""Knows how to read what was recorded: a job's events, an account's log, and where in them a moment lies."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import nullcontext
from datetime import datetime
from itertools import repeat
from typing import Final, NamedTuple

import msgspec

from jobstore.job import codec
from jobstore.job.events import JobErased, JobRemoved, Recorded
from jobstore.job.projection import Projection, V
from jobstore.store.postgres import Connection, Postgres

PAGE: Final = 1000  # events read at a time

_UNIT: Final = "\x1f"
_decode_times = msgspec.json.Decoder(list[datetime]).decode
_ERASED: Final = codec.NAMES[JobErased]
_REMOVED: Final = codec.NAMES[JobRemoved]

# Whether a job is removed whose last event is of type {0}. An erasure may come after a removal, and undoes none.
GONE: Final = (
    f"CASE {{0}} WHEN '{_ERASED}' THEN ("
    "SELECT removed FROM jobs WHERE jobs.account_id = {1} AND jobs.number = {2}"
    f") ELSE {{0}} = '{_REMOVED}' END"
)

_COLUMNS = "position, job, version, type, at, data, by, trace"

OF_JOB = f"""
SELECT {_COLUMNS} FROM events
WHERE account_id = $1 AND job = $2 AND version > $3 ORDER BY version LIMIT $4
"""
OF_ACCOUNT = f"""
SELECT {_COLUMNS} FROM events
WHERE account_id = $1 AND position > $2 ORDER BY position LIMIT $3
"""
# A part of a job's history as one row: columns come over in half the time that as many rows take. A unit separator is
# in neither type nor payload, which is JSON and would escape it; who said so may have one. Times are JSON, of which
# msgspec reads ten while asyncpg reads one of its own.
COLUMNS_OF_JOB = r"""
SELECT array_agg(position), array_agg(version), string_agg(type, E'\x1f'), json_agg(at), string_agg(data, E'\x1f'),
    array_agg(by), array_agg(trace)
FROM (
    SELECT * FROM events WHERE account_id = $1 AND job = $2 AND version > $3 AND version <= $4 ORDER BY version
) AS page
"""
HEAD = "SELECT position FROM heads WHERE account_id = $1"
# `at` never runs backwards in a log, so halving finds a moment by the primary key, and appends keep no index by time.
AT_TIME = """
WITH RECURSIVE halving (low, high) AS (
    SELECT 0::bigint, position FROM heads WHERE account_id = $1
    UNION ALL
    SELECT CASE WHEN at <= $2 THEN position ELSE low END, CASE WHEN at <= $2 THEN high ELSE position - 1 END
    FROM halving JOIN events ON account_id = $1 AND position = (low + high + 1) / 2
    WHERE low < high
)
SELECT low FROM halving WHERE low = high
"""


class Entry(NamedTuple):
    """A recorded event as it is stored: `data` is the payload's own JSON text."""

    position: int
    job: int
    version: int
    type: str
    at: datetime
    data: str
    by: str
    trace: str | None

    def recorded(self) -> Recorded:
        """The event itself. Raises what codec.decode raises."""
        event = codec.decode(self.type, self.data)
        return Recorded(self.position, self.job, self.version, self.at, self.by, event, self.trace)


def _recorded(
    job: int,
    positions: list[int] | None,
    versions: list[int],
    types: str,
    at: str,
    data: str,
    by: list[str],
    traces: list[str | None],
) -> Iterable[Recorded]:
    """The events that the columns are of, which are NULL where there are none."""
    if positions is None:
        return ()
    events = map(codec.decode, types.split(_UNIT), data.split(_UNIT))
    return map(Recorded, positions, repeat(job), versions, _decode_times(at), by, events, traces)


class History:
    """Reads the log. Methods raise Unavailable when Postgres does not answer."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def of_job(self, account_id: int, job: int, *, after: int = 0, limit: int = PAGE) -> list[Entry]:
        """Up to `limit` events of a job whose version is above `after`, in order."""
        rows = await self._postgres.read(lambda connection: connection.fetch(OF_JOB, account_id, job, after, limit))
        return [Entry(*row) for row in rows]

    async def of_account(self, account_id: int, *, after: int = 0, limit: int = PAGE) -> list[Entry]:
        """Up to `limit` events of an account whose position is above `after`, in order."""
        rows = await self._postgres.read(lambda connection: connection.fetch(OF_ACCOUNT, account_id, after, limit))
        return [Entry(*row) for row in rows]

    async def pages_of_job(self, account_id: int, job: int, *, after: int = 0) -> AsyncIterator[list[Entry]]:
        """All events of a job whose version is above `after`, a page at a time."""
        while page := await self.of_job(account_id, job, after=after):
            yield page
            after = page[-1].version

    async def pages_of_account(self, account_id: int, *, after: int = 0) -> AsyncIterator[list[Entry]]:
        """All events of an account whose position is above `after`, a page at a time."""
        while page := await self.of_account(account_id, after=after):
            yield page
            after = page[-1].position

    async def view(self, account_id: int, job: int, version: int, projection: Projection[V]) -> V:
        """The view of a job after its first `version` events, as the log has them at one moment: what was erased since
        is in none of them."""

        async def fold(connection: Connection) -> V:
            async def page(after: int) -> Iterable[Recorded]:
                to = min(after + PAGE, version)
                (columns,) = await connection.fetch(COLUMNS_OF_JOB, account_id, job, after, to)
                return _recorded(job, *columns)

            view = projection.fold(())
            one_moment = connection.transaction(isolation="repeatable_read", readonly=True)
            async with one_moment if version > PAGE else nullcontext():
                events = await page(0)
                for after in range(PAGE, version, PAGE):
                    # Postgres reads the next page while this one is folded.
                    following = asyncio.create_task(page(after))
                    await asyncio.sleep(0)
                    try:
                        view = projection.fold(events, view)
                    finally:
                        events = await following
                return projection.fold(events, view)

        return await self._postgres.read(fold)

    async def head(self, account_id: int) -> int:
        """The last position of an account's log; 0 when it is empty."""
        position: int = await self._postgres.read(lambda connection: connection.fetchval(HEAD, account_id))
        return position

    async def time_of(self, account_id: int, position: int) -> datetime | None:
        """When the event at `position` was recorded; None when there is none."""
        found = await self.of_account(account_id, after=position - 1, limit=1)
        return found[0].at if found else None

    async def position_at(self, account_id: int, at: datetime) -> int:
        """The last position recorded at or before the moment `at`; 0 when there is none."""
        found = await self._postgres.read(lambda connection: connection.fetchval(AT_TIME, account_id, at))
        return found or 0
