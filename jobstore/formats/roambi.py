"""Knows the jobs of Roambi's API, which publish analytics files; must not know any other vendor, nor HTTP.

Source: the vendor's page "Jobs", and "Syntax and Formatting" for errors (https://github.com/Roambi/roambi-api-docs).
What is unknown is null, but for progress, a number 0..1 that is 0 until something is known.

`exception` is the code that a worker failed with: the error, or its `code` or `exception`, where that is a number or a
short text. It is -1 for a job that failed without one, and -2 for one that was cancelled.

No code is given for a job that is not there: it is told as `invalid_resource`, the vendor's word for what was named
and is not, but with 404, for it is the address that names it. For what the vendor has no word at all, the words of
OAuth serve, whose error body this is (RFC 6749, 4.1.2.1). Too many requests are 503, without Retry-After.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct, field

from jobstore.formats.contract import Asked, Failure, Format, New, Poll, Reply, Starter, dashed, json, of, one_of, uid
from jobstore.formats.reading import plain
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

STATUSES: Final[Mapping[Phase, str]] = {
    "queued": "processing",
    "starting": "processing",
    "running": "processing",
    "stop_requested": "processing",
    "stopping": "processing",
    "cancelled": "error",
    "completed": "complete",
    "failed": "error",
}

WAIT: Final = 3  # seconds that a client is to wait between polls

FAILED: Final = -1
CANCELLED: Final = -2

Code = int | float | str

_LONGEST_CODE: Final = 64  # characters; a longer text is a message

# -- View ---------------------------------------------------------------------------------------------------------


class Job(Struct, kw_only=True, omit_defaults=True):
    """The fold's state. `verdict` is what the completed job said, the rest was recorded on the way."""

    uid: str = ""
    phase: Phase = "queued"
    progress: Progress = field(default_factory=Progress)
    exception: Code | None = None
    verdict: Any = None
    results: Items = field(default_factory=Items)
    outputs: Items = field(default_factory=Items)


# -- Fold ---------------------------------------------------------------------------------------------------------


def evolve(job: Job, recorded: Recorded) -> Job:
    """The view after one more event."""
    event = recorded.event
    match event:
        case ProgressReported():  # the commonest by far
            job.progress = job.progress.after(event)
        case JobQueued():
            job.uid = event.uid
            job.progress = Progress(total=event.total)
        case JobStarting() | JobStarted():
            job.progress = job.progress.at(event.fraction)
        case OutputProduced():
            job.outputs.keep(event.output, event.key)
        case ResultRecorded():
            job.results.keep(event.result, event.key)
        case RetryScheduled():
            job.progress = job.progress.reset()
        case JobCancelled():
            job.progress = job.progress.at(event.fraction)
            job.exception = CANCELLED
        case JobCompleted():
            job.progress = job.progress.finished()
            job.verdict = event.results
        case JobFailed():
            job.progress = job.progress.at(event.fraction)
            job.exception = _exception(event.error)
        case StopRequested() | JobStopping() | Annotated() | JobRemoved() | JobErased():
            pass
    job.phase = LEADS_TO.get(type(event), job.phase)
    return job


def _exception(error: Any) -> Code:
    """The code in a worker's error."""
    for said in (error.get("code"), error.get("exception")) if isinstance(error, dict) else (error,):
        if isinstance(said, str) and 0 < len(said) <= _LONGEST_CODE:
            return said
        if isinstance(said, int | float) and not isinstance(said, bool):
            return said
    return FAILED


# -- Answer -------------------------------------------------------------------------------------------------------


def show(job: Job, audience: Audience, at: datetime) -> bytes:
    """The job as JSON."""
    return _shown(job, f"/1/jobs/{dashed(job.uid)}")


def accepted(job: Job, audience: Audience, at: datetime) -> Reply:
    """The answer to a request that started a job. It names the job's other address, as the page's example does."""
    return Reply(200, _shown(job, f"/api/1/job/{dashed(job.uid)}"))


def location(number: int, uid: str, audience: Audience) -> str:
    """Where a job is asked for."""
    return f"{audience.url}/1/jobs/{dashed(uid)}"


def _shown(job: Job, link: str) -> bytes:
    """The job, found at `link`, which the vendor's page and its client read under different names."""
    fraction = job.progress.as_fraction() or 0
    return json(
        {
            "job": {
                "uid": dashed(job.uid),
                "progress": plain(fraction),
                "status": STATUSES[job.phase],
                "exception": job.exception,
                "results": _results(job),
                "retry_after": WAIT,
                "status_url": link,
                "status_uri": link,
            }
        }
    )


def _results(job: Job) -> dict[str, Any] | None:
    """What came of the job, as an object whatever the worker said: the client takes nothing else."""
    if isinstance(job.verdict, dict):
        return job.verdict
    if job.verdict is not None:
        return {"results": job.verdict}
    made = {"results": job.results.all, "outputs": job.outputs.all}
    return {name: items for name, items in made.items() if items} or None


_FAILURES: Final = {
    "bad-request": (400, "invalid_parameter"),
    "unauthorized": (401, "invalid_token"),
    "forbidden": (403, "access_denied"),
    "not-found": (404, "invalid_resource"),
    "method-not-allowed": (405, "invalid_request"),
    "timeout": (408, "invalid_request"),
    "refused": (400, "invalid_request"),
    "taken": (400, "file_exists"),
    "version-differs": (400, "invalid_request"),
    "too-large": (413, "invalid_request"),
    "unsupported-media-type": (415, "invalid_request"),
    "malformed": (400, "invalid_parameter"),
    "throttled": (503, "temporarily_unavailable"),
    "unavailable": (503, "temporarily_unavailable"),
    "internal": (500, "server_error"),
}


def fail(failure: Failure) -> Reply:
    """A failure: a code, and what it means here."""
    status, code = _FAILURES[failure.name]
    detail = "the folder has a file of this title, or will; overwrite it?" if code == "file_exists" else failure.detail
    return Reply(
        status,
        json({"error": failure.code or code, "error_description": detail}),
        failure.headers(status, 'Bearer realm="Roambi API"', waits=()),
    )


# -- Request ------------------------------------------------------------------------------------------------------

_LONGEST: Final = 500  # characters of a parameter


def _publication(asked: Asked, audience: Audience) -> New:
    """A request to publish, of which an account has one at a time for a title in a folder, unless it overwrites."""
    if asked.path["owner"] != audience.account:
        raise Failure("forbidden", "this token is not for that account")
    body = {} if asked.body is None else asked.body
    if not isinstance(body, dict):
        raise _invalid("", "send an object")
    for name in ("template_uid", "source_file_uid"):
        _text(body, name)
    file = [_text(body, "folder_uid", "directory_uid"), _text(body, "title")]
    match body.get("overwrite"):
        case True | "true":
            overwrite = True
        case None | False | "false":
            overwrite = False
        case _:
            raise _invalid("overwrite", "overwrite must be true or false")
    kind = "analytics.publish"
    return New(kind=kind, args=body, claim=json([kind, *file]).decode(), exclusive=not overwrite)


def _text(body: Mapping[str, Any], *names: str) -> str:
    """The text under the first of these names that is there. Raises Failure."""
    name, text = next(((name, body[name]) for name in names if body.get(name) is not None), (names[0], None))
    if text is None:
        raise Failure("malformed", f"{name} is missing", fields={name: ["is missing"]}, code="missing_parameter")
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST:
        raise _invalid(name, f"{name} must be a text of 1 to {_LONGEST} characters")
    return text


def _invalid(name: str, detail: str) -> Failure:
    return Failure("malformed", detail, fields={name: [detail]})


_LINK: Final = {"type": "string", "format": "uri-reference"}
_PARAMETER: Final = {"type": "string", "minLength": 1, "maxLength": _LONGEST}

SCHEMA: Final = of(
    job=of(
        uid={"type": "string", "format": "uuid"},
        progress={"type": "number", "minimum": 0, "maximum": 1},
        status=one_of(*dict.fromkeys(STATUSES.values())),
        exception={"type": ["number", "string", "null"]},
        results={"type": ["object", "null"]},
        retry_after={"type": "integer", "minimum": 0},
        status_url=_LINK,
        status_uri=_LINK,
    )
)

FORMAT: Final = Format(
    projection=Projection(name="roambi", revision=1, view=Job, evolve=evolve, show=show),
    calls=(
        Poll(
            method="GET", paths=("/1/jobs/{id}", "/api/1/job/{id}"), summary="A job's status", answers=SCHEMA,
            refusals=(404,),
        ),
        Starter(
            method="POST", paths=("/1/accounts/{owner}/files/analytics",), summary="Publish an analytics file",
            read=_publication, reply=accepted, answers=SCHEMA,
            takes={
                "type": "object",
                "properties": {
                    "title": _PARAMETER, "template_uid": _PARAMETER, "source_file_uid": _PARAMETER,
                    "folder_uid": _PARAMETER, "directory_uid": _PARAMETER,
                    "overwrite": {"type": "boolean", "default": False},
                },
                "required": ["title", "template_uid", "source_file_uid"],
                "anyOf": [{"required": ["folder_uid"]}, {"required": ["directory_uid"]}],
            },
        ),
    ),
    fail=fail,
    prefixes=("/1/", "/api/1/"),
    identify=uid,
    location=location,
    schema=SCHEMA,
    failure=of(
        error=one_of("missing_parameter", *dict.fromkeys(code for _, code in _FAILURES.values())),
        error_description={"type": "string"},
    ),
)  # fmt: skip
