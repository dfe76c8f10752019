"""Knows how an account's log comes back from an export: the same positions and hashes, and the rows of jobs anew.

A page is written in a transaction, and where it ends is where another run goes on. The account's head comes last, in a
transaction of its own; until then nobody sees the account, and nobody can append to it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from jobstore.job.decider import INITIAL, State, evolve
from jobstore.job.events import JobQueued
from jobstore.store.accounts import Mistaken, check_name
from jobstore.store.chain import genesis
from jobstore.store.exports import Export
from jobstore.store.history import Entry
from jobstore.store.notes import Unproven
from jobstore.store.postgres import Connection, Postgres
from jobstore.store.sealed import BEGAN_AS, ERASED, HASH_AT, End, Sealed
from jobstore.store.verifying import verified, verify

_MAKE: Final = "INSERT INTO accounts (name) VALUES ($1) ON CONFLICT DO NOTHING"
_BEGIN: Final = "UPDATE accounts SET began_as = nullif($2, name) WHERE account_id = $1"
_ACCOUNT: Final = """
SELECT account_id, position FROM accounts LEFT JOIN heads USING (account_id)
WHERE name = $1 FOR UPDATE OF accounts
"""
REACHED: Final = "SELECT position, hash FROM events WHERE account_id = $1 ORDER BY position DESC LIMIT 1"
LOAD: Final = """
SELECT number, uid, kind, user_name, claim, version, state, erased FROM jobs
WHERE account_id = $1 AND number = ANY($2::bigint[])
"""
KEEP: Final = """
INSERT INTO jobs (account_id, number, uid, kind, user_name, claim, version, state, erased, phase, removed)
SELECT $1, * FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::text[],
    $9::integer[], $10::text[], $11::boolean[])
ON CONFLICT (account_id, number) DO UPDATE SET version = excluded.version, state = excluded.state,
    erased = excluded.erased, phase = excluded.phase, removed = excluded.removed
"""
# The count of jobs is not in the log. What matters of it is which number is the next one that is free.
_FINISH: Final = """
INSERT INTO heads (account_id, position, jobs, hash, at)
SELECT $1, $2, (
    SELECT coalesce(max(number), 0) FROM (
        SELECT number, row_number() OVER (ORDER BY number) AS place FROM jobs WHERE account_id = $1
    ) AS counted WHERE number = place
), $3, coalesce((SELECT at FROM events WHERE account_id = $1 AND position = $2), 'epoch')
"""
_SECONDS: Final = 600.0  # that the last transaction may take, which counts the jobs
_COLUMNS: Final = (
    "account_id", "position", "job", "version", "type", "at", "by", "trace", "data", "erased", "hash",
)  # fmt: skip


class _Job(Struct):
    """What a row of `jobs` is made of."""

    number: int
    uid: UUID
    kind: str
    user: str | None
    claim: str | None
    version: int
    state: State
    erased: int


async def restore(postgres: Postgres, export: Export, account: str, progress: Callable[[int], object]) -> bool:
    """Make the account of that name with the export's log; False when it has that log already.

    What an earlier run has written is kept, and checked. `progress` is called with the position reached. Raises
    Unproven or Broken when the export does not hold, Mistaken when the account has another log, Unavailable.
    """
    check_name(account)
    await verify(export.log)
    begin, end = export.log.begin, export.log.end
    if begin.position:
        raise Mistaken(f"{export.log.name} begins after position {begin.position}: only a whole log can be imported")
    assert end is not None, "a log that holds has an end"
    async with postgres.change() as connection:
        await connection.execute(_MAKE, account)
        account_id, head = await _locked(connection, account)
        reached = await _reached(connection, account_id, begin)
        if head is not None:
            if head < end.position or await _hash_at(connection, account_id, end.position) != end.hash:
                raise Mistaken(f"there is an account {account!r} with another log: choose another name with --account")
            return False
        if not reached.position:
            await connection.execute(_BEGIN, account_id, export.account)
    async for page in verified(export.log):
        first = page[0].position
        if first <= reached.position <= page[-1].position:
            _same(account, page[reached.position - first].hash, reached)
        page = page[max(0, reached.position - first + 1) :]
        if page:
            await _write(postgres, account, reached, page)
            reached = End(page[-1].position, page[-1].hash)
            progress(reached.position)
    async with postgres.change() as connection:
        account_id, head = await _locked(connection, account)
        _same(account, end.hash, await _reached(connection, account_id, begin))
        if head is None:
            await connection.execute(_FINISH, account_id, end.position, end.hash, timeout=_SECONDS)
    return True


async def _locked(connection: Connection, account: str) -> tuple[int, int | None]:
    """The account's id and the position of its head, if it has one."""
    row = await connection.fetchrow(_ACCOUNT, account)
    assert row is not None, "an account is kept once it is made"
    return row["account_id"], row["position"]


async def _hash_at(connection: Connection, account_id: int, position: int) -> bytes | None:
    if position == 0:
        return genesis(await connection.fetchval(BEGAN_AS, account_id))
    hash: bytes | None = await connection.fetchval(HASH_AT, account_id, position)
    return hash


async def _reached(connection: Connection, account_id: int, begin: End) -> End:
    row = await connection.fetchrow(REACHED, account_id)
    return begin if row is None else End(*row)


def _same(account: str, hash: bytes, reached: End) -> None:
    """What an earlier run wrote last is what the export has there."""
    if hash != reached.hash:
        raise Mistaken(
            f"another log's import into {account!r} stopped at {reached.position}: choose another name with --account"
        )


async def _write(postgres: Postgres, account: str, reached: End, page: Sequence[Sealed]) -> None:
    async with postgres.change() as connection:
        account_id, head = await _locked(connection, account)
        if head is not None or await _reached(connection, account_id, reached) != reached:
            raise Mistaken(f"another import into {account!r} is under way")
        await connection.copy_records_to_table(
            "events", records=[(account_id, *event) for event in page], columns=_COLUMNS
        )
        jobs = {
            number: _Job(number, uid, kind, user, claim, version, msgspec.json.decode(state, type=State), erased)
            for number, uid, kind, user, claim, version, state, erased in await connection.fetch(
                LOAD, account_id, list({event.job for event in page})
            )
        }
        for event in page:
            jobs[event.job] = _moved(jobs.get(event.job), event)
        await connection.execute(KEEP, account_id, *zip(*map(_row, jobs.values()), strict=True))


def _moved(job: _Job | None, sealed: Sealed) -> _Job:
    """The job after one more event. Raises Unproven when the event cannot be the job's next one."""
    try:
        event = Entry(*sealed[:5], sealed.data, sealed.by, sealed.trace).recorded().event
        if job is None:
            if not isinstance(event, JobQueued):
                raise ValueError("a job begins with its submission")
            job = _Job(sealed.job, UUID(event.uid), event.kind, event.user, event.claim, 0, INITIAL, 0)
        if sealed.version != job.version + 1:
            raise ValueError(f"version {sealed.version} after {job.version}")
        job.state = evolve(job.state, event)
    except (KeyError, ValueError) as error:
        raise Unproven(f"position {sealed.position} is not an event of job {sealed.job}: {error}") from None
    job.version = sealed.version
    if sealed.type == ERASED:
        job.erased = sealed.version
    return job


def _row(job: _Job) -> tuple[Any, ...]:
    state = msgspec.json.encode(job.state).decode()
    return (
        job.number, job.uid, job.kind, job.user, job.claim, job.version, state, job.erased,
        job.state.phase, job.state.removed,
    )  # fmt: skip
