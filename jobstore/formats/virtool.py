"""Knows the jobs of Virtool's API as of early 2021. Source: the vendor's page "Jobs", and that release's own routes.

A job is told as the list of its status records. What is unknown is null, and progress that nobody reported is 0.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated as Meta
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

from jobstore.formats.contract import (
    Act,
    Asked,
    Failure,
    Format,
    Index,
    Page,
    Poll,
    Reply,
    Schema,
    Sweep,
    convert,
    json,
    of,
    one_of,
)  # fmt: skip
from jobstore.formats.reading import plain, wrong
from jobstore.formats.reading import whole as whole_number
from jobstore.job.commands import (
    Annotate,
    Cancel,
    Complete,
    Fail,
    Prepare,
    Remove,
    Report,
    ReportProgress,
    RequestStop,
    ScheduleRetry,
    Start,
    Text,
)
from jobstore.job.decider import LEADS_TO, TERMINAL
from jobstore.job.events import (
    Annotated,
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
    Recorded,
    ResultRecorded,
    RetryScheduled,
    StopRequested,
)
from jobstore.job.progress import Progress
from jobstore.job.projection import Audience, Projection
from jobstore.job.search import Search

State = Literal["waiting", "running", "complete", "cancelled", "error"]

STATES: Final[dict[Phase, State]] = {
    "queued": "waiting",
    "starting": "waiting",
    "running": "running",
    "stop_requested": "running",
    "stopping": "running",
    "cancelled": "cancelled",
    "completed": "complete",
    "failed": "error",
}
WAITING: Final = frozenset[Phase](("queued", "starting"))

# -- Id -----------------------------------------------------------------------------------------------------------

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
CODES: Final = 36**8

# A text of digits names a job by its number elsewhere. Digits come last, so that every code of digits only lies above
# this one, and each side of it is scrambled in itself: no job below it is called by digits.
_DIGITS: Final = 26 * (CODES - 1) // 35  # 00000000
_FACTOR: Final = 1_295_202_486_437  # a prime, 0.618 of that: neighbours end up far apart
_SHIFT: Final = 918_273_645_546
_INVERSE: Final = {size: pow(_FACTOR, -1, size) for size in (_DIGITS, CODES - _DIGITS)}

_CODE: Final = re.compile(r"([b-z0-9][a-z0-9]{0,2})?([a-z0-9]{8})")
_BASE36: Final = str.maketrans(LETTERS, "0123456789abcdefghijklmnopqrstuvwxyz")


def code(number: int) -> str:
    """The id of the job with this number: 8 characters, and more only beyond 36**8, where only imports are."""
    high, low = divmod(number - 1, CODES)
    start, size = _side(low)
    return _spell(high) + _spell(start + (low * _FACTOR + _SHIFT) % size).rjust(8, LETTERS[0])


def identify(text: str) -> int | None:
    """The number behind an id, if it is one."""
    found = _CODE.fullmatch(text)
    if found is None:
        return None
    high, low = (int(part.translate(_BASE36), 36) if part else 0 for part in found.groups())
    start, size = _side(low)
    return high * CODES + start + ((low - start - _SHIFT) * _INVERSE[size] - start) % size + 1


def _side(low: int) -> tuple[int, int]:
    """Where the side begins on which `low` lies, and how many there are on it."""
    return (0, _DIGITS) if low < _DIGITS else (_DIGITS, CODES - _DIGITS)


def _spell(value: int) -> str:
    return _spell(value // 36) + LETTERS[value % 36] if value else ""


# -- View ---------------------------------------------------------------------------------------------------------


class Status(Struct, kw_only=True):
    """A status record: `progress` is 0..1."""

    state: State
    stage: str | None
    error: Any
    progress: float
    timestamp: str


class Job(Struct, kw_only=True, omit_defaults=True):
    """The fold's state. A job that was queued has at least one status record."""

    number: int = 0
    kind: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    proc: int | float | None = None
    mem: int | float | None = None
    user: str | None = None
    phase: Phase = "queued"
    stage: str | None = None
    progress: Progress = field(default_factory=Progress)
    status: list[Status] = field(default_factory=list)


# -- Fold ---------------------------------------------------------------------------------------------------------


def evolve(job: Job, recorded: Recorded) -> Job:
    """The view after one more event. What changes the state, stage, error or progress makes a status record."""
    event, error = recorded.event, None
    match event:
        case ProgressReported():  # the commonest by far
            job.progress = job.progress.after(event)
            _reach(job, event.stage, None)
        case JobQueued():
            job.number, job.kind, job.args, job.user = recorded.job, event.kind, event.args, event.user
            job.proc, job.mem = _amount(event.extra.get("proc")), _amount(event.extra.get("mem"))
            job.progress = Progress(total=event.total)
        case Annotated(data={"virtool": {"stage": str() as stage, "progress": int() as percent, "error": error}}):
            _reach(job, stage, min(100, max(0, percent)) / 100)
        case Annotated(data={"virtool": {"error": said}}):
            job.status[-1].error = error = said
        case (
            JobStarting(stage=None, fraction=None)
            | StopRequested()
            | JobStopping()
            | OutputProduced()
            | ResultRecorded()
            | Annotated()
            | JobRemoved()
            | JobErased()
        ):
            error = job.status[-1].error
        case JobStarting() | JobStarted() | JobCancelled():
            _reach(job, event.stage, event.fraction)
        case JobCompleted():
            job.progress = job.progress.finished()
            _reach(job, event.stage, event.fraction)
        case JobFailed():
            _reach(job, event.stage, event.fraction)
            error = event.error if event.error is not None else event.message
        case RetryScheduled():
            job.stage, job.progress, error = None, job.progress.reset(), event.error
    job.phase = LEADS_TO.get(type(event), job.phase)
    _tell(job, error, recorded.at)
    return job


def _reach(job: Job, stage: str | None, fraction: float | None) -> None:
    job.progress = job.progress.at(fraction)
    if stage is not None:
        job.stage = stage


def _tell(job: Job, error: Any, at: datetime) -> None:
    """One more record, if it says something new."""
    timestamp = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    progress = job.progress.as_fraction() or 0.0
    status = Status(state=STATES[job.phase], stage=job.stage, error=error, progress=progress, timestamp=timestamp)
    if not job.status or msgspec.structs.replace(job.status[-1], timestamp=timestamp) != status:
        job.status.append(status)


def _amount(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


# -- Answer -------------------------------------------------------------------------------------------------------


def show(job: Job, audience: Audience, at: datetime) -> bytes:
    """The job as JSON."""
    return json(_whole(job, audience))


def _whole(job: Job, audience: Audience) -> dict[str, Any]:
    return {
        _task(audience): job.kind,
        "args": job.args,
        "proc": job.proc,
        "mem": job.mem,
        "user": {"id": job.user},
        "status": [_record(status, _measure(status, audience)) for status in job.status],
        "id": code(job.number),
    }


def _short(job: Job, audience: Audience, at: datetime) -> dict[str, Any]:
    first, last = job.status[0], job.status[-1]
    return {
        "id": code(job.number),
        _task(audience): job.kind,
        "proc": job.proc,
        "mem": job.mem,
        "user": {"id": job.user},
        "state": last.state,
        "stage": last.stage,
        "created_at": first.timestamp,
        "progress": _measure(last, audience),
    }


def _task(audience: Audience) -> str:
    return "workflow" if audience.revision == "5.0" else "task"


def _record(status: Status, progress: float) -> dict[str, Any]:
    return {
        "state": status.state,
        "stage": status.stage,
        "error": status.error,
        "progress": progress,
        "timestamp": status.timestamp,
    }


def _measure(status: Status, audience: Audience) -> float:
    if audience.revision == "5.0":
        return _percent(status)
    return plain(status.progress)


def _percent(status: Status) -> int:
    return round(100 * status.progress)


def whole(job: Job, audience: Audience, at: datetime) -> Reply:
    """The answer to a change of the job."""
    return Reply(200, show(job, audience, at))


def opened(job: Job, audience: Audience, at: datetime, key: str) -> Reply:
    """The answer to whoever acquired the job."""
    return Reply(200, json({**_whole(job, audience), "key": key}))


def pushed(job: Job, audience: Audience, at: datetime) -> Reply:
    """The answer to a push: the record, in percent."""
    last = job.status[-1]
    return Reply(201 if audience.revision == "5.0" else 200, json(_record(last, _percent(last))))


def listed(page: Page, asked: Asked, audience: Audience) -> Reply:
    """The answer to a search."""
    per_page = page.search.limit
    return Reply(
        200,
        json(
            {
                "documents": page.items,
                "total_count": page.total,
                "found_count": page.found,
                "page_count": -(-page.found // per_page),
                "per_page": per_page,
                "page": page.search.offset // per_page + 1,
            }
        ),
    )


def location(number: int, uid: str, audience: Audience) -> str:
    """Where a job is asked for."""
    return f"{audience.url}/api/jobs/{code(number)}"


_FAILURES: Final[dict[str, tuple[int, str]]] = {
    "bad-request": (400, "bad_request"),
    "unauthorized": (401, "unauthorized"),
    "forbidden": (403, "insufficient_rights"),
    "not-found": (404, "not_found"),
    "method-not-allowed": (405, "method_not_allowed"),
    "timeout": (408, "request_timeout"),
    "refused": (409, "conflict"),
    "taken": (409, "conflict"),
    "version-differs": (412, "precondition_failed"),
    "too-large": (413, "request_entity_too_large"),
    "unsupported-media-type": (415, "unsupported_media_type"),
    "malformed": (422, "invalid_input"),
    "throttled": (429, "too_many_requests"),
    "unavailable": (503, "service_unavailable"),
    "internal": (500, "internal_server_error"),
}
_MESSAGES: Final = {
    "unauthorized": "Requires authorization",
    "forbidden": "Insufficient rights",
    "not-found": "Not found",
    "malformed": "Invalid input",
}


def fail(failure: Failure) -> Reply:
    """A failure: its id, a message, and of what is wrong with the input the fields."""
    status, id = _FAILURES[failure.name]
    body: dict[str, Any] = {"id": id, "message": _MESSAGES.get(failure.name, failure.detail)}
    if status == 422:
        body["errors"] = failure.fields or {"": [failure.detail]}
    return Reply(status, json(body), failure.headers(status, 'Basic realm="Virtool"'))


# -- Request ------------------------------------------------------------------------------------------------------

MOST: Final = 100  # documents a page

FILTERS: Final[dict[str, frozenset[Phase]]] = {
    "finished": TERMINAL,
    "complete": frozenset(("completed",)),
    "failed": frozenset(("failed", "cancelled")),
}


class Acquisition(Struct, forbid_unknown_fields=True):
    acquired: bool


class Push(Struct):
    state: State
    stage: Text
    progress: Meta[int, msgspec.Meta(ge=0, le=100)]
    error: dict[str, Any] | str | None = None


def _find(asked: Asked) -> Search:
    page = whole_number(asked, "page", least=1, most=2**31, default=1)
    per_page = whole_number(asked, "per_page", least=1, most=MOST, default=25)
    text = asked.first("find") or None
    return Search(text=text, descending=False, offset=(page - 1) * per_page, limit=per_page)


def _acquire(asked: Asked, job: Job) -> Sequence[Report]:
    if not convert(asked.body, Acquisition).acquired:
        raise wrong("acquired", "must be true")
    if job.phase != "queued":
        raise Failure("bad-request", "Job already acquired")
    return [Prepare()]


def _cancel(asked: Asked, job: Job) -> Sequence[Report]:
    if job.phase in TERMINAL:
        raise Failure("refused", "Not cancellable")
    if job.phase in WAITING:
        return [Cancel()]
    return [RequestStop()] if job.phase == "running" else []


def _push(asked: Asked, job: Job) -> Sequence[Report]:
    push, last = convert(asked.body, Push), job.status[-1]
    if (push.state, push.stage, push.error, push.progress) == (last.state, last.stage, last.error, _percent(last)):
        return []
    if job.phase in TERMINAL:
        raise Failure("refused", "Job is finished")
    if push.state == "waiting" and job.phase in ("queued", "running"):
        # Whoever has a stage while it waits is still to be acquired.
        again = [ScheduleRetry(error=push.error)] if job.phase == "running" else []
        return [*again, _noted(job, {"stage": push.stage, "progress": push.progress, "error": push.error})]
    said = _said(push, job.phase)
    corrects = (push.state, push.stage, push.progress) == (last.state, last.stage, _percent(last))
    if push.state != "error" and (push.error is not None or corrects):  # no event but a failure has a place for it
        said.append(_noted(job, {"error": push.error}))
    return said


def _noted(job: Job, record: dict[str, Any]) -> Annotate:
    """What no other event says of a record. How many there were makes it news, however often the same is said."""
    return Annotate(data={"virtool": record, "after": len(job.status)})


def _said(push: Push, phase: Phase) -> list[Report]:
    stage, fraction = push.stage, push.progress / 100
    match push.state:
        case "waiting":
            return [Prepare(stage=stage, fraction=fraction)]
        case "running" if phase in WAITING:
            return [Start(stage=stage, fraction=fraction)]
        case "running":
            return [ReportProgress(stage=stage, fraction=fraction)]
        case "complete":
            begun: list[Report] = [Start()] if phase in WAITING else []
            return [*begun, Complete(stage=stage, fraction=fraction)]
        case "cancelled":
            return [Cancel(stage=stage, fraction=fraction)]
        case "error":
            return [Fail(error=push.error, stage=stage, fraction=fraction)]


def _remove(asked: Asked, job: Job) -> Sequence[Report]:
    if job.phase not in TERMINAL:
        raise Failure("refused", "Job is running or waiting and cannot be removed")
    return [Remove()]


def _clear(asked: Asked) -> Search:
    phases = FILTERS.get(asked.first("filter") or "finished")
    if phases is None:
        raise wrong("filter", f"must be one of {', '.join(FILTERS)}")
    return Search(phases=phases, descending=False, limit=MOST)


def _document(**properties: Schema) -> dict[str, Any]:
    """An object that has exactly these members, and the name of the task under one of its two names."""
    both = {"task": {"type": "string"}, "workflow": {"type": "string"}}
    return {
        **of(**properties),
        "properties": {**both, **properties},
        "oneOf": [{"required": [name]} for name in both],
    }


_TEXT: Final = {"type": ["string", "null"]}
_COUNT: Final = {"type": "integer", "minimum": 0}
_ID: Final = {"type": "string", "pattern": "^[a-z0-9]{8,11}$"}
_STATE: Final = one_of(*dict.fromkeys(STATES.values()))
_PROGRESS: Final = {"type": "number", "minimum": 0, "maximum": 100}
_PERCENT: Final = {"type": "integer", "minimum": 0, "maximum": 100}
_TIME: Final = {"type": "string", "format": "date-time"}
_OWN: Final = {
    "proc": {"type": ["number", "null"]},
    "mem": {"type": ["number", "null"]},
    "user": of(id=_TEXT),
}
_RECORD: Final = {"state": _STATE, "stage": _TEXT, "error": {}, "progress": _PROGRESS, "timestamp": _TIME}
_WHOLE: Final = {
    "args": {"type": "object"},
    **_OWN,
    "status": {"type": "array", "items": of(**_RECORD), "minItems": 1},
    "id": _ID,
}

SCHEMA: Final = _document(**_WHOLE)

FORMAT: Final = Format(
    projection=Projection(name="virtool", revision=1, view=Job, evolve=evolve, show=show),
    calls=(
        Index(
            method="GET", paths=("/api/jobs",), summary="Find jobs", read=_find, item=_short, reply=listed,
            query={
                "find": {"type": "string"},
                "page": {"type": "integer", "minimum": 1, "default": 1},
                "per_page": {"type": "integer", "minimum": 1, "maximum": MOST, "default": 25},
            },
            answers=of(
                documents={"type": "array", "items": _document(
                    id=_ID, **_OWN, state=_STATE, stage=_TEXT, created_at=_TIME, progress=_PROGRESS
                )},
                total_count=_COUNT, found_count=_COUNT, page_count=_COUNT, per_page=_COUNT, page=_COUNT,
            ),
        ),
        Poll(
            method="GET", paths=("/api/jobs/{id}",), summary="The whole of a job", answers=SCHEMA, refusals=(404,),
        ),
        Act(
            method="PATCH", paths=("/api/jobs/{id}",), summary="Acquire a job, and get its key",
            read=_acquire, reply=whole, opens=opened,
            takes=of(acquired={"const": True}), answers=_document(**_WHOLE, key={"type": "string"}),
            refusals=(404,),
        ),
        Act(
            method="PUT", paths=("/api/jobs/{id}/cancel",), summary="Cancel a job", read=_cancel, reply=whole,
            answers=SCHEMA, refusals=(404, 409),
        ),
        Act(
            method="POST", paths=("/api/jobs/{id}/status",), summary="Push a status record",
            read=_push, reply=pushed, for_worker=True,
            takes={
                "type": "object",
                "properties": {
                    "state": _STATE,
                    "stage": {"type": "string"},
                    "error": {"type": ["object", "string", "null"]},
                    "progress": _PERCENT,
                },
                "required": ["state", "stage", "progress"],
            },
            answers=of(**{**_RECORD, "progress": _PERCENT}), later=(201,), refusals=(404, 409),
        ),
        Act(
            method="DELETE", paths=("/api/jobs/{id}",), summary="Remove a job that ended", read=_remove,
            reply=lambda job, audience, at: Reply(204), status=204, refusals=(404, 409),
        ),
        Sweep(
            method="DELETE", paths=("/api/jobs",), summary="Remove the jobs that ended", read=_clear,
            item=lambda job, audience, at: code(job.number),
            reply=lambda removed: Reply(200, json({"removed": removed})),
            query={"filter": one_of(*FILTERS, default="finished")},
            answers=of(removed={"type": "array", "items": _ID}),
        ),
    ),
    fail=fail,
    prefixes=("/api/jobs",),
    identify=identify,
    location=location,
    schema=SCHEMA,
    failure={
        "type": "object",
        "properties": {
            "id": one_of(*dict.fromkeys(id for _, id in _FAILURES.values())),
            "message": {"type": "string"},
            "errors": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
        },
        "required": ["id", "message"],
        "additionalProperties": False,
    },
    revisions=("2021", "5.0"),
)  # fmt: skip
