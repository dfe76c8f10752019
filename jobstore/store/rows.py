"""Knows a draft as the values that the write takes: its few rows of other tables as JSON, its events in columns."""

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from jobstore.store.batch import Draft

_UNIT: Final = "\x1f"

_json = msgspec.json.Encoder().encode


class _Head(Struct, frozen=True):
    """The end of a log. Hashes are in hex, here and below."""

    account_id: int
    before: str
    position: int
    jobs: int
    hash: str
    at: datetime


class _Moved(Struct, frozen=True):
    """What changes in a job's row."""

    account_id: int
    number: int
    version: int
    phase: str | None
    removed: bool
    state: str


class _Fresh(Struct, frozen=True):
    """A new job's row."""

    account_id: int
    number: int
    uid: str
    kind: str
    user_name: str | None
    phase: str | None
    removed: bool
    version: int
    state: str
    claim: str | None


class _Used(Struct, frozen=True):
    """An idempotency key's row."""

    account_id: int
    key: str
    digest: str
    job: int
    first_version: int
    last_version: int
    position: int


def values(draft: Draft) -> list[str | bytes]:
    """Heads, jobs that moved, new jobs and keys, a text each; then the columns of the events.

    Raises ValueError for a name or key with a unit separator in it.
    """
    tables = (_heads(draft), _moved(draft), _fresh(draft), _used(draft))
    return [*(_json(rows).decode() for rows in tables), *_columns(draft.events)]


def _heads(draft: Draft) -> list[_Head]:
    return [
        _Head(account_id, draft.before[account_id].hex(), head.position, head.jobs, head.hash.hex(), head.at)
        for account_id, head in draft.heads.items()
    ]


def _moved(draft: Draft) -> list[_Moved]:
    """Of jobs that existed before and are due for writing."""
    return [
        _Moved(account_id, number, known.version, state.phase, state.removed, _json(state).decode())
        for account_id, number in draft.due - draft.created.keys()
        for known in (draft.states[account_id][number],)
        for state in (known.state,)
    ]


def _fresh(draft: Draft) -> list[_Fresh]:
    return [
        _Fresh(account_id, number, queued.uid, queued.kind, queued.user,
               state.phase, state.removed, known.version, _json(state).decode(), queued.claim)
        for (account_id, number), queued in draft.created.items()
        for known in (draft.states[account_id][number],)
        for state in (known.state,)
    ]  # fmt: skip


def _used(draft: Draft) -> list[_Used]:
    return [
        _Used(account_id, key, was.digest.hex(), was.job, was.first_version, was.last_version, was.position)
        for (account_id, key), was in draft.keys.items()
    ]


def _columns(events: list[tuple[Any, ...]]) -> list[str | bytes]:
    """Numbers as an array is written in SQL, texts with unit separators between them, hashes one after the other. `at`
    goes with the heads.

    asyncpg encodes an array element by element, which cost more than all the rest of a large batch. Payloads have no
    unit separators: they are JSON, which escapes it.
    """
    if not events:
        return [*["{}"] * 4, *[""] * 4, b""]
    accounts, positions, jobs, versions, types, _, payloads, by, traces, hashes = zip(*events, strict=True)
    said = (_UNIT.join(by), _UNIT.join(trace or "" for trace in traces))
    if any(text.count(_UNIT) != len(events) - 1 for text in said):
        raise ValueError("a unit separator cannot be part of a name or of an idempotency key")
    return [
        *("{" + _json(numbers)[1:-1].decode() + "}" for numbers in (accounts, positions, jobs, versions)),
        *(_UNIT.join(texts) for texts in (types, payloads)),
        *said,
        b"".join(hashes),
    ]
