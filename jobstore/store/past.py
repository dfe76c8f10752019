"""Knows which jobs an account had when its log ended at some position, and where each stood; not what it looks like.

What is asked of a position that the log has reached has the same answer for ever, so a list of many jobs need not be
made at one moment. A job's events are found by halving, as positions grow with versions: no index is kept for this.
"""

from collections.abc import Collection, Sequence
from typing import Final

import asyncpg

from jobstore.job import codec
from jobstore.job.decider import LEADS_TO
from jobstore.job.events import JobErased, JobRemoved
from jobstore.job.projection import Projection, V
from jobstore.job.search import Search
from jobstore.store.history import History
from jobstore.store.jobs import MOST, Found, Listed, Order
from jobstore.store.postgres import Connection, Postgres
from jobstore.store.views import Where

LOOKED_AT: Final = 1000  # jobs a statement, of those that a page might show

_ERASED: Final = codec.NAMES[JobErased]
_REMOVED: Final = codec.NAMES[JobRemoved]
_LEADING: Final = ", ".join(f"'{codec.NAMES[event]}'" for event in LEADS_TO)

# $1 is the account, $2 the position; `number` is a job's. Most have not moved since, so the last event is tried first.
_STOOD = f"""LATERAL (
    WITH RECURSIVE halving (low, high) AS (
        SELECT CASE WHEN position <= $2 THEN version ELSE 0 END,
            CASE WHEN position <= $2 THEN version ELSE version - 1 END
        FROM (
            SELECT version, position FROM events WHERE account_id = $1 AND job = number ORDER BY version DESC LIMIT 1
        ) AS last
        UNION ALL
        SELECT CASE WHEN position <= $2 THEN version ELSE low END,
            CASE WHEN position <= $2 THEN high ELSE version - 1 END
        FROM halving JOIN events ON account_id = $1 AND job = number AND version = (low + high + 1) / 2
        WHERE low < high
    )
    SELECT version, position, at, (
        SELECT type FROM events AS said
        WHERE account_id = $1 AND job = number AND said.version <= low AND type <> '{_ERASED}'
        ORDER BY version DESC LIMIT 1
    ) = '{_REMOVED}' AS removed
    FROM halving JOIN events ON account_id = $1 AND job = number AND version = low
    WHERE low = high
) AS stood"""
_WAS_THERE = "(SELECT position FROM events WHERE account_id = $1 AND job = number AND version = 1) <= $2"
_PHASE = f"""(
    SELECT type FROM events
    WHERE account_id = $1 AND job = number AND version <= stood.version AND type IN ({_LEADING})
    ORDER BY version DESC LIMIT 1
) = ANY(${{}})"""

WHERE: Final = f"""
SELECT stood.version, stood.position, removed FROM (SELECT $3::bigint AS number) AS wanted, {_STOOD}
"""
LATEST: Final = f"""
SELECT number, stood.version, stood.position
FROM unnest($3::bigint[]) WITH ORDINALITY AS wanted (number, place), {_STOOD} WHERE NOT stood.removed ORDER BY place
"""
_LISTED = f"""
SELECT number, stood.version, stood.position, NOT stood.removed{{phase}} AS shown FROM (
    SELECT number FROM jobs WHERE account_id = $1 AND number < $3{{conditions}} ORDER BY number DESC LIMIT $4
) AS listed LEFT JOIN {_STOOD} ON true ORDER BY number DESC
"""
_SEARCH = f"""
WITH there AS MATERIALIZED (
    SELECT number, kind, user_name, stood.version, stood.position, stood.at FROM jobs, {_STOOD}
    WHERE account_id = $1 AND {_WAS_THERE} AND NOT stood.removed
), matching AS MATERIALIZED (
    SELECT number, version, position, {{place}} AS place FROM there AS stood{{conditions}}
)
SELECT found, total, page.number, page.version, page.position FROM (
    SELECT (SELECT count(*) FROM matching) AS found, (SELECT count(*) FROM there) AS total
) AS counts LEFT JOIN (
    SELECT * FROM matching ORDER BY place {{direction}} OFFSET $3 LIMIT $4
) AS page ON true ORDER BY place {{direction}}
"""
_FILTERS: Final = {"kind": "kind = ${}", "user": "user_name = ${}"}
_SOUGHT: Final = {
    "phases": _PHASE,
    "text": "(strpos(lower(kind), lower(${0}::text)) > 0 OR strpos(lower(user_name), lower(${0}::text)) > 0)",
}
_SINCE: Final[dict[Order, str]] = {
    "created": "(SELECT at FROM events WHERE account_id = $1 AND job = number AND version = 1) >= ${}",
    "updated": "stood.at >= ${}",
}


class Past:
    """Finds jobs as they were. Methods raise Unavailable when Postgres does not answer."""

    def __init__(self, postgres: Postgres, history: History) -> None:
        self._postgres = postgres
        self._history = history

    async def where(self, account_id: int, number: int, position: int) -> Where | None:
        """Where a job stood when the log ended at `position`; None when it was not there yet."""
        row = await self._postgres.read(lambda connection: connection.fetchrow(WHERE, account_id, position, number))
        return None if row is None else Where(*row)

    async def view(self, account_id: int, number: int, where: Where | Listed, projection: Projection[V]) -> V:
        """The view of a job where it stood. It is folded from the log alone: what is kept of it elsewhere may be from
        before an erasure."""
        return await self._history.view(account_id, number, where.version, projection)

    async def latest(self, account_id: int, position: int, numbers: Sequence[int]) -> list[Listed]:
        """Those of the jobs that existed and were not removed, in the order of `numbers`."""
        rows = await self._postgres.read(lambda connection: connection.fetch(LATEST, account_id, position, numbers))
        return [Listed(*row) for row in rows]

    async def page(
        self,
        account_id: int,
        position: int,
        *,
        phase: str | None = None,
        kind: str | None = None,
        user: str | None = None,
        below: int | None = None,
        limit: int,
    ) -> list[Listed]:
        """Up to `limit` jobs that were there and not removed, newest first, with numbers below `below`."""
        values = {name: value for name, value in (("kind", kind), ("user", user)) if value is not None}
        statement = listing(*values, phase=phase is not None)
        sought = [*values.values(), *([] if phase is None else [_leading((phase,))])]
        below = MOST if below is None else below
        page: list[Listed] = []
        size = limit

        async def ask(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(statement, account_id, position, below, size, *sought)

        while len(page) < limit:
            rows = await self._postgres.read(ask)
            page += [Listed(*row[:3]) for row in rows if row[3]]
            if len(rows) < size:
                break
            below, size = rows[-1][0], LOOKED_AT
        return page[:limit]

    async def search(self, account_id: int, position: int, search: Search) -> Found:
        """The jobs that matched, in the order asked for, as Jobs.search finds them now."""
        phases = None if search.phases is None else _leading(search.phases)
        values = {"phases": phases, "text": search.text, "since": search.since}
        sought = {name: value for name, value in values.items() if value is not None}
        statement = searching(search.order, search.descending, *sought)
        offset = min(search.offset, MOST)

        async def ask(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(statement, account_id, position, offset, search.limit, *sought.values())

        rows = await self._postgres.read(ask)
        found, total = rows[0][:2]
        return Found([Listed(*row[2:]) for row in rows if row[2] is not None], found, total)


def listing(*filters: str, phase: bool) -> str:
    """The statement for a part of a page; $3 below, $4 limit, then a value a filter, and last the leading types."""
    conditions = "".join(f" AND {_FILTERS[name].format(i)}" for i, name in enumerate(filters, 5))
    of_phase = f" AND {_PHASE.format(5 + len(filters))}" if phase else ""
    return _LISTED.format(conditions=conditions, phase=of_phase)


def searching(order: Order, descending: bool, *sought: str) -> str:
    """The statement for a search; $3 offset, $4 limit, then a value a condition."""
    conditions = {**_SOUGHT, "since": _SINCE[order]}
    wanted = " AND ".join(conditions[name].format(i) for i, name in enumerate(sought, 5))
    return _SEARCH.format(
        place="number" if order == "created" else "position",
        conditions=f" WHERE {wanted}" if wanted else "",
        direction="DESC" if descending else "ASC",
    )


def _leading(phases: Collection[str]) -> list[str]:
    """The types of events that lead to one of these phases."""
    return [codec.NAMES[event] for event, phase in LEADS_TO.items() if phase in phases]
