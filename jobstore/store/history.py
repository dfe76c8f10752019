"""Knows how to read what was recorded: a job's events, an account's log, and where in them a moment lies."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final, NamedTuple

from jobstore.job import codec
from jobstore.job.events import JobErased, JobRemoved, Recorded
from jobstore.job.projection import Projection, V
from jobstore.store.postgres import Connection, Postgres

PAGE: Final = 1000  # events read at a time

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
        return _recorded(*self)


def _recorded(
    position: int, job: int, version: int, type: str, at: datetime, data: str, by: str, trace: str | None
) -> Recorded:
    return Recorded(position, job, version, at, by, codec.decode(type, data), trace)


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
            view = projection.fold(())
            async with connection.transaction(readonly=True):
                cursor = await connection.cursor(OF_JOB, account_id, job, 0, version)
                rows = await cursor.fetch(PAGE)
                while rows:
                    # Postgres reads the next page while this one is folded.
                    following = asyncio.create_task(cursor.fetch(PAGE))
                    await asyncio.sleep(0)
                    try:
                        view = projection.fold((_recorded(*row) for row in rows), view)
                    finally:
                        rows = await following
            return view

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
