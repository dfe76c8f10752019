"""Knows how to find jobs: by number, by uid, and page by page. What a job looks like is for `views`."""

from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from jobstore.store.postgres import Connection, Postgres

BY_UID: Final = "SELECT number FROM jobs WHERE account_id = $1 AND uid = $2"

_LISTED = """
SELECT number, last.version, last.position FROM (
    SELECT number FROM jobs WHERE account_id = $1 AND NOT removed AND number < $2{}
    ORDER BY number DESC LIMIT $3
) AS listed, LATERAL (
    SELECT version, position FROM events WHERE account_id = $1 AND job = number ORDER BY version DESC LIMIT 1
) AS last ORDER BY number DESC
"""
_FILTERS: Final = {"phase": "phase = ${}", "kind": "kind = ${}", "user": "user_name = ${}"}


class Listed(NamedTuple):
    """A job on a page, and the version at which it was found there."""

    number: int
    version: int
    position: int


class Jobs:
    """Finds jobs. Methods raise Unavailable when Postgres does not answer."""

    def __init__(self, postgres: Postgres, *, remembered: int = 100_000) -> None:
        self._postgres = postgres
        self._numbers: dict[tuple[int, UUID], int] = {}
        self._remembered = remembered

    async def number_of(self, account_id: int, uid: UUID) -> int | None:
        """The number of the job with this uid. It never changes, so it is asked for once."""
        key = (account_id, uid)
        number = self._numbers.get(key)
        if number is None:
            number = await self._postgres.read(lambda connection: connection.fetchval(BY_UID, account_id, uid))
            if number is not None:
                if len(self._numbers) >= self._remembered:
                    self._numbers.clear()
                self._numbers[key] = number
        return number

    async def page(
        self,
        account_id: int,
        *,
        phase: str | None = None,
        kind: str | None = None,
        user: str | None = None,
        below: int | None = None,
        limit: int,
    ) -> list[Listed]:
        """Up to `limit` jobs that were not removed, newest first, with numbers below `below`."""
        wanted = {"phase": phase, "kind": kind, "user": user}
        statement = listing(*(name for name, value in wanted.items() if value is not None))
        values = [value for value in wanted.values() if value is not None]
        below = below if below is not None else 2**63 - 1

        async def ask(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(statement, account_id, below, limit, *values)

        return [Listed(*row) for row in await self._postgres.read(ask)]


def listing(*filters: str) -> str:
    """The statement for a page under these filters; $1 account, $2 below, $3 limit, then a value a filter."""
    conditions = "".join(f" AND {_FILTERS[name].format(i)}" for i, name in enumerate(filters, 4))
    return _LISTED.format(conditions)
