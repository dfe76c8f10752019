"""Knows how many requests become one write: who gets which position, version and hash, and who is refused.

All in memory and without waiting, between the moment in which the ends of the logs are locked and the write. One
request's refusal changes nothing for its neighbours: it is decided on a state of its own and staged only when it holds
as a whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from msgspec import Struct

from jobstore.job import codec
from jobstore.job.decider import INITIAL, Refused, State, decide, evolve
from jobstore.job.events import JobQueued, Recorded
from jobstore.store.chain import digest, link, microseconds
from jobstore.store.request import Append, Appended, Claimed, Conflict, IdTaken, KeyReused, NoSuchJob


@dataclass(slots=True)
class Head:
    """The end of an account's log. `jobs` is the last number that was given in order."""

    position: int
    jobs: int
    hash: bytes
    at: datetime


class Known(Struct, frozen=True):
    """Where a job stands, and the version that its row in `jobs` is of."""

    version: int
    position: int
    state: State
    row: int


class Remembered(NamedTuple):
    """What an idempotency key stands for."""

    digest: bytes
    job: int
    first_version: int
    last_version: int
    position: int


@dataclass(slots=True)
class Taken:
    """What new jobs cannot have, as far as a batch asks for it, with the accounts in which that is so."""

    numbers: "set[Job]" = field(default_factory=set)
    uids: set[tuple[int, UUID]] = field(default_factory=set)
    claims: "dict[Claim, list[int]]" = field(default_factory=dict)  # numbers of jobs


ROW_AFTER: Final = 64  # events; a job's row may be this far behind, which is what loading its state folds at most

Job = tuple[int, int]  # account_id, number
Jobs = Mapping[int, Mapping[int, Known]]  # by account_id, then by number
Key = tuple[int, str]  # account_id, idempotency key
Claim = tuple[int, str]  # account_id, claim

_NOTHING: Final = Known(0, 0, INITIAL, 0)


class Draft:
    """What a batch will write, and what it will answer once that is committed."""

    def __init__(
        self,
        heads: dict[int, Head],
        jobs: Jobs,
        remembered: Mapping[Key, Remembered],
        taken: Taken,
        now: datetime,
    ) -> None:
        self.heads = heads
        self.before = {account_id: head.hash for account_id, head in heads.items()}
        self.outcomes: list[tuple[Append, Appended | Exception]] = []
        self.events: list[tuple[Any, ...]] = []
        self.states: dict[int, dict[int, Known]] = {account_id: {} for account_id in heads}
        self.created: dict[Job, JobQueued] = {}
        self.due: set[Job] = set()
        self.keys: dict[Key, Remembered] = {}
        self._jobs = jobs
        self._remembered = remembered
        self._taken = taken
        moments = {account_id: max(now, head.at) for account_id, head in heads.items()}
        self._moments = {account_id: (at, microseconds(at)) for account_id, at in moments.items()}

    def add(self, requests: Iterable[Append]) -> None:
        """Decide `requests` in order."""
        for request in requests:
            try:
                outcome: Appended | Exception = self._settle(request)
            except Exception as error:
                outcome = error
            self.outcomes.append((request, outcome))

    def answer(self) -> None:
        """Tell every caller. To be called when, and only when, the draft is known to be committed."""
        for request, outcome in self.outcomes:
            request.answer(outcome)

    @property
    def writes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.events or self.keys)

    def _settle(self, request: Append) -> Appended:
        account_id = request.account_id
        if request.key is not None:
            key = (account_id, request.key)
            before = self.keys.get(key) or self._remembered.get(key)
            if before is not None:
                return _repeat(before, request.digest)
        head = self.heads[account_id]
        states = self.states[account_id]
        if request.job is None:
            number, known = self._number(request, head), _NOTHING
        else:
            number = request.job
            found = states.get(number) or self._jobs[account_id].get(number)
            if found is None:
                raise NoSuchJob
            known = found
        version, position, state = known.version, known.position, known.state
        if request.expected is not None and request.expected != version:
            raise Conflict(version)

        rows: list[tuple[Any, ...]] = []
        recorded: list[Recorded] = []
        first = version + 1
        end, hash = head.position, head.hash
        at, since_1970 = self._moments[account_id]
        by, trace = request.by, request.trace if request.key is None else request.key
        for command in request.commands:
            for event in decide(state, command):
                state = evolve(state, event)
                end += 1
                version += 1
                type, data = codec.name(event), codec.encode(event)
                hash = link(hash, end, number, version, type, since_1970, by, trace, digest(data))
                rows.append((account_id, end, number, version, type, at, data, by, trace, hash))
                recorded.append(Recorded(end, number, version, at, by, event, trace))

        queued = self._submission(request, recorded) if request.job is None else None

        if rows:
            # Nothing is staged before this line, and nothing fails after it.
            self.events += rows
            position = end
            head.position, head.hash, head.at = end, hash, at
            if queued is not None:
                self.created[account_id, number] = queued
                if request.number is None:
                    head.jobs = number
                if request.imported:
                    self._taken.uids.add((account_id, UUID(queued.uid)))
                if queued.claim is not None:
                    self._taken.claims.setdefault((account_id, queued.claim), []).append(number)
            row, was = known.row, known.state
            if state.phase != was.phase or state.removed != was.removed or version - row >= ROW_AFTER:
                self.due.add((account_id, number))
            if self.due and (account_id, number) in self.due:
                row = version
            states[number] = Known(version, position, state, row)
        if request.key is not None:
            self.keys[account_id, request.key] = Remembered(request.digest, number, first, version, position)
        return Appended(number, version, position, recorded, first)

    def _number(self, request: Append, head: Head) -> int:
        """The number of a new job: the one that was chosen, or the next one that is free. Raises IdTaken."""
        account_id = request.account_id
        number = head.jobs + 1 if request.number is None else request.number
        states, taken = self.states[account_id], self._taken.numbers
        while number in states or (account_id, number) in taken:
            if request.number is not None:
                raise IdTaken("another job has this number")
            number += 1
        return number

    def _submission(self, request: Append, added: list[Recorded]) -> JobQueued:
        """What a new job begins with. Raises IdTaken or Claimed when another job has its uid or claim."""
        if not added:
            raise Refused("a new job begins with its submission")
        queued = added[0].event
        assert isinstance(queued, JobQueued), "a new job begins with its submission"
        if request.imported and (request.account_id, UUID(queued.uid)) in self._taken.uids:
            raise IdTaken("another job has this uid")
        if request.exclusive and queued.claim is not None:
            states = self.states[request.account_id]
            for number in self._taken.claims.get((request.account_id, queued.claim), ()):
                if number not in states or states[number].state.phase not in ("failed", "cancelled"):
                    raise Claimed(number)
        return queued


def _repeat(before: Remembered, digest: bytes) -> Appended:
    if before.digest != digest:
        raise KeyReused("this idempotency key was used before, for another request")
    return Appended(before.job, before.last_version, before.position, [], before.first_version, repeated=True)
