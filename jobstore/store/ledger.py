"""Knows how events get into the log: the group commit. The rules, each of which a test holds:

1. A position is drawn from the account's head row, which stays locked until commit. So positions are gapless, and
   whoever has seen position n has seen all up to n.
2. Requests that arrive while a transaction runs are written together by the next one. There are no timers.
3. A caller is answered after the commit that holds its events, and never with "recorded" when that is not known.
4. A request is refused alone. A failure of the whole batch is tried again, in the end request by request.
5. Where the connection is lost during commit, the next transaction looks whether the events are there before it writes.
6. An account whose head somebody else holds waits in a lane of its own; no other account waits for it.

The transaction: lock the heads, load the states that are not in memory, decide (`batch`), write, commit.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

from jobstore.job import codec
from jobstore.job.decider import State, evolve
from jobstore.store.batch import Append, Appended, Draft, Head, Job, Key, Known, Remembered
from jobstore.store.clock import now
from jobstore.store.postgres import Connection, Postgres, Unavailable, describe, is_transient

BATCH: Final = 500  # requests a transaction; more gives no more throughput and makes the first one wait
FEW: Final = 1000  # events that go in one statement with everything else; above that COPY pays for its round trips
MANY: Final = 40  # waiting requests; of more than these, one half is decided while the other is written
_TO_SEND: Final = 3  # turns of the loop until a write is on its way and the next batch can be decided meanwhile
STATES: Final = 100_000  # job states kept in memory

_LOCK = """
SELECT account_id, position, jobs, hash, at FROM heads
WHERE account_id = ANY($1::integer[]) ORDER BY account_id FOR UPDATE
"""
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
_DRAFT = """
WITH draft AS (
    SELECT * FROM unnest($1::integer[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bytea[], $6::timestamptz[])
        AS draft (account_id, before, position, jobs, hash, at)
), held AS (
    SELECT account_id FROM heads JOIN draft USING (account_id)
    WHERE heads.hash = draft.before FOR UPDATE OF heads SKIP LOCKED
), holds AS (
    SELECT WHERE (SELECT count(*) FROM held) = cardinality($1)
), moved AS (
    UPDATE jobs SET version = m.version, phase = m.phase, removed = m.removed, state = m.state
    FROM unnest($7::integer[], $8::bigint[], $9::integer[], $10::text[], $11::boolean[], $12::text[])
        AS m (account_id, number, version, phase, removed, state), holds
    WHERE jobs.account_id = m.account_id AND jobs.number = m.number
), fresh AS (
    INSERT INTO jobs (account_id, number, uid, kind, user_name, phase, removed, version, state)
    SELECT f.* FROM unnest($13::integer[], $14::bigint[], $15::uuid[], $16::text[], $17::text[], $18::text[],
        $19::boolean[], $20::integer[], $21::text[]) AS f, holds
), remembered AS (
    INSERT INTO idempotency (account_id, key, digest, job, first_version, last_version, position, created_at)
    SELECT r.*, now() FROM unnest($22::integer[], $23::text[], $24::bytea[], $25::bigint[], $26::integer[],
        $27::integer[], $28::bigint[]) AS r, holds
)"""
_EVENTS = """, added AS (
    INSERT INTO events (account_id, position, job, version, type, at, data, by, trace, hash)
    SELECT e.* FROM unnest($29::integer[], $30::bigint[], $31::bigint[], $32::integer[], $33::text[],
        $34::timestamptz[], $35::text[], $36::text[], $37::text[], $38::bytea[]) AS e, holds
)"""
_HEADS = """
UPDATE heads SET position = draft.position, jobs = draft.jobs, hash = draft.hash, at = draft.at
FROM draft, holds WHERE heads.account_id = draft.account_id
"""
_WRITE = _DRAFT + _EVENTS + _HEADS
_WRITE_AFTER_COPY = _DRAFT + _HEADS
_EVENT_COLUMNS = ("account_id", "position", "job", "version", "type", "at", "data", "by", "trace", "hash")

log = logging.getLogger(__name__)

_decode_state = msgspec.json.Decoder(State).decode

Listener = Callable[[Draft], None]


class Ledger:
    """Appends for one process. `patience` is how long, in seconds, a request may wait before it is given up."""

    def __init__(self, postgres: Postgres, *, patience: float = 10.0, clock: Callable[[], datetime] = now) -> None:
        self._postgres = postgres
        self._patience = patience
        self._clock = clock
        self._memory = _Memory(STATES)
        self._common = _Lane(self, alone=False)
        self._apart: dict[int, _Lane] = {}
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every draft that this process has committed, after the callers were answered."""
        self._listeners.append(listener)

    async def append(self, request: Append) -> Appended:
        """Record what `request` says, durably.

        Raises Refused, NoSuchJob, Conflict or KeyReused: nothing was recorded. Raises Unavailable: it is not known
        whether it was recorded; asking again with the same idempotency key is safe.
        """
        return await self.put(request)

    def put(self, request: Append) -> asyncio.Future[Appended]:
        """Like `append`, for a caller who has more to ask before hearing the answer. What is put first, for an account,
        is recorded first."""
        loop = asyncio.get_running_loop()
        request.future = loop.create_future()
        request.deadline = loop.time() + self._patience
        self._apart.get(request.account_id, self._common).put(request)
        return request.future

    async def close(self) -> None:
        """Wait until all that was asked for has been answered."""
        while tasks := [lane.task for lane in (self._common, *self._apart.values()) if lane.task is not None]:
            await asyncio.wait(tasks)

    # -- One transaction ------------------------------------------------------------------------------------------

    def _prepare(self, batch: Sequence[Append]) -> Draft | None:
        """A draft from memory alone, if that has all it takes. Whether memory was right is found out by the write."""
        memory = self._memory
        heads = {}
        for request in batch:
            account_id = request.account_id
            if account_id not in heads:
                head = memory.head(account_id)
                if head is None:
                    return None
                heads[account_id] = head
            if request.job is not None and memory.get((account_id, request.job)) is None:
                return None
        return self._draft(batch, heads, {})

    def _draft(self, batch: Sequence[Append], heads: dict[int, Head], remembered: dict[Key, Remembered]) -> Draft:
        draft = Draft(heads, self._memory, remembered, self._clock())
        draft.add(batch)
        self._memory.learn(draft)
        return draft

    async def _write_ahead(self, draft: Draft) -> bool:
        """Write a prepared draft in a transaction of its own; False, and nothing is written, if memory was wrong.

        Raises _Unsure when it is not known whether the draft was committed.
        """
        if not draft.writes:
            return False
        async with self._postgres.connection() as connection:
            if len(draft.events) <= FEW:
                try:
                    return await _write(connection, draft)
                except asyncpg.UniqueViolationError:  # an idempotency key that was used before
                    return False
                except Exception as error:
                    if is_transient(error):
                        raise _Unsure(draft) from error
                    raise
            transaction = connection.transaction()
            await transaction.start()
            try:
                heads = await self._lock(connection, list(draft.heads), wait=False)
                holds = all(a in heads and heads[a].hash == before for a, before in draft.before.items())
                holds = holds and await _write(connection, draft)
            except asyncpg.UniqueViolationError:
                holds = False
            except BaseException:
                await _roll_back(connection, transaction)
                raise
            if not holds:
                await transaction.rollback()
                return False
            await _commit(transaction, draft)
            return True

    async def _write_locked(self, batch: Sequence[Append], *, wait: bool, unsure: Draft | None) -> "_Result":
        """Lock the heads of `batch`, all with `wait` or else those that are free; then load, decide and write.

        Raises what asyncpg raises; _Unsure when it is not known whether the draft was committed.
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
                    return _Result(unsure, [request for request in batch if id(request) not in written])
                held = [request for request in batch if request.account_id in heads]
                left = [request for request in batch if request.account_id not in heads]
                for account_id, head in heads.items():
                    self._memory.confirm(account_id, head)
                await self._load(connection, held)
                draft = self._draft(held, heads, await _remembered(connection, held))
                if draft.writes:
                    await _write(connection, draft)
            except BaseException:
                await _roll_back(connection, transaction)
                raise
            await _commit(transaction, draft)
        return _Result(draft, left)

    async def _lock(self, connection: Connection, accounts: list[int], *, wait: bool) -> dict[int, Head]:
        rows = await connection.fetch(_LOCK if wait else _LOCK_WHAT_IS_FREE, accounts)
        return {row[0]: Head(*row[1:]) for row in rows}

    async def _load(self, connection: Connection, requests: Sequence[Append]) -> None:
        missing = {
            (request.account_id, request.job)
            for request in requests
            if request.job is not None and self._memory.get((request.account_id, request.job)) is None
        }
        if missing:
            accounts, numbers = zip(*missing, strict=True)
            for account_id, number, row, memo, version, position, type, data in await connection.fetch(
                _LOAD, accounts, numbers
            ):
                job = (account_id, number)
                known = self._memory.get(job)
                # The first of a job's rows is the event that its memo ends with; each further one is to be folded.
                state = _decode_state(memo) if known is None else evolve(known.state, codec.decode(type, data))
                self._memory.put(job, Known(version, position, state, row))

    def _tell(self, draft: Draft) -> None:
        for listener in self._listeners:
            try:
                listener(draft)
            except Exception:
                log.exception("a listener failed")


class _Result:
    """What a transaction did, and the requests whose head was not free."""

    __slots__ = ("draft", "left")

    def __init__(self, draft: Draft, left: list[Append]) -> None:
        self.draft = draft
        self.left = left


class _Unsure(Exception):
    """The connection was lost during commit."""

    def __init__(self, draft: Draft) -> None:
        super().__init__("the connection was lost during commit")
        self.draft = draft


class _Lane:
    """Requests in line, and the one task that writes them while there are any. Each account gets an equal share of a
    batch, so that one with a thousand requests does not keep another's single one waiting.

    While one batch is being written the next one is decided, on what the first one is expected to leave.
    """

    def __init__(self, ledger: Ledger, *, alone: bool) -> None:
        self.task: asyncio.Task[None] | None = None
        self._ledger = ledger
        self._alone = alone
        self._queues: dict[int, deque[Append]] = {}

    def put(self, request: Append) -> None:
        queue = self._queues.get(request.account_id)
        if queue is None:
            queue = self._queues[request.account_id] = deque()
        queue.append(request)
        if self.task is None:
            self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        ledger = self._ledger
        flight: asyncio.Task[None] | None = None
        draft: Draft | None = None
        try:
            while self._queues:
                batch = self._take(BATCH if flight is not None else self._half())
                # What follows a batch that is not decided yet cannot be decided either.
                draft = ledger._prepare(batch) if flight is None or draft is not None else None
                if flight is not None:
                    await flight
                    if not self._alone and any(request.account_id in ledger._apart for request in batch):
                        batch, draft = self._send_away(batch), None
                    if draft is None or not ledger._memory.expects(draft):
                        draft = ledger._prepare(batch)
                flight = asyncio.create_task(self._write(batch, draft))
                for _ in range(_TO_SEND):
                    await asyncio.sleep(0)
                if not self._queues:
                    await flight
                    flight = None
        finally:
            self.task = None
            if self._alone:
                ledger._apart = {account: lane for account, lane in ledger._apart.items() if lane is not self}

    def _half(self) -> int:
        """How many to take when nothing is being written: half of many, so that the other half is decided meanwhile."""
        waiting = sum(map(len, self._queues.values()))
        return BATCH if waiting <= MANY else min(BATCH, waiting // 2)

    def _take(self, most: int) -> list[Append]:
        share = max(1, most // len(self._queues))
        batch: list[Append] = []
        for account_id in list(self._queues)[:most]:
            queue = self._queues.pop(account_id)
            batch.extend(queue.popleft() for _ in range(min(share, len(queue))))
            if queue:
                self._queues[account_id] = queue  # at the end of the line
        return batch

    async def _write(self, batch: list[Append], draft: Draft | None) -> None:
        """Write a batch to its end: until every request in it is answered or in another lane."""
        ledger = self._ledger
        loop = asyncio.get_running_loop()
        unsure: Draft | None = None
        pause = 0.02
        while batch:
            try:
                if draft is not None and await ledger._write_ahead(draft):
                    result = _Result(draft, [])
                else:
                    wait = self._alone or unsure is not None
                    result = await ledger._write_locked(batch, wait=wait, unsure=unsure)
            except Exception as error:
                draft = None
                if isinstance(error, _Unsure):
                    unsure = error.draft
                elif not is_transient(error):
                    await self._write_each(batch, error)
                    return
                late = loop.time() + pause
                for request in batch:
                    if request.deadline < late:
                        request.answer(Unavailable(f"the log cannot be written: {describe(error.__cause__ or error)}"))
                batch = [request for request in batch if request.deadline >= late]
                await asyncio.sleep(pause)
                pause = min(0.5, pause * 2)
            else:
                result.draft.answer()
                ledger._tell(result.draft)
                self._set_apart(result.left)
                return

    async def _write_each(self, batch: list[Append], error: Exception) -> None:
        """Something in the batch cannot be written at all. Alone, everybody meets only the own failure."""
        if len(batch) == 1:
            batch[0].answer(error)
            return
        for request in batch:
            await self._write([request], None)

    def _send_away(self, batch: list[Append]) -> list[Append]:
        """Requests whose account got a lane of its own meanwhile follow it there; the others stay."""
        self._set_apart([request for request in batch if request.account_id in self._ledger._apart])
        return [request for request in batch if request.account_id not in self._ledger._apart]

    def _set_apart(self, left: list[Append]) -> None:
        """Move the accounts of `left`, with all that stands in line for them, to lanes of their own, in order."""
        for request in left:
            account_id = request.account_id
            lane = self._ledger._apart.get(account_id)
            if lane is None:
                lane = self._ledger._apart[account_id] = _Lane(self._ledger, alone=True)
            lane.put(request)
        for account_id in {request.account_id for request in left}:
            for request in self._queues.pop(account_id, ()):
                self._ledger._apart[account_id].put(request)


class _Memory:
    """Heads and job states as this process expects them to be. They hold while the head has the hash remembered here:
    that is a fingerprint of the whole history before it. What turns out wrong is forgotten, never repaired."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._count = 0
        self._heads: OrderedDict[int, Head] = OrderedDict()
        self._states: dict[int, dict[int, Known]] = {}

    def head(self, account_id: int) -> Head | None:
        """A copy, for a draft to move on."""
        head = self._heads.get(account_id)
        return None if head is None else replace(head)

    def get(self, job: Job) -> Known | None:
        states = self._states.get(job[0])
        return None if states is None else states.get(job[1])

    def put(self, job: Job, known: Known) -> None:
        states = self._states[job[0]]
        self._count += job[1] not in states
        states[job[1]] = known

    def confirm(self, account_id: int, head: Head) -> None:
        """The account's log ends at `head`: forget what does not belong to it."""
        before = self._heads.get(account_id)
        if before is None or before.hash != head.hash:
            self._forget(account_id)
            self._heads[account_id] = replace(head)
            self._states[account_id] = {}

    def learn(self, draft: Draft) -> None:
        """Expect what `draft` leaves."""
        for account_id, head in draft.heads.items():
            self._heads[account_id] = replace(head)
            self._heads.move_to_end(account_id)
        for job, known in draft.states.items():
            self.put(job, known)
        while self._count > self._size and len(self._heads) > 1:
            self._forget(next(iter(self._heads)))
        if self._count > self._size:
            self._count = 0
            self._states = {account_id: {} for account_id in self._heads}

    def expects(self, draft: Draft) -> bool:
        """Whether nothing has happened since `draft` was learned."""
        return all(
            (expected := self._heads.get(account_id)) is not None and expected.hash == head.hash
            for account_id, head in draft.heads.items()
        )

    def _forget(self, account_id: int) -> None:
        self._heads.pop(account_id, None)
        self._count -= len(self._states.pop(account_id, ()))


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


async def _write(connection: Connection, draft: Draft) -> bool:
    """Whether the draft was written, which is as a whole or not at all (after COPY: once it is rolled back)."""
    heads = [(a, draft.before[a], h.position, h.jobs, h.hash, h.at) for a, h in draft.heads.items()]
    keys = [(*key, *remembered) for key, remembered in draft.keys.items()]
    rest = (*_columns(heads, 6), *_columns(draft.moved(), 6), *_columns(draft.fresh(), 9), *_columns(keys, 7))
    if len(draft.events) <= FEW:
        status = await connection.execute(_WRITE, *rest, *_columns(draft.events, 10))
    else:
        await connection.copy_records_to_table("events", records=draft.events, columns=_EVENT_COLUMNS)
        status = await connection.execute(_WRITE_AFTER_COPY, *rest)
    return bool(status == f"UPDATE {len(heads)}")


async def _commit(transaction: asyncpg.transaction.Transaction, draft: Draft) -> None:
    try:
        await transaction.commit()
    except Exception as error:
        raise _Unsure(draft) from error


async def _roll_back(connection: Connection, transaction: asyncpg.transaction.Transaction) -> None:
    if not connection.is_closed():
        await transaction.rollback()


def _columns(rows: list[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    """Rows turned into columns, for unnest."""
    return list(zip(*rows, strict=True)) if rows else ((),) * width
