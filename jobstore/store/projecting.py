"""Knows which jobs would take a reader long to fold, and folds them ahead; must not know who runs it, or how often.

A job is due when it has many events that no memo of this revision covers. Each memo is written by itself, so whoever is
killed leaves the rest due, and whoever runs it again goes on there.
"""

from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from jobstore.job.projection import Projection
from jobstore.store.history import History
from jobstore.store.memos import Memo, Memos
from jobstore.store.postgres import Postgres
from jobstore.store.views import MEMO_AFTER

LOOKED_AT: Final = 500  # jobs at a time

COUNT: Final = "SELECT count(*) FROM jobs WHERE account_id = $1"
DUE: Final = """
SELECT number, last.version, last.position, NOT removed AND last.version - coalesce(memo.version, 0) > $7 AS due FROM (
    SELECT number, removed FROM jobs WHERE account_id = $1 AND number > $2 AND number % $3 = $4
    ORDER BY number LIMIT $5
) AS listed CROSS JOIN LATERAL (
    SELECT version, position FROM events WHERE account_id = $1 AND job = number ORDER BY version DESC LIMIT 1
) AS last LEFT JOIN views AS memo
    ON memo.account_id = $1 AND memo.job = number AND memo.format = $6 AND memo.revision = $8
ORDER BY number
"""


class Step(NamedTuple):
    """Some of the work: how many jobs were looked at, and of how many memos were written."""

    jobs: int
    memos: int


class Projecting:
    """Writes memos ahead of readers. Methods raise Unavailable, and what asyncpg raises."""

    def __init__(self, postgres: Postgres, history: History) -> None:
        self._postgres = postgres
        self._history = history
        self._memos = Memos(postgres)

    async def count(self, account_id: int) -> int:
        """How many jobs there are to look at."""
        jobs: int = await self._postgres.read(lambda connection: connection.fetchval(COUNT, account_id))
        return jobs

    async def project(
        self, account_id: int, projection: Projection[Any], *, share: int = 0, shares: int = 1
    ) -> AsyncIterator[Step]:
        """Fold what is due of one of `shares` equal shares of the account's jobs; a step after each job that was."""
        after = 0
        while True:
            asked = (account_id, after, shares, share, LOOKED_AT, projection.name, MEMO_AFTER, projection.revision)
            rows = await self._postgres.read(lambda connection, asked=asked: connection.fetch(DUE, *asked))  # type: ignore[misc]
            if not rows:
                return
            looked_at = 0
            for number, version, position, due in rows:
                looked_at += 1
                if due:
                    view = await self._history.view(account_id, number, version, projection)
                    memo = Memo(version, position, projection.freeze(view))
                    await self._memos.keep((account_id, number, projection.name), projection, memo)
                    yield Step(looked_at, 1)
                    looked_at = 0
            yield Step(looked_at, 0)
            after = rows[-1][0]
