"""Knows how a fold is remembered for other processes, in `views`: a memo of a view, as of a version of its job.

A memo of another revision than is asked for is not there. None is written of what was erased meanwhile.
"""

from typing import Any, Final, NamedTuple

import msgspec

from jobstore.job.projection import Projection
from jobstore.store.postgres import Postgres

Slot = tuple[int, int, str]  # account_id, number, format

MEMO: Final = """
SELECT version, position, memo FROM views WHERE account_id = $1 AND job = $2 AND format = $3 AND revision = $4
"""
# The lock waits for an erasure that is under way, which holds the row; what is asked of the row is asked after it.
REMEMBER: Final = """
INSERT INTO views AS old (account_id, job, format, revision, version, position, memo)
SELECT account_id, number, $3, $4, $5, $6, $7 FROM jobs
WHERE account_id = $1 AND number = $2 AND erased <= $5 FOR KEY SHARE
ON CONFLICT (account_id, job, format) DO UPDATE
SET revision = excluded.revision, version = excluded.version, position = excluded.position, memo = excluded.memo
WHERE (old.revision, old.version) < (excluded.revision, excluded.version)
"""


class Memo(NamedTuple):
    """A view as text, and where its job stood."""

    version: int
    position: int
    text: str


class Memos:
    """Reads and writes memos."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def recall(self, slot: Slot, projection: Projection[Any]) -> tuple[int, int, Any] | None:
        """The version, the position and the view of a job's memo, if there is one that makes sense.

        Raises Unavailable.
        """
        row = await self._postgres.read(lambda connection: connection.fetchrow(MEMO, *slot, projection.revision))
        try:
            return None if row is None else (row[0], row[1], projection.thaw(row[2]))
        except msgspec.ValidationError:
            return None

    async def keep(self, slot: Slot, projection: Projection[Any], memo: Memo) -> None:
        """Write a memo, unless there is a later one. Raises what asyncpg raises."""
        async with self._postgres.connection() as connection:
            await connection.execute(REMEMBER, *slot, projection.revision, *memo)
