"""Knows the job statuses of Zendesk's API v2, and the bulk calls that start jobs; must not know any other vendor.

Source: the vendor's page "Job Statuses" (https://developer.zendesk.com/rest_api/docs/core/job_statuses), 2012. What is
unknown is null, never left out. Items that failed are results of a completed job. Revision `current` is the shape of
today: wrapped, ids that begin with V3-, a status `queued`, and no results before the end.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from msgspec import Struct, field

from jobstore.formats.contract import (
    Asked,
    Failure,
    Format,
    Index,
    New,
    Poll,
    Reply,
    Schema,
    Several,
    Starter,
    json,
    of,
    one_of,
    uid,
)
from jobstore.job import events as e
from jobstore.job.decider import LEADS_TO
from jobstore.job.items import Items
from jobstore.job.progress import Progress
from jobstore.job.projection import Audience, Projection
from jobstore.job.search import Search

STATUSES: Final[Mapping[e.Phase, str]] = {
    "queued": "working",
    "starting": "working",
    "running": "working",
    "stop_requested": "working",
    "stopping": "working",
    "cancelled": "killed",
    "completed": "completed",
    "failed": "failed",
}

T = TypeVar("T")

CURRENT: Final = "current"
MOST: Final = 100  # jobs in a list, and items of a bulk call

# -- View ---------------------------------------------------------------------------------------------------------


class Job(Struct, kw_only=True, omit_defaults=True):
    """The fold's state. `results` is what was recorded item by item, `verdict` what the completed job said."""

    uid: str = ""
    kind: str = ""
    phase: e.Phase = "queued"
    progress: Progress = field(default_factory=Progress)
    message: str | None = None
    results: Items = field(default_factory=Items)
    verdict: Any = None


def evolve(job: Job, recorded: e.Recorded) -> Job:
    """The view after one more event."""
    event = recorded.event
    match event:
        case e.ProgressReported():  # the commonest by far
            job.progress = job.progress.after(event)
            _tell(job, event.message)
        case e.JobQueued():
            job.uid, job.kind = event.uid, event.kind
            job.progress = Progress(total=event.total)
        case e.JobStarting() | e.JobStarted():
            job.progress = job.progress.at(event.fraction)
            _tell(job, event.message)
        case e.JobStopping():
            _tell(job, event.message)
        case e.ResultRecorded():
            job.results.keep(event.result, event.key)
        case e.RetryScheduled():
            job.progress = job.progress.reset()
            job.message = event.message
        case e.JobCancelled():
            job.progress = job.progress.at(event.fraction)
            _tell(job, event.reason)
        case e.JobCompleted():
            if job.progress.total is not None:  # or else the tasks counted so far are all that is known
                job.progress = job.progress.finished()
            job.message = event.message if event.message is not None else f"Completed at {_long(recorded.at)}"
            job.verdict = event.results
        case e.JobFailed():
            job.progress = job.progress.at(event.fraction)
            _tell(job, event.error if event.message is None and isinstance(event.error, str) else event.message)
        case e.OutputProduced() | e.StopRequested() | e.Annotated() | e.JobRemoved() | e.JobErased():
            pass
    job.phase = LEADS_TO.get(type(event), job.phase)
    return job


def _tell(job: Job, message: str | None) -> None:
    if message is not None:
        job.message = message


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _long(at: datetime) -> str:
    """A moment as the vendor's sentences have it, in English whatever the locale."""
    return f"{_DAYS[at.weekday()]} {_MONTHS[at.month - 1]} {at:%d %H:%M:%S} +0000 {at.year}"


# -- Answer -------------------------------------------------------------------------------------------------------


def show(job: Job, audience: Audience, at: datetime) -> bytes:
    """The job as JSON."""
    shown = item(job, audience, at)
    return json({"job_status": shown} if audience.revision == CURRENT else shown)


def item(job: Job, audience: Audience, at: datetime) -> dict[str, Any]:
    """The job as one of a list."""
    current = audience.revision == CURRENT
    return {
        "id": _id(job.uid, audience),
        **({"job_type": job.kind} if current else {}),
        "url": location(0, job.uid, audience),
        "total": job.progress.total,
        "progress": job.progress.as_done(),
        "status": "queued" if current and job.phase == "queued" else STATUSES[job.phase],
        "message": job.message,
        "results": _results(job, current),
    }


def _results(job: Job, current: bool) -> Any:
    """An array; in the current shape an object if that was said, and nothing before the job completed."""
    if current and job.phase != "completed":
        return None
    if job.verdict is None:
        return job.results.all
    return job.verdict if isinstance(job.verdict, list | dict if current else list) else [job.verdict]


def _id(uid: str, audience: Audience) -> str:
    return f"V3-{uid}" if audience.revision == CURRENT else uid


def identify(text: str) -> str | None:
    """The uid in an id of either shape."""
    return uid(text.removeprefix("V3-"))


def location(number: int, uid: str, audience: Audience) -> str:
    """Where a job is asked for."""
    return f"{audience.url}/api/v2/job_statuses/{_id(uid, audience)}.json"


def started(job: Job, audience: Audience, at: datetime) -> Reply:
    """The answer to a bulk call. No Location: a stock client would take it for the answer."""
    return Reply(200, show(job, audience, at))


def listed(items: Sequence[Any]) -> Reply:
    """The answer that is a list."""
    return Reply(200, json({"job_statuses": items}))


_SAID: Final[Mapping[str, tuple[int, str]]] = {
    "bad-request": (400, "BadRequest"),
    "unauthorized": (401, "Couldn't authenticate you"),
    "forbidden": (403, "Forbidden"),
    "not-found": (404, "RecordNotFound"),
    "method-not-allowed": (405, "MethodNotAllowed"),
    "timeout": (408, "RequestTimeout"),
    "refused": (422, "RecordInvalid"),
    "taken": (409, "Conflict"),
    "version-differs": (409, "Conflict"),
    "too-large": (413, "RequestTooLarge"),
    "unsupported-media-type": (415, "UnsupportedMediaType"),
    "malformed": (422, "RecordInvalid"),
    "throttled": (429, "APIRateLimitExceeded"),
    "unavailable": (503, "ServiceUnavailable"),
    "internal": (500, "InternalError"),
}
_DESCRIBED: Final[Mapping[int, str]] = {404: "Not found", 422: "RecordValidation errors"}
_CHALLENGE: Final = 'Basic realm="Zendesk API", Bearer realm="Zendesk API"'
_BLANK: Final = "can't be blank"


def fail(failure: Failure) -> Reply:
    """A failure. Retry-After is for the throttled only: a stock client takes any answer that has it for a throttle."""
    status, error = _SAID[failure.name]
    body: dict[str, Any] = {"error": failure.code or error}
    if status != 401:
        body["description"] = _DESCRIBED.get(status, failure.detail)
    if status == 422:
        body["details"] = {
            name or "base": [{"type": "blank" if text == _BLANK else "invalid", "description": text} for text in texts]
            for name, texts in (failure.fields or {"": (failure.detail,)}).items()
        }
    return Reply(status, json(body), failure.headers(status, _CHALLENGE, waits=(429,)))


# -- Request ------------------------------------------------------------------------------------------------------


def _ids(asked: Asked) -> list[str]:
    """The query's ids: with commas, or, as a stock client sends a list, each by itself."""
    said = (part.strip() for name, value in asked.query if name == "ids" for part in value.split(","))
    return _few("ids", [text for text in said if text])


def _few(name: str, values: list[T]) -> list[T]:
    if not values:
        raise _invalid(name, _BLANK)
    if len(values) > MOST:
        raise Failure("bad-request", f"Parameter {name} cannot specify more than {MOST} values", code="TooManyValues")
    return values


def _invalid(name: str, says: str) -> Failure:
    return Failure("malformed", f"{name} {says}", fields={name: (says,)})


def _starts(verb: str) -> Callable[[Asked, Audience], New]:
    def read(asked: Asked, audience: Audience) -> New:
        things = asked.path["things"]
        body = {} if asked.body is None else asked.body
        if not isinstance(body, dict):
            raise _invalid("base", "must be an object")
        if verb == "destroy_many" or (verb == "update_many" and asked.first("ids") is not None):
            ids = _ids(asked)
            if verb == "update_many" and not any(isinstance(change, dict) for change in body.values()):
                raise _invalid("base", "must have one object, the change")
            return New(kind=f"{things}.{verb}", args={**body, "ids": ids}, total=len(ids))
        items = [] if body.get(things) is None else body[things]
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise _invalid(things, "must be an array of objects")
        return New(kind=f"{things}.{verb}", args=body, total=len(_few(things, items)))

    return read


def _paths(path: str) -> tuple[str, str]:
    return f"/api/v2/{path}.json", f"/api/v2/{path}"


def _starter(method: str, verb: str, summary: str, takes: Schema | None, **query: Schema) -> Starter[Job]:
    return Starter(
        method=method, paths=_paths("{things}/" + verb), summary=summary, query=query, takes=takes,
        read=_starts(verb), reply=started, answers=SCHEMA,
    )  # fmt: skip


_COUNT: Final = {"type": ["integer", "null"], "minimum": 0}
_TEXT: Final = {"type": ["string", "null"]}
_URL: Final = {"type": "string", "pattern": r"/api/v2/job_statuses/(V3-)?[0-9a-f]{32}\.json$"}

DOCUMENT: Final = of(
    id={"type": "string", "pattern": "^[0-9a-f]{32}$"}, url=_URL, total=_COUNT, progress=_COUNT,
    status=one_of(*dict.fromkeys(STATUSES.values())), message=_TEXT, results={"type": "array"},
)  # fmt: skip
TODAY: Final = of(
    id={"type": "string", "pattern": "^V3-[0-9a-f]{32}$"}, job_type={"type": "string"}, url=_URL, total=_COUNT,
    progress=_COUNT, status=one_of("queued", *dict.fromkeys(STATUSES.values())), message=_TEXT,
    results={"type": ["array", "object", "null"]},
)  # fmt: skip
SCHEMA: Final = {"anyOf": [DOCUMENT, of(job_status=TODAY)]}
LIST: Final = of(job_statuses={"type": "array", "items": {"anyOf": [DOCUMENT, TODAY]}, "maxItems": MOST})
IDS: Final = {"type": "string", "description": f"At most {MOST} ids, with commas between them"}
ITEMS: Final = {"type": "object", "description": 'Like {"tickets": [...]}', "minProperties": 1}

FORMAT: Final = Format(
    projection=Projection(name="zendesk", revision=1, view=Job, evolve=evolve, show=show),
    calls=(
        Several(
            method="GET", paths=_paths("job_statuses/show_many"), summary="Some jobs", query={"ids": IDS},
            answers=LIST, read=_ids, item=item, reply=lambda items, asked, audience: listed(items),
        ),
        Poll(
            method="GET", paths=_paths("job_statuses/{id}"), summary="A job's status", answers=SCHEMA, refusals=(404,),
        ),
        Index(
            method="GET", paths=_paths("job_statuses"), summary="The latest jobs, newest first", answers=LIST,
            read=lambda asked: Search(limit=MOST), item=item, reply=lambda page, asked, audience: listed(page.items),
        ),
        _starter("POST", "create_many", "Start the creation of many things", ITEMS),
        _starter("PUT", "update_many", "Start an update of many things", ITEMS, ids=IDS),
        _starter("DELETE", "destroy_many", "Start a deletion of many things", None, ids=IDS),
    ),
    fail=fail,
    prefixes=("/api/v2/",),
    identify=identify,
    location=location,
    schema=SCHEMA,
    failure={
        "type": "object",
        "properties": {"error": {"type": "string"}, "description": {"type": "string"}, "details": {
            "type": "object", "additionalProperties": {"type": "array", "items": of(
                type=one_of("blank", "invalid"), description={"type": "string"},
            )},
        }},
        "required": ["error"],
        "additionalProperties": False,
    },
    revisions=("2012", CURRENT),
)  # fmt: skip
