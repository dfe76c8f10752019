"""Knows the native dialect's job; must not know any vendor, where events are kept or how a request came in.

Source: the native HTTP dialect (README, section "The native dialect").
"""

from datetime import datetime
from typing import Any, Final, get_args

import msgspec
import orjson
from msgspec import Struct, field

from jobstore.job.commands import Count, Name, Report, Submit
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

# -- View ---------------------------------------------------------------------------------------------------------


class Job(Struct, kw_only=True, omit_defaults=True):
    """The fold's state, which is what the answer needs."""

    uid: str = ""
    number: int = 0
    kind: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    state: Phase = "queued"
    progress: Progress = field(default_factory=Progress)
    stage: str | None = None
    message: str | None = None
    outputs: Items = field(default_factory=Items)
    results: Items = field(default_factory=Items)
    verdict: Any = None
    errors: list[Any] = field(default_factory=list)
    user: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    ended_at: datetime | None = None
    removed: bool = False
    version: int = 0
    position: int = 0


# -- Fold ---------------------------------------------------------------------------------------------------------


def evolve(job: Job, recorded: Recorded) -> Job:
    """The view after one more event."""
    event = recorded.event
    job.version, job.position = recorded.version, recorded.position
    job.updated_at = recorded.at
    match event:
        case ProgressReported():  # the commonest by far, and it leads nowhere
            job.progress = job.progress.after(event)
            if event.stage is not None:
                job.stage = event.stage
            if event.message is not None:
                job.message = event.message
            return job
        case JobQueued():
            job.number, job.uid = recorded.job, event.uid
            job.kind, job.args, job.user, job.extra = event.kind, event.args, event.user, event.extra
            job.progress = Progress(total=event.total)
            job.created_at = recorded.at
        case JobStarting():
            _tell(job, event.stage, event.message, event.fraction)
        case JobStarted():
            _tell(job, event.stage, event.message, event.fraction)
            job.started_at = recorded.at
        case OutputProduced():
            job.outputs.keep(event.output, event.key)
        case ResultRecorded():
            job.results.keep(event.result, event.key)
        case JobStopping():
            _tell(job, None, event.message)
        case JobCancelled():
            _tell(job, event.stage, event.reason, event.fraction)
            job.ended_at = recorded.at
        case JobCompleted():
            _tell(job, event.stage, event.message)
            job.progress = job.progress.finished()
            job.verdict = event.results
            job.ended_at = recorded.at
        case JobFailed():
            _tell(job, event.stage, event.message, event.fraction)
            if event.error is not None:
                job.errors.append(event.error)
            job.ended_at = recorded.at
        case RetryScheduled():
            job.stage, job.message, job.started_at = None, event.message, None
            job.progress = job.progress.reset()
            if event.error is not None:
                job.errors.append(event.error)
        case JobRemoved():
            job.removed = True
        case StopRequested() | Annotated() | JobErased():
            pass
    job.state = LEADS_TO.get(type(event), job.state)
    return job


def _tell(job: Job, stage: str | None, message: str | None, fraction: float | None = None) -> None:
    job.progress = job.progress.at(fraction)
    if stage is not None:
        job.stage = stage
    if message is not None:
        job.message = message


# -- Answer -------------------------------------------------------------------------------------------------------


def show(job: Job, audience: Audience, at: datetime) -> bytes:
    """The job as JSON. Unknown is null; `results` is what `completed` said, or else the recorded results in order."""
    return orjson.dumps(
        {
            "id": job.uid,
            "number": job.number,
            "kind": job.kind,
            "args": job.args,
            "state": job.state,
            "progress": {
                "fraction": job.progress.as_fraction(),
                "done": job.progress.as_done(),
                "total": job.progress.total,
            },
            "stage": job.stage,
            "message": job.message,
            "outputs": job.outputs.all,
            "results": job.results.all if job.verdict is None else job.verdict,
            "errors": job.errors,
            "user": job.user,
            "extra": job.extra,
            "created_at": job.created_at,
            "started_at": job.started_at,
            "updated_at": job.updated_at,
            "ended_at": job.ended_at,
            "version": job.version,
            "position": job.position,
        },
        option=orjson.OPT_UTC_Z,
    )


PROJECTION: Final = Projection(name="native", revision=2, view=Job, evolve=evolve, show=show)


def recorded(
    position: int, job: int, version: int, type: str, at: datetime, data: str, by: str, trace: str | None = None
) -> bytes:
    """A recorded event as JSON; `data` is the stored payload and goes in as it is. `trace` is left out if unknown."""
    event = {
        "position": position,
        "job": job,
        "version": version,
        "type": type,
        "at": at,
        "data": orjson.Fragment(data),
        "by": by,
    }
    if trace is not None:
        event["trace"] = trace
    return orjson.dumps(event, option=orjson.OPT_UTC_Z)


# -- Request ------------------------------------------------------------------------------------------------------


class Submission(Struct, kw_only=True, forbid_unknown_fields=True):
    """What `POST /jobs` takes. `format` says in whose words the answer is; `id` is one that the job had there before,
    and keeps."""

    kind: Name
    args: dict[str, Any] = field(default_factory=dict)
    format: str = "native"
    total: Count | None = None
    user: Name | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    id: Name | int | None = None

    def command(self, uid: str) -> Submit:
        """The command, for a job that will have this uid."""
        return Submit(uid=uid, kind=self.kind, args=self.args, total=self.total, user=self.user, extra=self.extra)


MOST: Final = 2000  # events that are recorded as a whole: nobody else's are decided meanwhile


def submission(body: Any) -> Submission:
    """The submission that a JSON body is. Raises msgspec.ValidationError, which names the field."""
    return msgspec.convert(body, Submission)


def reports(body: Any) -> tuple[Report, ...]:
    """The commands that a JSON body is: one event, or an array of them. Raises msgspec.ValidationError."""
    if isinstance(body, list):
        if not body:
            raise msgspec.ValidationError("an array of events must have at least one")
        if len(body) > MOST:
            raise msgspec.ValidationError(f"an array has at most {MOST} events; POST /events takes any number")
        return tuple(_report(item, f"$[{index}]") for index, item in enumerate(body))
    return (_report(body, "$"),)


def _report(body: Any, place: str) -> Report:
    if not isinstance(body, dict):
        raise msgspec.ValidationError(f"Expected an event as an `object` - at `{place}`")
    type = body.get("type")
    command = _TYPES.get(type) if isinstance(type, str) else None
    if command is None:
        raise msgspec.ValidationError(f"Expected `type` to be one of {', '.join(_TYPES)} - at `{place}.type`")
    try:
        report: Report = msgspec.convert(body, command)
    except msgspec.ValidationError as error:
        text = str(error)
        raise msgspec.ValidationError(
            text.replace("`$", f"`{place}") if "`$" in text else f"{text} - at `{place}`"
        ) from None
    return report


# One by one: what a union takes is worked out anew for each value.
_TYPES: Final[dict[str, type[Any]]] = {str(command.__struct_config__.tag): command for command in get_args(Report)}
