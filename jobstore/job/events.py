"""Knows every fact that can be recorded of a job; must not know who asks, where it is kept or how it looks.

An event is past tense, immutable and small. `Recorded` is an event in its place: where in the account's log, where
in its job, when, and said by whom. Names under which events are stored stand in `codec`, nowhere else.
"""

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

Phase = Literal["queued", "starting", "running", "stop_requested", "stopping", "cancelled", "completed", "failed"]


def _null() -> None:
    """A default that is written down all the same: null was said, and a field that is missing was erased."""


class _Fact(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Fields left at their default are left out of the stored payload.

    What a fact holds is JSON, which has no cycles, so the garbage collector need not look for any.
    """


class JobQueued(_Fact, frozen=True):
    """The job exists. `uid` is a UUID as 32 hex digits; `total` counts tasks.

    `extra` is what only some formats have a word for. `claim` names what the job makes, where that may be made once.
    """

    uid: str
    kind: str
    args: dict[str, Any] = {}
    total: int | None = None
    user: str | None = None
    extra: dict[str, Any] = {}
    claim: str | None = None


class JobStarting(_Fact, frozen=True):
    """A worker took the job and is preparing. `fraction` is as in ProgressReported, here and below."""

    stage: str | None = None
    message: str | None = None
    fraction: float | None = None


class JobStarted(_Fact, frozen=True):
    """The work itself began."""

    stage: str | None = None
    message: str | None = None
    fraction: float | None = None


class ProgressReported(_Fact, frozen=True):
    """How far it is: `fraction` is 0..1, `done` and `total` count tasks. A field left out did not change."""

    fraction: float | None = None
    done: int | None = None
    total: int | None = None
    stage: str | None = None
    message: str | None = None


class OutputProduced(_Fact, frozen=True):
    """Something the job made. An output with the `key` of an earlier one takes its place."""

    output: Any = field(default_factory=_null)
    key: str | None = None


class ResultRecorded(_Fact, frozen=True):
    """What became of one item. A result with the `key` of an earlier one takes its place."""

    result: Any = field(default_factory=_null)
    key: str | None = None


class StopRequested(_Fact, frozen=True):
    """Somebody asked for the job to stop; the worker has not said anything to it yet."""

    reason: str | None = None


class JobStopping(_Fact, frozen=True):
    """The worker is winding the job down."""

    message: str | None = None


class JobCancelled(_Fact, frozen=True):
    """The job ended before its work was done, because somebody wanted that."""

    reason: str | None = None
    stage: str | None = None
    fraction: float | None = None


class JobCompleted(_Fact, frozen=True):
    """The job ended with its work done; single items may have failed all the same."""

    results: Any = None
    message: str | None = None
    stage: str | None = None
    fraction: float | None = None


class JobFailed(_Fact, frozen=True):
    """The job ended because it could not go on. `error` is free JSON: an object, an array or a text."""

    error: Any = None
    message: str | None = None
    stage: str | None = None
    fraction: float | None = None


class RetryScheduled(_Fact, frozen=True):
    """This attempt ended and the job waits for its next one, `delay` seconds from now."""

    delay: float | None = None
    error: Any = None
    message: str | None = None


class Annotated(_Fact, frozen=True):
    """Somebody added a remark; the job is as it was. A format may read in `data` what it put there itself."""

    note: str | None = None
    data: dict[str, Any] | None = None


class JobRemoved(_Fact, frozen=True):
    """The ended job is gone from every view; its history stays."""

    reason: str | None = None


class JobErased(_Fact, frozen=True):
    """What was said of the job before this was taken out of its history: the fields named in `fields`, or all of them
    where none is. The facts stay: that something happened, when, and who said so."""

    reason: str
    fields: tuple[str, ...] = ()


Event = (
    JobQueued
    | JobStarting
    | JobStarted
    | ProgressReported
    | OutputProduced
    | ResultRecorded
    | StopRequested
    | JobStopping
    | JobCancelled
    | JobCompleted
    | JobFailed
    | RetryScheduled
    | Annotated
    | JobRemoved
    | JobErased
)


class Recorded(Struct, frozen=True, gc=False):
    """An event in its place. `position` counts in the account's log, `version` in the job; both from 1, without gaps.

    `at` is UTC and never runs backwards within an account. `by` names who said it: a key, or a command line. `trace`
    names the request: its idempotency key, or else `trace ID` or `request ID`, of which no key can be one, for it has a
    space.
    """

    position: int
    job: int
    version: int
    at: datetime
    by: str
    event: Event
    trace: str | None = None
