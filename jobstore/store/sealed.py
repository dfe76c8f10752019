"""Knows a log as a chain: events with their hashes, page by page, whether they come from Postgres or from a file."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

from jobstore.job import codec
from jobstore.job.events import JobErased
from jobstore.store.accounts import Mistaken
from jobstore.store.chain import digest, genesis, link, microseconds
from jobstore.store.postgres import Postgres

PAGE: Final = 2000  # events read at a time

SEALED: Final = """
SELECT position, job, version, type, at, by, trace, data, erased, hash FROM events
WHERE account_id = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4
"""
BEYOND: Final = """
SELECT events.position FROM events JOIN heads USING (account_id)
WHERE account_id = $1 AND events.position > heads.position ORDER BY events.position LIMIT 1
"""
HASH_AT: Final = "SELECT hash FROM events WHERE account_id = $1 AND position = $2"
_LOGS: Final = """
SELECT account_id, name, coalesce(began_as, name), position, hash
FROM accounts LEFT JOIN heads USING (account_id) ORDER BY name
"""
RECORDED: Final = f"""
SELECT job FROM unnest($2::bigint[]) AS wanted (job)
WHERE EXISTS (
    SELECT FROM events WHERE account_id = $1 AND events.job = wanted.job AND type = '{codec.NAMES[JobErased]}'
)
"""
BEGAN_AS: Final = "SELECT coalesce(began_as, name) FROM accounts WHERE account_id = $1"
_TRACES: Final = """
SELECT key FROM idempotency WHERE account_id = $1 AND job = $2 AND $3 BETWEEN first_version AND last_version
"""
_ACTORS: Final = """
SELECT accounts.name || '/' || keys.name FROM accounts JOIN keys USING (account_id) WHERE account_id = $1
"""


_HEADLESS: Final = "it has no head: an import did not finish, so run it again; or the head was taken away"


class Sealed(NamedTuple):
    """A recorded event with its hash. `data` is the payload's own JSON text; or, where `erased` is the digest that the
    payload had, what remains of it."""

    position: int
    job: int
    version: int
    type: str
    at: datetime
    by: str
    trace: str | None
    data: str
    erased: bytes | None
    hash: bytes

    def after(self, before: bytes) -> bytes:
        """The hash that this event has where it follows on `before`."""
        payload = digest(self.data) if self.erased is None else self.erased.hex()
        position, job, version, type, at, by, trace = self[:7]
        return link(before, position, job, version, type, microseconds(at), by, trace, payload)


class End(NamedTuple):
    """Where a log ends, or is said to: a position, and the hash there."""

    position: int
    hash: bytes


ERASED: Final = codec.NAMES[JobErased]


class Clues(NamedTuple):
    """What the `by` and the `trace` of an event may have been."""

    actors: frozenset[str] = frozenset()
    traces: frozenset[str] = frozenset()


async def _clueless(event: Sealed) -> Clues:
    return Clues()


Pages = Callable[[int], AsyncIterator[list[Sealed]]]
Recorded = Callable[[Collection[int]], Awaitable[set[int]]]


@dataclass(frozen=True)
class Log:
    """A log, or a part of one: the events after `begin`, which should lead to `end`. `end` None: nothing says where it
    ends, which `endless` explains.

    `pages` gives the events from a position on, in order as they stand there. `beyond` is a position past the end at
    which there is an event all the same. `clues` tells who may have said an event, and under which keys, for all that
    is known besides the log. `recorded` tells of which jobs an
    erasure is recorded by now; None: only the log itself can tell, as far as it goes.
    """

    name: str
    begin: End
    end: End | None
    pages: Pages
    endless: str = ""
    beyond: int | None = None
    clues: Callable[[Sealed], Awaitable[Clues]] = _clueless
    recorded: Recorded | None = None


class Logs:
    """The logs of a database. Methods raise Unavailable when Postgres does not answer."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def all(self, name: str | None = None) -> list[tuple[int, Log]]:
        """Every account's id and log, by name, or that of one. Raises Mistaken when there is no such account."""
        rows = await self._postgres.read(lambda connection: connection.fetch(_LOGS))
        found = [await self._log(*row) for row in rows if name in (None, row[1])]
        if name is not None and not found:
            raise Mistaken(f"there is no account {name!r}: `jobstore account list` shows what there is")
        return found

    async def part(self, name: str, first: int, last: int | None) -> tuple[int, str, Log]:
        """An account's id, the name that its chain began under, and its events from one position to another.

        Raises Mistaken when there is no such account, or when it has no such events.
        """
        ((account_id, whole),) = await self.all(name)
        if whole.end is None:
            raise Mistaken(f"the log of {name!r} cannot be read: {whole.endless}")
        last = whole.end.position if last is None else last
        if not 1 <= first <= last + 1 <= whole.end.position + 1:
            raise Mistaken(
                f"there are no positions {first} to {last}: the log of {name!r} ends at {whole.end.position}"
            )
        begin, end = await self._at(account_id, whole, first - 1), await self._at(account_id, whole, last)

        def pages(after: int) -> AsyncIterator[list[Sealed]]:
            return self.pages(account_id, after, last)

        began_as = await self._postgres.read(lambda connection: connection.fetchval(BEGAN_AS, account_id))
        return account_id, began_as, replace(whole, begin=begin, end=end, pages=pages, beyond=None)

    async def _at(self, account_id: int, log: Log, position: int) -> End:
        """Where a log stood at a position. Raises Mistaken when the event there is missing."""
        for known in (log.begin, log.end):
            if known is not None and known.position == position:
                return known
        hash = await self._postgres.read(lambda connection: connection.fetchval(HASH_AT, account_id, position))
        if hash is None:
            raise Mistaken(f"there is no event at position {position}: `jobstore verify {log.name}` says more")
        return End(position, hash)

    async def _log(
        self, account_id: int, name: str, began_as: str, position: int | None, hash: bytes
    ) -> tuple[int, Log]:
        # The end is read before the events are: what is appended meanwhile is not part of it.
        end = None if position is None else End(position, hash)
        beyond = await self._postgres.read(lambda connection: connection.fetchval(BEYOND, account_id))

        def pages(after: int) -> AsyncIterator[list[Sealed]]:
            return self.pages(account_id, after, 2**63 - 1 if end is None else end.position)

        async def recorded(jobs: Collection[int]) -> set[int]:
            rows = await self._postgres.read(lambda connection: connection.fetch(RECORDED, account_id, list(jobs)))
            return {row[0] for row in rows}

        async def clues(event: Sealed) -> Clues:
            at = (account_id, event.job, event.version)
            actors = await self._postgres.read(lambda connection: connection.fetch(_ACTORS, account_id))
            traces = await self._postgres.read(lambda connection: connection.fetch(_TRACES, *at))
            return Clues(frozenset(row[0] for row in actors), frozenset(row[0] for row in traces))

        log = Log(name, End(0, genesis(began_as)), end, pages, _HEADLESS, beyond, clues, recorded)
        return account_id, log

    async def pages(self, account_id: int, after: int, last: int) -> AsyncIterator[list[Sealed]]:
        """The events after a position up to another; the next page is on its way while one is being looked at."""

        async def fetch(after: int) -> list[Sealed]:
            rows = await self._postgres.read(lambda connection: connection.fetch(SEALED, account_id, after, last, PAGE))
            return [Sealed(*row) for row in rows]

        following = asyncio.create_task(fetch(after))
        try:
            while page := await following:
                following = asyncio.create_task(fetch(page[-1].position))
                await asyncio.sleep(0)
                yield page
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
