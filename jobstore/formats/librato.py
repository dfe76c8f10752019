"""Knows the jobs of Librato's metrics API. Source: the vendor's page "Jobs" (https://www.librato.com/docs/api/#jobs).

What is unknown is left out, never null. `state` is authoritative; `progress` is a percentage.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct, field

from jobstore.formats.contract import Asked, Failure, Format, New, Poll, Reply, Starter, json, number, one_of
from jobstore.job.decider import LEADS_TO
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
from jobstore.job.items import Items
from jobstore.job.progress import Progress
from jobstore.job.projection import Audience, Projection

STATES: Final[Mapping[Phase, str]] = {
    "queued": "queued",
    "starting": "working",
    "running": "working",
    "stop_requested": "working",
    "stopping": "working",
    "cancelled": "canceled",
    "completed": "complete",
    "failed": "failed",
}

# -- View ---------------------------------------------------------------------------------------------------------


class Job(Struct, kw_only=True, omit_defaults=True):
    """The fold's state. `outputs` is what was produced on the way, `results` what the completed job said."""

    id: int = 0
    uid: str = ""
    phase: Phase = "queued"
    progress: Progress = field(default_factory=Progress)
    outputs: Items = field(default_factory=Items)
    results: Any = None
    errors: dict[str, list[Any]] | None = None


def evolve(job: Job, recorded: Recorded) -> Job:
    """The view after one more event."""
    event = recorded.event
    match event:
        case ProgressReported():  # the commonest by far
            job.progress = job.progress.after(event)
        case JobQueued():
            job.id, job.uid = recorded.job, event.uid
            job.progress = Progress(total=event.total)
        case JobStarting() | JobStarted() | JobCancelled():
            job.progress = job.progress.at(event.fraction)
        case OutputProduced(output=output, key=key) | ResultRecorded(result=output, key=key):
            job.outputs.keep(output, key)
        case RetryScheduled():
            job.progress = job.progress.reset()
        case JobCompleted():
            job.progress = job.progress.finished()
            job.results = event.results
        case JobFailed():
            job.progress = job.progress.at(event.fraction)
            job.errors = _errors(event.error if event.error is not None else event.message)
        case StopRequested() | JobStopping() | Annotated() | JobRemoved() | JobErased():
            pass
    job.phase = LEADS_TO.get(type(event), job.phase)
    return job


def _errors(error: Any) -> dict[str, list[Any]] | None:
    """A map of fields to messages. What speaks of no field is about the job as a whole."""
    if error is None:
        return None
    if isinstance(error, dict):
        return {field: said if isinstance(said, list) else [said] for field, said in error.items()}
    return {"job": error if isinstance(error, list) else [error]}


# -- Answer -------------------------------------------------------------------------------------------------------


def show(job: Job, audience: Audience, at: datetime) -> bytes:
    """The job as JSON."""
    shown: dict[str, Any] = {"id": job.id, "state": STATES[job.phase]}
    fraction = job.progress.as_fraction()
    if fraction is not None:
        shown["progress"] = round(100.0 * fraction, 2)
    output = job.results if job.results is not None else job.outputs.all or None
    if output is not None:
        shown["output"] = output
    if job.errors is not None:
        shown["errors"] = job.errors
    return json(shown)


def accepted(job: Job, audience: Audience, at: datetime) -> Reply:
    """The answer to a request that started a job."""
    return Reply(202, headers={"Location": location(job.id, job.uid, audience)})


def location(number: int, uid: str, audience: Audience) -> str:
    """Where a job is asked for."""
    return f"{audience.url}/v1/jobs/{number}"


_STATUS: Final = {
    "bad-request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "timeout": 408,
    "refused": 422,
    "taken": 422,
    "version-differs": 422,
    "too-large": 413,
    "unsupported-media-type": 415,
    "malformed": 422,
    "throttled": 429,
    "unavailable": 503,
    "internal": 500,
}


def fail(failure: Failure) -> Reply:
    """A failure: about params, about the request, or about the system."""
    status = _STATUS[failure.name]
    errors: dict[str, Any]
    if failure.fields and status == 422:
        errors = {"params": failure.fields}
    elif status >= 500:
        errors = {"system": [failure.detail]}
    else:
        errors = {"request": [failure.detail]}
    return Reply(status, json({"errors": errors}), failure.headers(status, 'Basic realm="Librato API"'))


# -- Request ------------------------------------------------------------------------------------------------------


def _starts(kind: str) -> Callable[[Asked, Audience], New]:
    def read(asked: Asked, audience: Audience) -> New:
        args = asked.body if asked.body is not None else {}
        if not isinstance(args, dict):
            raise Failure("malformed", "send an object", fields={"names": ["must be an array"]})
        names = args.get("names")
        if names is None:
            raise Failure("malformed", "names is missing", fields={"names": ["is missing"]})
        if not isinstance(names, list | str) or not names or not all(isinstance(name, str) and name for name in names):
            raise Failure("malformed", "names is wrong", fields={"names": ["must be an array of names"]})
        return New(kind=kind, args=args)

    return read


_STARTER: Final[dict[str, Any]] = {
    "paths": ("/v1/metrics",),
    "reply": accepted,
    "status": 202,
    "takes": {
        "type": "object",
        "properties": {"names": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
        "required": ["names"],
    },
}

SCHEMA: Final = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "state": one_of(*dict.fromkeys(STATES.values())),
        "progress": {"type": "number", "minimum": 0, "maximum": 100},
        "output": {},
        "errors": {"type": "object", "additionalProperties": {"type": "array"}},
    },
    "required": ["id", "state"],
    "additionalProperties": False,
}

FORMAT: Final = Format(
    projection=Projection(name="librato", revision=1, view=Job, evolve=evolve, show=show),
    calls=(
        Poll(
            method="GET", paths=("/v1/jobs/{id}",), summary="A job's state and progress", answers=SCHEMA,
            refusals=(404,),
        ),
        Starter(method="PUT", summary="Start an update of metrics", read=_starts("metrics.update"), **_STARTER),
        Starter(method="DELETE", summary="Start a deletion of metrics", read=_starts("metrics.delete"), **_STARTER),
    ),
    fail=fail,
    prefixes=("/v1/",),
    identify=number,
    location=location,
    schema=SCHEMA,
    failure={
        "type": "object",
        "properties": {"errors": {"type": "object", "minProperties": 1, "properties": {
            "params": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
            "request": {"type": "array", "items": {"type": "string"}},
            "system": {"type": "array", "items": {"type": "string"}},
        }, "additionalProperties": False}},
        "required": ["errors"],
    },
)  # fmt: skip
