"""Knows the jobs of Xplenty's API, version 1. Source: the vendor's page "Get Job Information" and those beside it
(https://github.com/xplenty/xplenty-api-doc/tree/master/sections).

What is unknown is null, with three exceptions that the pages show: no errors are "", no variables {}, and a job that
said nothing of its progress is at 0, for progress is always "a value between 0.0 and 1.0".
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import urlencode

from msgspec import Struct, field

from jobstore.formats.contract import (
    Act,
    Asked,
    Failure,
    Format,
    Index,
    Limits,
    New,
    Page,
    Poll,
    Quota,
    Reply,
    Starter,
    json,
    number,
    of,
    one_of,
)
from jobstore.formats.reading import choice, integer, moment, plain, string, text, whole, wrong
from jobstore.job.commands import Report, RequestStop
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
from jobstore.job.progress import Progress
from jobstore.job.projection import Audience, Projection
from jobstore.job.search import Search

STATUSES: Final[Mapping[Phase, str]] = {
    "queued": "idle",
    "starting": "pending",
    "running": "running",
    "stop_requested": "pending_stoppage",
    "stopping": "stopping",
    "cancelled": "stopped",
    "completed": "completed",
    "failed": "failed",
}
PREVIEWED: Final = 100  # lines
UNLIMITED: Final = 2**31 - 1  # told where there is no limit: clients look for a number, and some keep 32 bits of it

# -- View ---------------------------------------------------------------------------------------------------------


class Target(Struct, kw_only=True, omit_defaults=True):
    """What an output says of itself."""

    created_at: datetime
    updated_at: datetime
    component_name: str | None = None
    name: str | None = None
    records_count: int | None = None
    preview: str = ""


class Job(Struct, kw_only=True, omit_defaults=True):
    """The fold's state. `outputs` are by id, `top` being the greatest; `keys` says which id a key stands for."""

    id: int = 0
    phase: Phase = "queued"
    variables: dict[str, Any] = field(default_factory=dict)
    cluster_id: int | None = None
    package_id: int | None = None
    owner_id: int | None = None
    progress: Progress = field(default_factory=Progress)
    outputs: dict[int, Target] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    top: int = 0
    errors: list[str] = field(default_factory=list)
    created_at: datetime | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    ended_at: datetime | None = None


# -- Fold ---------------------------------------------------------------------------------------------------------


def evolve(job: Job, recorded: Recorded) -> Job:
    """The view after one more event."""
    event = recorded.event
    match event:
        case ProgressReported():  # the commonest by far
            job.progress = job.progress.after(event)
        case JobQueued(args=args):
            job.id, job.created_at = recorded.job, recorded.at
            job.variables = args["variables"] if isinstance(args.get("variables"), dict) else {}
            job.cluster_id, job.package_id = integer(args.get("cluster_id")), integer(args.get("package_id"))
            job.owner_id = number(event.user or "")
            job.progress = Progress(total=event.total)
        case JobStarting():
            job.progress = job.progress.at(event.fraction)
        case JobStarted():
            job.progress = job.progress.at(event.fraction)
            job.started_at = recorded.at
        case OutputProduced():
            _produce(job, event.output if isinstance(event.output, dict) else {}, event.key, recorded.at)
        case RetryScheduled():
            job.progress = job.progress.reset()
            job.started_at = None
            _note(job, text(event.error))
        case JobCancelled():
            job.progress = job.progress.at(event.fraction)
            job.ended_at = recorded.at
        case JobCompleted():
            job.progress = job.progress.finished()
            job.ended_at = recorded.at
        case JobFailed():
            job.progress = job.progress.at(event.fraction)
            job.ended_at = recorded.at
            _note(job, text(event.error) or event.message or "")
        case ResultRecorded() | StopRequested() | JobStopping() | Annotated() | JobRemoved() | JobErased():
            pass
    job.updated_at = recorded.at
    job.phase = LEADS_TO.get(type(event), job.phase)
    return job


def _produce(job: Job, output: Mapping[str, Any], key: str | None, at: datetime) -> None:
    """One more target, or news of one, which keeps the id that its address has. No two have the same id."""
    id = None if key is None else job.keys.get(key)
    if id is None:
        id = integer(output.get("id")) or len(job.outputs) + 1
        if id in job.outputs or not 0 < id <= 2**53:
            id = job.top + 1
        job.top = max(job.top, id)
    if key is not None:
        job.keys[key] = id
    job.outputs[id] = Target(
        created_at=moment(output.get("created_at")) or (job.outputs[id].created_at if id in job.outputs else at),
        updated_at=moment(output.get("updated_at")) or at,
        component_name=string(output.get("component_name")),
        name=string(output.get("name")),
        records_count=integer(output.get("records_count")),
        preview="\n".join(text(output.get("preview")).split("\n", PREVIEWED)[:PREVIEWED]),
    )


def _note(job: Job, error: str) -> None:
    if error:
        job.errors.append(error)


# -- Answer -------------------------------------------------------------------------------------------------------


def _runs(job: Job) -> bool:
    return job.started_at is not None and job.ended_at is None


def shown(job: Job, audience: Audience, at: datetime) -> dict[str, Any]:
    """The job, in the order of the page."""
    fraction = job.progress.as_fraction() or 0
    end = (job.ended_at or at).replace(microsecond=0)  # of the seconds that are shown, so that it fits them
    ran = end - (job.started_at or end).replace(microsecond=0)
    return {
        "id": job.id,
        "status": STATUSES[job.phase],
        "variables": job.variables,
        "owner_id": job.owner_id,
        "progress": plain(fraction),
        "outputs_count": len(job.outputs),
        "outputs": [_output(job, id, audience) for id in job.outputs],
        "started_at": job.started_at,
        "created_at": job.created_at,
        "failed_at": job.ended_at if job.phase == "failed" else None,
        "updated_at": job.updated_at,
        "cluster_id": job.cluster_id,
        "package_id": job.package_id,
        "errors": "\n".join(job.errors),
        "url": location(job.id, "", audience),
        "runtime_in_seconds": max(0, int(ran.total_seconds())),
        "completed_at": job.ended_at,
    }


def _output(job: Job, id: int, audience: Audience) -> dict[str, Any]:
    target, url = job.outputs[id], f"{location(job.id, '', audience)}/outputs/{id}"
    return {
        "component_name": target.component_name,
        "created_at": target.created_at,
        "id": id,
        "name": target.name,
        "preview_url": f"{url}/preview",
        "records_count": target.records_count,
        "updated_at": target.updated_at,
        "url": url,
    }


def show(job: Job, audience: Audience, at: datetime) -> bytes:
    """The job as JSON."""
    return json(shown(job, audience, at), seconds=True)


def _with(status: int) -> Callable[[Job, Audience, datetime], Reply]:
    return lambda job, audience, at: Reply(status, show(job, audience, at))


def location(number: int, uid: str, audience: Audience) -> str:
    """Where a job is asked for."""
    return f"{audience.url}/{audience.account}/api/jobs/{number}"


def _named(job: Job, asked: Asked) -> int:
    """The id of the output that the address names."""
    id = number(asked.path["output"])
    if id is None or id not in job.outputs:
        raise Failure("not-found", "there is no such output")
    return id


def output(job: Job, asked: Asked, audience: Audience, at: datetime) -> Reply:
    """One output of a job."""
    return Reply(200, json(_output(job, _named(job, asked), audience), seconds=True))


def preview(job: Job, asked: Asked, audience: Audience, at: datetime) -> Reply:
    """The first lines of one output."""
    id = _named(job, asked)
    return Reply(200, json({"preview": job.outputs[id].preview, "url": _output(job, id, audience)["preview_url"]}))


def listed(page: Page, asked: Asked, audience: Audience) -> Reply:
    """A page of jobs. Its links keep what else was asked."""
    offset, limit = page.search.offset, page.search.limit
    offsets = {"next": offset + limit} if offset + limit < page.found else {}
    offsets |= {"prev": max(0, offset - limit)} if offset else {}
    kept = [pair for pair in asked.query if pair[0] not in ("offset", "limit")]
    links = (
        f"<{audience.url}/{audience.account}/api/jobs?"
        f'{urlencode([*kept, ("offset", at), ("limit", limit)])}>; rel="{rel}"'
        for rel, at in offsets.items()
    )
    return Reply(200, json(page.items, seconds=True), {"Link": ", ".join(links)} if offsets else {})


def _left(quota: Quota | None) -> tuple[int, int]:
    return (UNLIMITED, UNLIMITED) if quota is None else (quota.limit, quota.remaining)


def limits(quota: Quota | None) -> Mapping[str, str]:
    """The header fields that speak of the rate."""
    return dict(zip(("X-RateLimit-Limit", "X-RateLimit-Remaining"), map(str, _left(quota)), strict=True))


def rate(quota: Quota | None) -> Reply:
    """What is left of the rate."""
    return Reply(200, json({"limits": dict(zip(("limit", "remaining"), _left(quota), strict=True))}))


_STATUS: Final = {
    "bad-request": 400, "unauthorized": 401, "forbidden": 403, "not-found": 404, "method-not-allowed": 405,
    "timeout": 408, "refused": 422, "taken": 422, "version-differs": 422, "too-large": 413,
    "unsupported-media-type": 415, "malformed": 422, "throttled": 429, "unavailable": 503, "internal": 500,
}  # fmt: skip
_SAID: Final = {"not-found": "Item not found.", "throttled": "Rate Limit Exceeded"}


def fail(failure: Failure) -> Reply:
    """A failure: a message."""
    status = _STATUS[failure.name]
    body = json({"message": _SAID.get(failure.name, failure.detail)})
    return Reply(status, body, failure.headers(status, 'Basic realm="Xplenty API"'))


# -- Request ------------------------------------------------------------------------------------------------------


def run(asked: Asked, audience: Audience) -> New:
    """A run of a package, asked for as `job[cluster_id]=..`, as {"job": {...}} or flat; numbers may be texts."""
    said = asked.body if isinstance(asked.body, dict) else {}
    said = said.get("job", said)
    if not isinstance(said, dict):
        raise wrong("job", "must be an object")
    args: dict[str, Any] = {name: _id(said, name) for name in ("cluster_id", "package_id")}
    args["variables"] = _variables(said, "variables")
    dynamic = _variables(said, "dynamic_variables")
    return New(kind="package.run", args=args | ({"dynamic_variables": dynamic} if dynamic else {}))


def _id(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name)
    if value is None:
        raise wrong(name, "is missing")
    found = number(str(value)) if isinstance(value, int | str) else None
    if found is None:
        raise wrong(name, "must be a whole number above 0")
    return found


def _variables(said: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = said.get(name)
    if not isinstance(value, dict | None):
        raise wrong(name, "must be an object of names and values")
    return value or {}


_PHASES: Final[Mapping[str, frozenset[Phase] | None]] = {
    "all": None,
    **{status: frozenset((phase,)) for phase, status in STATUSES.items()},
}
_SORTS: Final[Mapping[str, Literal["created", "updated"]]] = {"created": "created", "updated": "updated"}
_DIRECTIONS: Final = {"desc": True, "asc": False}


def find(asked: Asked) -> Search:
    """The jobs that a list shall show."""
    since = asked.first("since")
    if since is not None and moment(since) is None:
        raise wrong("since", "must be a time, like 2013-01-17T22:41:21Z")
    return Search(
        phases=choice(asked, "status", _PHASES, "all"),
        since=moment(since),
        order=choice(asked, "sort", _SORTS, "created"),
        descending=choice(asked, "direction", _DIRECTIONS, "desc"),
        offset=whole(asked, "offset", least=0, most=2**53, default=0),
        limit=whole(asked, "limit", least=1, most=100, default=20),
    )


def stop(asked: Asked, job: Job) -> Sequence[Report]:
    """A request to stop."""
    return (RequestStop(),)


_COUNT: Final = {"type": "integer", "minimum": 0}
_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_NUMBER_OR_NULL: Final = {"type": ["integer", "null"]}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_TIME_OR_NULL: Final = {"type": ["string", "null"], "format": "date-time"}

OUTPUT: Final = of(
    component_name=_TEXT_OR_NULL, created_at=_TIME, id=_COUNT, name=_TEXT_OR_NULL, preview_url=_TEXT,
    records_count=_NUMBER_OR_NULL, updated_at=_TIME, url=_TEXT,
)  # fmt: skip
SCHEMA: Final = of(
    id=_COUNT, status=one_of(*STATUSES.values()), variables={"type": "object"}, owner_id=_NUMBER_OR_NULL,
    progress={"type": "number", "minimum": 0, "maximum": 1}, outputs_count=_COUNT,
    outputs={"type": "array", "items": OUTPUT}, started_at=_TIME_OR_NULL, created_at=_TIME, failed_at=_TIME_OR_NULL,
    updated_at=_TIME, cluster_id=_NUMBER_OR_NULL, package_id=_NUMBER_OR_NULL, errors=_TEXT, url=_TEXT,
    runtime_in_seconds=_COUNT, completed_at=_TIME_OR_NULL,
)  # fmt: skip

_ID: Final = {"type": ["integer", "string"]}
_RUN: Final = {
    "type": "object",
    "properties": {
        "cluster_id": _ID, "package_id": _ID, "variables": {"type": "object"}, "dynamic_variables": {"type": "object"},
    },
    "required": ["cluster_id", "package_id"],
}  # fmt: skip
_JOBS: Final = "/{account}/api/jobs"

FORMAT: Final = Format(
    projection=Projection(name="xplenty", revision=1, view=Job, evolve=evolve, show=show, runs=_runs),
    calls=(
        Starter(
            method="POST", paths=(_JOBS,), summary="Run a package", read=run, reply=_with(201), status=201,
            takes={"anyOf": [_RUN, {"type": "object", "properties": {"job": _RUN}, "required": ["job"]}]},
            answers=SCHEMA, refusals=(404,),
        ),
        Index(
            method="GET", paths=(_JOBS,), summary="The account's jobs", read=find, item=shown, reply=listed,
            query={
                "status": one_of(*_PHASES, default="all"), "sort": one_of(*_SORTS, default="created"),
                "direction": one_of(*_DIRECTIONS, default="desc"), "since": _TIME, "offset": {**_COUNT, "default": 0},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
            },
            answers={"type": "array", "items": SCHEMA}, refusals=(404,),
        ),
        Poll(method="GET", paths=(f"{_JOBS}/{{id}}",), summary="A job", answers=SCHEMA, refusals=(404,)),
        Act(
            method="DELETE", paths=(f"{_JOBS}/{{id}}",), summary="Ask a job to stop", read=stop, reply=_with(200),
            answers=SCHEMA, refusals=(404, 422),
        ),
        Poll(
            method="GET", paths=(f"{_JOBS}/{{id}}/outputs/{{output}}",), summary="An output of a job", reply=output,
            answers=OUTPUT, refusals=(404,),
        ),
        Poll(
            method="GET", paths=(f"{_JOBS}/{{id}}/outputs/{{output}}/preview",), reply=preview,
            summary=f"The first {PREVIEWED} lines of an output", answers=of(preview=_TEXT, url=_TEXT), refusals=(404,),
        ),
        Limits(
            method="GET", paths=("/{account}/api/rate_limit_status",), summary="What is left of the rate", reply=rate,
            answers=of(limits=of(limit=_COUNT, remaining=_COUNT)), refusals=(404,),
        ),
    ),
    fail=fail,
    prefixes=("/{account}/api/",),
    identify=number,
    location=location,
    schema=SCHEMA,
    failure=of(message=_TEXT),
    limits=limits,
)  # fmt: skip
