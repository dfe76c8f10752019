"""Knows how to find out what new jobs cannot have: ids and claims of others; must not know who of a batch gets what.

To be asked while the heads are locked, so that what is free stays free until the batch is written.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

from jobstore.job.commands import Submit
from jobstore.store.batch import Claim, Head, Job, Taken
from jobstore.store.postgres import Connection
from jobstore.store.request import Append

WINDOW: Final = 1000  # numbers after an account's counter that are looked at first; twice as many each further time

NUMBERS: Final = """
SELECT account_id, number
FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS span (account_id, first, last) JOIN jobs USING (account_id)
WHERE number BETWEEN first AND last
"""
UIDS: Final = """
SELECT account_id, uid
FROM unnest($1::integer[], $2::uuid[]) AS wanted (account_id, uid) JOIN jobs USING (account_id, uid)
"""
CLAIMS: Final = """
SELECT account_id, wanted.claim, number
FROM unnest($1::integer[], $2::text[]) AS wanted (account_id, claim), LATERAL (
    SELECT number FROM jobs WHERE jobs.account_id = wanted.account_id AND claim IS NOT NULL
        AND phase NOT IN ('failed', 'cancelled') AND hashtextextended(claim, 0) = hashtextextended(wanted.claim, 0)
        AND claim = wanted.claim
    ORDER BY number LIMIT $3
) AS holder ORDER BY number
"""

Span = tuple[int, int, int]  # account_id, first number, last number


async def taken(connection: Connection, heads: Mapping[int, Head], requests: Sequence[Append]) -> Taken:
    """What the new jobs of `requests`, all of accounts in `heads`, cannot have."""
    new = [request for request in requests if request.job is None]
    chosen = [(request.account_id, request.number, request.number) for request in new if request.number is not None]
    return Taken(
        numbers=await _within(connection, chosen) | await _after(connection, heads, new),
        uids=await _uids(connection, new),
        claims=await _claims(connection, new, len(requests)),
    )


async def _after(connection: Connection, heads: Mapping[int, Head], new: Sequence[Append]) -> set[Job]:
    """The numbers after the counters, as far as it takes to find enough that are free."""
    found: set[Job] = set()
    missing = Counter(request.account_id for request in new)  # a chosen number may be one of those that are free
    counting = {request.account_id for request in new if request.number is None}
    spans = [(account_id, heads[account_id].jobs + 1, heads[account_id].jobs + WINDOW) for account_id in counting]
    while spans:
        here = await _within(connection, spans)
        found |= here
        busy = Counter(account_id for account_id, _ in here)
        for account_id, first, last in spans:
            missing[account_id] -= last - first + 1 - busy[account_id]
        spans = [(a, last + 1, last + 2 * (last - first + 1)) for a, first, last in spans if missing[a] > 0]
    return found


async def _within(connection: Connection, spans: Iterable[Span]) -> set[Job]:
    columns = list(zip(*spans, strict=True))
    return {(row[0], row[1]) for row in await connection.fetch(NUMBERS, *columns)} if columns else set()


async def _uids(connection: Connection, new: Sequence[Append]) -> set[tuple[int, UUID]]:
    wanted = {
        (request.account_id, UUID(submit.uid)) for request in new if request.imported for submit in _submits(request)
    }
    if not wanted:
        return set()
    return {(row[0], row[1]) for row in await connection.fetch(UIDS, *zip(*wanted, strict=True))}


async def _claims(connection: Connection, new: Sequence[Append], ends: int) -> dict[Claim, list[int]]:
    """Who holds the claims that are to be exclusive: of each the first, and as many more as the batch could end."""
    wanted = {
        (request.account_id, submit.claim)
        for request in new
        if request.exclusive
        for submit in _submits(request)
        if submit.claim is not None
    }
    held: dict[Claim, list[int]] = {}
    if wanted:
        for account_id, claim, number in await connection.fetch(CLAIMS, *zip(*wanted, strict=True), ends + 1):
            held.setdefault((account_id, claim), []).append(number)
    return held


def _submits(request: Append) -> list[Submit]:
    """What a request for a new job begins with."""
    return [command for command in request.commands[:1] if isinstance(command, Submit)]
