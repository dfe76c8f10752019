"""Knows what may happen to a job next. Three rules, and every one of them is a law that the tests hold:

1. What makes no sense for the job's phase is refused, with a reason a person understands.
2. Saying what is already so adds no event.
3. A job that ended stays as it ended; it can still be annotated and removed.

`decide` and `evolve` are pure; the state holds only what `decide` needs. The transitions are data: TAKES says which
phases take a command, LEADS_TO where an event leads. Source of the shape: Chassaing's decider (decide, evolve,
initial).
"""

import hashlib
from typing import Final

import msgspec
from msgspec import Struct

from jobstore.job import codec
from jobstore.job.commands import (
    Annotate,
    BeginStopping,
    Cancel,
    Command,
    Complete,
    Erase,
    Fail,
    Prepare,
    ProduceOutput,
    RecordResult,
    Remove,
    Report,
    ReportProgress,
    RequestStop,
    ScheduleRetry,
    Start,
    Submit,
)
from jobstore.job.events import (
    Annotated,
    Event,
    JobCancelled,
    JobCompleted,
    JobErased,
    JobFailed,
    JobQueued,
    JobRemoved,
    JobStarted,
    JobStarting,
    JobStopping,
    OutputProduced,
    Phase,
    ProgressReported,
    ResultRecorded,
    RetryScheduled,
    StopRequested,
)
from jobstore.job.progress import Progress


class Refused(Exception):
    """The job's state does not allow the command; the text says why, and the job is as it was."""


class State(Struct, frozen=True, omit_defaults=True):
    """What `decide` needs to know of a job's past. `phase` None: there is no job yet.

    `said` and `ended` are digests of the last keyed fact and of the fact that ended the job: enough to recognise a
    repetition, however large the fact was.
    """

    phase: Phase | None = None
    removed: bool = False
    stage: str | None = None
    message: str | None = None
    progress: Progress = Progress()
    said: str | None = None
    ended: str | None = None


INITIAL: Final = State()
TERMINAL: Final[frozenset[Phase]] = frozenset(("completed", "failed", "cancelled"))

_LIVE: Final[frozenset[Phase]] = frozenset(("queued", "starting", "running", "stop_requested", "stopping"))
_WORKED_ON: Final[frozenset[Phase]] = frozenset(("running", "stop_requested", "stopping"))

TAKES: Final[dict[type[Command], frozenset[Phase]]] = {
    Prepare: frozenset(("queued", "starting")),
    Start: frozenset(("queued", "starting")),
    ReportProgress: _WORKED_ON,
    ProduceOutput: _WORKED_ON,
    RecordResult: _WORKED_ON,
    RequestStop: frozenset(("queued", "starting", "running")),
    BeginStopping: frozenset(("starting", "running", "stop_requested")),
    Cancel: _LIVE,
    Complete: _WORKED_ON,
    Fail: _LIVE,
    ScheduleRetry: frozenset(("starting", "running")),
    Annotate: _LIVE | TERMINAL,
    Remove: TERMINAL,
}

LEADS_TO: Final[dict[type[Event], Phase]] = {
    JobQueued: "queued",
    JobStarting: "starting",
    JobStarted: "running",
    StopRequested: "stop_requested",
    JobStopping: "stopping",
    JobCancelled: "cancelled",
    JobCompleted: "completed",
    JobFailed: "failed",
    RetryScheduled: "queued",
}

_CANNOT: Final[dict[type[Command], str]] = {
    Prepare: "be prepared",
    Start: "be started",
    ReportProgress: "take progress",
    ProduceOutput: "take an output",
    RecordResult: "take a result",
    RequestStop: "be asked to stop",
    BeginStopping: "begin to stop",
    Cancel: "be cancelled",
    Complete: "be completed",
    Fail: "fail",
    ScheduleRetry: "be scheduled for a retry",
    Remove: "be removed",
}

_WORDS: Final[dict[Phase, str]] = {"stop_requested": "asked to stop"}


def decide(state: State, command: Command) -> tuple[Event, ...]:
    """The events that `command` adds to a job in `state`: none when it says what is already so.

    Raises Refused when the command makes no sense for the state.
    """
    phase = state.phase
    if type(command) is Submit:
        if phase is not None:
            raise Refused("the job exists already")
        return (
            JobQueued(
                uid=command.uid,
                kind=command.kind,
                args=command.args,
                total=command.total,
                user=command.user,
                extra=command.extra,
                claim=command.claim,
            ),
        )
    if phase is None:
        raise Refused("there is no such job")
    if type(command) is Erase:  # whatever the job's state: it is about what is kept, not about the job
        return (JobErased(reason=command.reason, fields=command.fields),)
    event = _event(command)
    if _already(state, event):
        return ()
    if state.removed:
        raise Refused("the job was removed; its history takes no more")
    if phase not in TAKES[type(command)]:
        raise Refused(_reason(phase, command))
    if type(event) is ProgressReported and (event.done is not None or event.total is not None):
        progress = state.progress.after(event)
        if progress.done is not None and progress.total is not None and progress.done > progress.total:
            raise Refused(f"done ({progress.done}) is more than the job's total ({progress.total})")
    return (event,)


def evolve(state: State, event: Event) -> State:
    """The state after `event`. Total: whatever was recorded can be folded."""
    match event:
        case ProgressReported():  # the commonest by far, so it is looked for first, here and below
            return State(
                phase=state.phase,
                stage=event.stage if event.stage is not None else state.stage,
                message=event.message if event.message is not None else state.message,
                progress=state.progress.after(event),
                said=state.said,
            )
        case JobQueued():
            return State(phase="queued", progress=Progress(total=event.total))
        case JobStarting() | JobStarted():
            return msgspec.structs.replace(
                state,
                phase=LEADS_TO[type(event)],
                stage=event.stage if event.stage is not None else state.stage,
                message=event.message if event.message is not None else state.message,
                progress=state.progress.at(event.fraction),
            )
        case OutputProduced() | ResultRecorded() | Annotated():
            return msgspec.structs.replace(state, said=_digest(event))
        case RetryScheduled():
            return State(phase="queued", progress=state.progress.reset(), said=_digest(event))
        case StopRequested() | JobStopping():
            return msgspec.structs.replace(state, phase=LEADS_TO[type(event)], said=_digest(event))
        case JobCancelled() | JobCompleted() | JobFailed():
            return State(phase=LEADS_TO[type(event)], ended=_digest(event))
        case JobRemoved():
            return msgspec.structs.replace(state, removed=True)
        case JobErased():
            return state


def is_terminal(state: State) -> bool:
    """Whether the job has ended."""
    return state.phase in TERMINAL


def _event(command: Report) -> Event:
    """What would be recorded if the command were accepted."""
    match command:
        case ReportProgress():
            return ProgressReported(
                fraction=command.fraction,
                done=command.done,
                total=command.total,
                stage=command.stage,
                message=command.message,
            )
        case Prepare():
            return JobStarting(stage=command.stage, message=command.message, fraction=command.fraction)
        case Start():
            return JobStarted(stage=command.stage, message=command.message, fraction=command.fraction)
        case ProduceOutput():
            return OutputProduced(output=command.output, key=command.key)
        case RecordResult():
            return ResultRecorded(result=command.result, key=command.key)
        case RequestStop():
            return StopRequested(reason=command.reason)
        case BeginStopping():
            return JobStopping(message=command.message)
        case Cancel():
            return JobCancelled(reason=command.reason, stage=command.stage, fraction=command.fraction)
        case Complete():
            return JobCompleted(
                results=command.results, message=command.message, stage=command.stage, fraction=command.fraction
            )
        case Fail():
            return JobFailed(
                error=command.error, message=command.message, stage=command.stage, fraction=command.fraction
            )
        case ScheduleRetry():
            return RetryScheduled(delay=command.delay, error=command.error, message=command.message)
        case Annotate():
            return Annotated(note=command.note, data=command.data)
        case Remove():
            return JobRemoved(reason=command.reason)


def _already(state: State, event: Event) -> bool:
    """Whether recording `event` would say only what is already so."""
    match event:
        case ProgressReported():
            return (
                state.progress.knows(event)
                and event.stage in (None, state.stage)
                and event.message in (None, state.message)
                and state.phase in _WORKED_ON
            )
        case JobStarting() | JobStarted():
            return (
                state.phase == LEADS_TO[type(event)]
                and event.stage in (None, state.stage)
                and event.message in (None, state.message)
                and event.fraction in (None, state.progress.fraction)
            )
        case OutputProduced() | ResultRecorded():
            return event.key is not None and state.said == _digest(event)
        case StopRequested():
            return state.phase in ("stop_requested", "stopping")
        case JobStopping():
            return state.phase == "stopping"
        case RetryScheduled():
            return state.phase == "queued" and state.said == _digest(event)
        case Annotated():
            return state.said == _digest(event)
        case JobCancelled() | JobCompleted() | JobFailed():
            return state.phase == LEADS_TO[type(event)] and (event == type(event)() or state.ended == _digest(event))
        case JobRemoved():
            return state.removed
        case JobQueued() | JobErased():
            return False


def _reason(phase: Phase, command: Report) -> str:
    what = _CANNOT.get(type(command), "take this")
    words = _WORDS.get(phase, phase)
    if phase in TERMINAL:
        return f"the job is {words} and cannot {what} any more"
    if isinstance(command, Remove):
        return f"the job is {words} and cannot be removed before it has ended"
    if phase in ("queued", "starting"):
        return f"the job is {words} and cannot {what} before it has started: report started first"
    return f"the job is {words} and cannot {what}"


def _digest(event: Event) -> str:
    text = codec.name(event) + codec.encode(event)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
