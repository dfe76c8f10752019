"""Knows how a batch is written: in one statement where memory is right, or under lock where it must be asked first.

Both ways the head row of every account in the batch is locked until commit, and nothing is written unless the draft was
made on the head's hash. Heads are locked in the order of their ids or not waited for, so no two batches deadlock.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
import msgspec

from jobstore.job import codec
from jobstore.job.decider import State, evolve
from jobstore.store.batch import Draft, Head, Job, Jobs, Key, Known, Remembered, Taken
from jobstore.store.memory import Memory
from jobstore.store.postgres import Connection, Line, Postgres, is_transient
from jobstore.store.request import Append, NoSuchAccount
from jobstore.store.rows import values
from jobstore.store.taken import taken

STATES: Final = 100_000  # job states kept in memory

_LOCK = """
SELECT account_id, position, jobs, hash, at FROM heads
WHERE account_id = ANY($1::integer[]) ORDER BY account_id FOR UPDATE
"""
_NOT_FOR_LONG = "SET LOCAL lock_timeout = '200ms'"  # who waits holds a connection, and others wait for that
_LOCK_WHAT_IS_FREE = _LOCK.rstrip() + " SKIP LOCKED\n"

_LOAD = """
SELECT account_id, number, jobs.version, state, event.version, event.position, event.type, event.data
FROM unnest($1::integer[], $2::bigint[]) AS wanted (account_id, number) JOIN jobs USING (account_id, number), LATERAL (
    SELECT version, position, type, data FROM events
    WHERE events.account_id = jobs.account_id AND events.job = jobs.number AND events.version >= jobs.version
    ORDER BY version OFFSET 0
) AS event
"""
_REMEMBER = """
SELECT account_id, key, digest, job, first_version, last_version, position
FROM unnest($1::integer[], $2::text[]) AS wanted (account_id, key) JOIN idempotency USING (account_id, key)
"""
_HASH_AT = "SELECT hash FROM events WHERE account_id = $1 AND position = $2"

# One statement writes a draft, if and only if every head still has the hash that the draft was made on and is free.
# The limits tell the planner that there are few: it takes a tenth of what it does not know, and reads by index. Columns
# are unnested in a SELECT list, row by row; in FROM each would be stored before the first row is read.
_WRITE = """
WITH draft AS (
    SELECT account_id, decode(before, 'hex') AS before, position, jobs, decode(hash, 'hex') AS hash, at
    FROM json_to_recordset($1::json)
        AS draft (account_id integer, before text, position bigint, jobs bigint, hash text, at timestamptz)
    LIMIT json_array_length($1::json)
), held AS (
    SELECT account_id FROM heads JOIN draft USING (account_id)
    WHERE heads.hash = draft.before FOR UPDATE OF heads SKIP LOCKED
), holds AS (
    SELECT WHERE (SELECT count(*) FROM held) = json_array_length($1::json)
), moved AS (
    UPDATE jobs SET version = m.version, phase = m.phase, removed = m.removed, state = m.state
    FROM (
        SELECT * FROM json_to_recordset($2::json)
            AS m (account_id integer, number bigint, version integer, phase text, removed boolean, state text)
        LIMIT json_array_length($2::json)
    ) AS m, holds
    WHERE jobs.account_id = m.account_id AND jobs.number = m.number
), fresh AS (
    INSERT INTO jobs (account_id, number, uid, kind, user_name, phase, removed, version, state, claim)
    SELECT f.* FROM json_to_recordset($3::json) AS f (account_id integer, number bigint, uid uuid, kind text,
        user_name text, phase text, removed boolean, version integer, state text, claim text), holds
), remembered AS (
    INSERT INTO idempotency (account_id, key, digest, job, first_version, last_version, position, created_at)
    SELECT account_id, key, decode(digest, 'hex'), job, first_version, last_version, position, now()
    FROM json_to_recordset($4::json) AS r (account_id integer, key text, digest text, job bigint,
        first_version integer, last_version integer, position bigint), holds
), added AS (
    INSERT INTO events (account_id, position, job, version, type, at, data, by, trace, hash)
    SELECT draft.account_id, e.position, job, version, type, draft.at, data, by, trace,
        substring($13 FROM 32 * place - 31 FOR 32)
    FROM (
        SELECT unnest($5::text::integer[]), unnest($6::text::bigint[]), unnest($7::text::bigint[]),
            unnest($8::text::integer[]), unnest(string_to_array($9, E'\\x1f')),
            unnest(string_to_array($10, E'\\x1f')), unnest(string_to_array($11, E'\\x1f')),
            unnest(string_to_array($12, E'\\x1f', '')), generate_series(1, length($13::bytea) / 32)
    ) AS e (account_id, position, job, version, type, data, by, trace, place) JOIN draft USING (account_id), holds
)
UPDATE heads SET position = draft.position, jobs = draft.jobs, hash = draft.hash, at = draft.at
FROM draft, holds WHERE heads.account_id = draft.account_id
"""

_decode_state = msgspec.json.Decoder(State).decode


class Unsure(Exception):
    """The connection was lost during commit: it is not known whether `draft` was committed."""

    def __init__(self, draft: Draft) -> None:
        super().__init__("the connection was lost during commit")
        self.draft = draft


class Written(NamedTuple):
    """What a transaction did, and the requests whose head was not free."""

    draft: Draft
    left: list[Append]


class Writer:
    """Writes batches over any connection. `clock` gives the present moment, UTC."""

    def __init__(self, postgres: Postgres, clock: Callable[[], datetime]) -> None:
        self._postgres = postgres
        self._clock = clock
        self._memory = Memory(STATES)

    def prepare(self, batch: Sequence[Append]) -> Draft | None:
        """A draft from memory alone, if that has all it takes. Whether memory was right is found out by the write."""
        heads: dict[int, Head] = {}
        jobs: dict[int, Mapping[int, Known]] = {}
        for request in batch:
            if request.imported or request.exclusive:
                return None
            account_id = request.account_id
            if account_id not in heads:
                head = self._memory.head(account_id)
                if head is None:
                    return None
                heads[account_id] = head
                jobs[account_id] = self._memory.jobs(account_id)
            if request.job is not None and request.job not in jobs[account_id]:
                return None
        draft = Draft(heads, jobs, {}, Taken(), self._clock())
        draft.add(batch)
        # That a key was used before shows in the write. A refusal writes nothing, so there it must be asked for.
        if any(request.key is not None and isinstance(outcome, Exception) for request, outcome in draft.outcomes):
            return None
        self._memory.learn(draft)
        return draft

    async def write_ahead(self, draft: Draft, line: Line) -> bool:
        """Write a prepared draft in a transaction of its own; False, and nothing is written, if memory was wrong.

        Raises Unsure when it is not known whether the draft was committed.
        """
        if not draft.writes:
            return False
        try:
            return await line.use(lambda connection: write(connection, draft))
        except asyncpg.UniqueViolationError:  # an idempotency key that was used before, or the number of an import
            return False
        except Exception as error:
            if is_transient(error):
                raise Unsure(draft) from error
            raise

    async def write_locked(self, batch: Sequence[Append], *, wait: bool, unsure: Draft | None) -> Written:
        """Lock the heads of `batch`, all with `wait` or else those that are free; then load, decide and write.

        Raises what asyncpg raises; Unsure when it is not known whether the draft was committed.
        """
        accounts = sorted({request.account_id for request in batch})
        async with self._postgres.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                heads = await self._lock(connection, accounts, wait=wait)
                if unsure is not None and await _is_there(connection, unsure):
                    await transaction.rollback()
                    written = {id(request) for request, _ in unsure.outcomes}
                    return Written(unsure, [request for request in batch if id(request) not in written])
                held = [request for request in batch if request.account_id in heads]
                left = [request for request in batch if request.account_id not in heads]
                for account_id, head in heads.items():
                    self._memory.confirm(account_id, head)
                jobs = await self._load(connection, held)
                remembered = await _remembered(connection, held)
                draft = Draft(heads, jobs, remembered, await taken(connection, heads, held), self._clock())
                draft.add(held)
                if wait:  # what could not be locked is not there
                    draft.outcomes += [(request, NoSuchAccount(str(request.account_id))) for request in left]
                    left = []
                self._memory.learn(draft)
                if draft.writes:
                    await write(connection, draft)
            except BaseException:
                await _roll_back(connection, transaction)
                raise
            await _commit(transaction, draft)
        return Written(draft, left)

    async def _lock(self, connection: Connection, accounts: list[int], *, wait: bool) -> dict[int, Head]:
        if wait:
            await connection.execute(_NOT_FOR_LONG)
        rows = await connection.fetch(_LOCK if wait else _LOCK_WHAT_IS_FREE, accounts)
        return {row[0]: Head(*row[1:]) for row in rows}

    async def _load(self, connection: Connection, requests: Sequence[Append]) -> Jobs:
        """The jobs of `requests`, as far as they exist: from memory, which may forget them while the rest is read."""
        jobs: dict[int, dict[int, Known]] = {request.account_id: {} for request in requests}
        missing: set[Job] = set()
        for request in requests:
            if request.job is not None:
                known = self._memory.jobs(request.account_id).get(request.job)
                if known is None:
                    missing.add((request.account_id, request.job))
                else:
                    jobs[request.account_id][request.job] = known
        if missing:
            rows = await connection.fetch(_LOAD, *zip(*missing, strict=True))
            for account_id, number, row, memo, version, position, type, data in rows:
                known = jobs[account_id].get(number)
                # The first of a job's rows is the event that its memo ends with; each further one is to be folded.
                state = _decode_state(memo) if known is None else evolve(known.state, codec.decode(type, data))
                jobs[account_id][number] = Known(version, position, state, row)
            self._memory.keep(jobs)
        return jobs

    def expects(self, draft: Draft) -> bool:
        """Whether nothing has come to light since `draft` was prepared."""
        return self._memory.expects(draft)


async def _remembered(connection: Connection, requests: Sequence[Append]) -> dict[Key, Remembered]:
    keys = {(request.account_id, request.key) for request in requests if request.key is not None}
    if not keys:
        return {}
    rows = await connection.fetch(_REMEMBER, *zip(*keys, strict=True))
    return {(row[0], row[1]): Remembered(*row[2:]) for row in rows}


async def _is_there(connection: Connection, draft: Draft) -> bool:
    """Whether the draft was committed after all: its last hash stands at its last position. One event tells for all."""
    if not draft.events:
        return False
    account_id, position, *_, hash = draft.events[-1]
    return bool(await connection.fetchval(_HASH_AT, account_id, position) == hash)


async def write(connection: Connection, draft: Draft) -> bool:
    """Whether the draft was written, which is as a whole or not at all."""
    status = await connection.execute(_WRITE, *values(draft))
    return bool(status == f"UPDATE {len(draft.heads)}")


async def _commit(transaction: asyncpg.transaction.Transaction, draft: Draft) -> None:
    try:
        await transaction.commit()
    except Exception as error:
        raise Unsure(draft) from error


async def _roll_back(connection: Connection, transaction: asyncpg.transaction.Transaction) -> None:
    if not connection.is_closed():
        await transaction.rollback()
