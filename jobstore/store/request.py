"""Knows what can be asked of the ledger, and what can come of it."""

from asyncio import Future
from dataclasses import dataclass, field

from msgspec import Struct

from jobstore.job.commands import Command
from jobstore.job.events import Recorded


@dataclass(slots=True, eq=False)
class Append:
    """A request: all `commands` or none, in order. `job` None makes a new job, by a Submit that comes first.

    `by` says who asks, `expected` the version that the job must be at, `key` and `digest` are the idempotency key and
    SHA-256 of the request that it stands for, `deadline` is of the loop's clock. `trace` names the request where it has
    no key; nothing is ever found by it.

    A new job may be `imported`: the caller chose its uid, and maybe its `number`, so another job may have them. It may
    be `exclusive`: not to be made while another job that has its claim goes on, or once that is completed.
    """

    account_id: int
    job: int | None
    commands: tuple[Command, ...]
    by: str
    expected: int | None = None
    key: str | None = None
    digest: bytes = b""
    trace: str | None = None
    number: int | None = None
    imported: bool = False
    exclusive: bool = False
    deadline: float = 0.0
    future: "Future[Appended]" = field(init=False)

    def answer(self, outcome: "Appended | Exception") -> None:
        """Tell the caller, if it still waits."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
            self.future.exception()  # a caller who has left hears nothing, and that is no news for a log
        else:
            self.future.set_result(outcome)


class Appended(Struct, frozen=True):
    """What an append did. `events` is empty when all was already so, or when the request was `repeated`: then
    `first_version` to `version` are the events that the first request added, if any."""

    job: int
    version: int
    position: int
    events: list[Recorded]
    first_version: int
    repeated: bool = False


class NoSuchJob(Exception):
    """The account has no such job."""


class NoSuchAccount(Exception):
    """There is no such account, so it has no log."""


class Conflict(Exception):
    """The job is not at the version that the request expected; `version` is where it is."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the job is at version {version}")
        self.version = version


class IdTaken(Exception):
    """Another job of the account has the number or the uid that was chosen."""


class Claimed(Exception):
    """What the new job was to make is another's: of the job `number`, which has neither failed nor been cancelled."""

    def __init__(self, number: int) -> None:
        super().__init__(f"job {number} has this claim")
        self.number = number


class KeyReused(Exception):
    """The idempotency key was used before, for another request."""
