"""Knows how to find jobs: by number, by uid, page by page, and by a search. What a job looks like is for `views`."""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import asyncpg

from jobstore.job.search import Search
from jobstore.store.history import GONE
from jobstore.store.postgres import Connection, Postgres

BY_UID: Final = "SELECT uid, number FROM jobs WHERE account_id = $1 AND uid = ANY($2::uuid[])"
LATEST: Final = f"""
SELECT number, last.version, last.position
FROM unnest($2::bigint[]) WITH ORDINALITY AS wanted (number, place), LATERAL (
    SELECT version, position, type FROM events WHERE account_id = $1 AND job = number ORDER BY version DESC LIMIT 1
) AS last WHERE NOT {GONE.format("last.type", "$1", "wanted.number")} ORDER BY place
"""

_LISTED = """
SELECT number, last.version, last.position FROM (
    SELECT number FROM jobs WHERE account_id = $1 AND NOT removed AND number < $2{}
    ORDER BY number DESC LIMIT $3
) AS listed, LATERAL (
    SELECT version, position FROM events WHERE account_id = $1 AND job = number ORDER BY version DESC LIMIT 1
) AS last ORDER BY number DESC
"""
# An order goes by what an event of each job says: its first, or its last. Only "updated" needs it of every job that
# matches; so there the matches are found once and kept, while "created" follows the index and counts beside it.
_SEARCH = """
WITH matching AS {kept} (
    SELECT number, {place} AS place FROM jobs{event} WHERE account_id = $1 AND NOT removed{conditions}
)
SELECT found, total, page.number, page.version, page.position FROM (
    SELECT (SELECT count(*) FROM matching) AS found,
        (SELECT count(*) FROM jobs WHERE account_id = $1 AND NOT removed) AS total
) AS counts LEFT JOIN (
    SELECT place, number, last.version, last.position FROM (
        SELECT number, place FROM matching ORDER BY place {direction} OFFSET $2 LIMIT $3
    ) AS listed, LATERAL (
        SELECT version, position FROM events WHERE account_id = $1 AND job = number ORDER BY version DESC LIMIT 1
    ) AS last
) AS page ON true ORDER BY place {direction}
"""
_EVENT = """, LATERAL (
        SELECT position, at FROM events WHERE account_id = $1 AND job = number ORDER BY version {} LIMIT 1
    ) AS event"""
_SOUGHT: Final = {
    "phases": "phase = ANY(${})",
    "text": "(strpos(lower(kind), lower(${0}::text)) > 0 OR strpos(lower(user_name), lower(${0}::text)) > 0)",
    "since": "event.at >= ${}",
}

_FILTERS: Final = {"phase": "phase = ${}", "kind": "kind = ${}", "user": "user_name = ${}"}

MOST: Final = 2**63 - 1

Order = Literal["created", "updated"]


class Listed(NamedTuple):
    """A job on a page, and the version at which it was found there."""

    number: int
    version: int
    position: int


class Found(NamedTuple):
    """What a search found: a page of it, how many jobs match, and how many the account has that were not removed."""

    jobs: list[Listed]
    found: int
    total: int


class Jobs:
    """Finds jobs. Methods raise Unavailable when Postgres does not answer."""

    def __init__(self, postgres: Postgres, *, remembered: int = 100_000) -> None:
        self._postgres = postgres
        self._numbers: dict[tuple[int, str], int] = {}
        self._remembered = remembered

    async def number_of(self, account_id: int, uid: str) -> int | None:
        """The number of the job with this uid, 32 hex digits. It never changes, so it is asked for once."""
        number = self._numbers.get((account_id, uid))
        return (await self.numbers_of(account_id, [uid])).get(uid) if number is None else number

    async def numbers_of(self, account_id: int, uids: Sequence[str]) -> dict[str, int]:
        """The numbers of the jobs with these uids, as far as there are any."""
        found = {uid: number for uid in uids if (number := self._numbers.get((account_id, uid))) is not None}
        missing = [uid for uid in uids if uid not in found]
        if missing:
            rows = await self._postgres.read(lambda connection: connection.fetch(BY_UID, account_id, missing))
            if len(self._numbers) + len(rows) > self._remembered:
                self._numbers.clear()
            for uid, number in rows:
                found[uid.hex] = self._numbers[account_id, uid.hex] = number
        return found

    async def latest(self, account_id: int, numbers: Sequence[int]) -> list[Listed]:
        """Those of the jobs that exist and were not removed, in the order of `numbers`."""
        rows = await self._postgres.read(lambda connection: connection.fetch(LATEST, account_id, numbers))
        return [Listed(*row) for row in rows]

    async def search(self, account_id: int, search: Search) -> Found:
        """The jobs that match, in the order asked for; all of the answer is of one moment.

        "created" goes by number, "updated" by the position of a job's last event. Letters are the same in any case as
        the database's locale says.
        """
        values = _sought(search)
        statement = searching(search.order, search.descending, *values)
        offset = min(search.offset, MOST)

        async def ask(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(statement, account_id, offset, search.limit, *values.values())

        rows = await self._postgres.read(ask)
        found, total = rows[0][:2]
        return Found([Listed(*row[2:]) for row in rows if row[2] is not None], found, total)

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
        below = below if below is not None else MOST

        async def ask(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(statement, account_id, below, limit, *values)

        return [Listed(*row) for row in await self._postgres.read(ask)]


def listing(*filters: str) -> str:
    """The statement for a page under these filters; $1 account, $2 below, $3 limit, then a value a filter."""
    conditions = "".join(f" AND {_FILTERS[name].format(i)}" for i, name in enumerate(filters, 4))
    return _LISTED.format(conditions)


def searching(order: Order, descending: bool, *sought: str) -> str:
    """The statement for a search; $1 account, $2 offset, $3 limit, then a value a condition."""
    created = order == "created"
    return _SEARCH.format(
        kept="NOT MATERIALIZED" if created else "MATERIALIZED",
        place="number" if created else "event.position",
        event="" if created and "since" not in sought else _EVENT.format("ASC" if created else "DESC"),
        conditions="".join(f" AND {_SOUGHT[name].format(i)}" for i, name in enumerate(sought, 4)),
        direction="DESC" if descending else "ASC",
    )


def _sought(search: Search) -> dict[str, Any]:
    """The conditions that a search has, and their values."""
    phases = None if search.phases is None else list(search.phases)
    values = {"phases": phases, "text": search.text, "since": search.since}
    return {name: value for name, value in values.items() if value is not None}
