"""Knows how what was said of a job is taken out of everything that is kept, so that the log still verifies.

One transaction, under the lock of the account's head: it appends an event that says what was erased, by whom and why,
and then puts what remains in the place of each payload, whose digest stays. The job's row, its memo of the decider's
state and the memos of its views are made of what remains. Interrupted, nothing has happened.

What processes keep in memory is outdated by the event: a writer's by the head's hash, a reader's by the job's version.
Idempotency records hold digests only. `by`, `trace` and `type` are in the hash and stay.
"""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from jobstore.job import codec
from jobstore.job.commands import Erase
from jobstore.job.decider import INITIAL, evolve
from jobstore.job.erasure import FIELDS, remains
from jobstore.job.events import JobQueued
from jobstore.store.batch import Draft, Head, Known, Taken
from jobstore.store.chain import digest
from jobstore.store.history import PAGE
from jobstore.store.mistaken import Mistaken
from jobstore.store.postgres import Connection, Postgres
from jobstore.store.request import Append, Appended, NoSuchAccount, NoSuchJob
from jobstore.store.writing import write

HEAD: Final = "SELECT position, jobs, hash, at FROM heads WHERE account_id = $1 FOR UPDATE"
JOB: Final = "SELECT FROM jobs WHERE account_id = $1 AND number = $2 FOR UPDATE"
SAID: Final = """
SELECT position, version, type, data, erased FROM events WHERE account_id = $1 AND job = $2 ORDER BY version
"""
PAYLOADS: Final = """
UPDATE events SET data = remaining.data, erased = remaining.digest
FROM unnest($2::bigint[], $3::text[], $4::bytea[]) AS remaining (position, data, digest)
WHERE events.account_id = $1 AND events.position = remaining.position
"""
ROW: Final = """
UPDATE jobs SET user_name = $3, claim = $4, state = $5, version = $6, erased = $6
WHERE account_id = $1 AND number = $2
"""
VIEWS: Final = "DELETE FROM views WHERE account_id = $1 AND job = $2"
# Dead rows, and what the planner's statistics of users and claims still quote.
TIDY: Final = "VACUUM (ANALYZE) events, jobs, views"
_SECONDS: Final = 3600.0  # that a statement may take: a job may have millions of events


class Erased(NamedTuple):
    """What an erasure did: the position of the event that says so, and how many payloads are others now."""

    position: int
    payloads: int


class _Found(NamedTuple):
    """A job as it will be: where it stands, the payloads that change, and what its row is made of."""

    known: Known
    changed: list[tuple[int, str, bytes]]  # position, what remains, the digest of what was recorded
    queued: JobQueued


class Erasure:
    """Erases. `clock` gives the present moment, UTC."""

    def __init__(self, postgres: Postgres, clock: Callable[[], datetime]) -> None:
        self._postgres = postgres
        self._clock = clock

    async def erase(self, account_id: int, job: int, command: Erase, by: str) -> Erased | None:
        """Do what `command` says; None when there was nothing left to erase, and then nothing is recorded.

        Raises Mistaken for a field that there is none of, or a reason that cannot be recorded; NoSuchAccount or
        NoSuchJob; Unavailable when it is not known whether it was done: asking again is safe.
        """
        _check(command)
        async with self._postgres.change() as connection:
            erased = await self._erase(connection, account_id, job, command, by)
        await self._tidy()
        return erased

    async def _erase(self, connection: Connection, account_id: int, job: int, command: Erase, by: str) -> Erased | None:
        head = await connection.fetchrow(HEAD, account_id)
        if head is None:
            raise NoSuchAccount(str(account_id))
        if await connection.fetchrow(JOB, account_id, job) is None:
            raise NoSuchJob
        known, changed, queued = await _found(connection, account_id, job, command.fields)
        if not changed:
            return None
        draft = Draft({account_id: Head(*head)}, {account_id: {job: known}}, {}, Taken(), self._clock())
        draft.add([Append(account_id, job, (command,), by)])
        [(_, outcome)] = draft.outcomes
        if not isinstance(outcome, Appended):
            raise outcome
        written = await write(connection, draft)
        assert written, "the head is locked"
        await connection.execute(PAYLOADS, account_id, *zip(*changed, strict=True), timeout=_SECONDS)
        state = _encode_state(draft.states[account_id][job].state).decode()
        await connection.execute(ROW, account_id, job, queued.user, queued.claim, state, outcome.version)
        await connection.execute(VIEWS, account_id, job)
        return Erased(outcome.position, len(changed))

    async def _tidy(self) -> None:
        async with self._postgres.connection() as connection:
            await connection.execute(TIDY, timeout=_SECONDS)


async def _found(connection: Connection, account_id: int, job: int, fields: Collection[str]) -> _Found:
    state, position, version = INITIAL, 0, 0
    changed: list[tuple[int, str, bytes]] = []
    queued: Any = None
    cursor = await connection.cursor(SAID, account_id, job)
    while rows := await cursor.fetch(PAGE):
        for position, _, type, data, erased in rows:
            kept = remains(type, data, fields)
            if kept != data:
                changed.append((position, kept, bytes.fromhex(digest(data)) if erased is None else erased))
            event = codec.decode(type, kept)
            queued = queued or event
            state = evolve(state, event)
        version = rows[-1]["version"]
    return _Found(Known(version, position, state, version), changed, queued)


def _check(command: Erase) -> None:
    unknown = sorted(set(command.fields) - FIELDS)
    if unknown:
        raise Mistaken(f"nothing called {unknown[0]} can be erased; what can is {', '.join(sorted(FIELDS))}")
    try:
        msgspec.convert(msgspec.to_builtins(command), Erase)
        command.reason.encode()
    except (msgspec.ValidationError, UnicodeEncodeError):
        raise Mistaken("a reason is a text of 1 to 10,000 characters") from None


_encode_state = msgspec.json.Encoder().encode
