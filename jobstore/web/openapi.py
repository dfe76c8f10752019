"""Knows how the native calls are described to programs (OpenAPI 3.1): bodies from the types that parse them.

The vendors' are described in `described`.
"""

from functools import cache
from typing import Any, Final, get_args

import msgspec
import orjson
from aiohttp import web

from jobstore import __version__
from jobstore.formats import PROJECTIONS, native
from jobstore.job.commands import Report
from jobstore.job.decider import LEADS_TO
from jobstore.store.history import PAGE
from jobstore.web import described
from jobstore.web.problems import MEDIA_TYPE

_REF: Final = "#/components/schemas/{name}"
_TIME: Final = {"type": ["string", "null"], "format": "date-time"}
_PHASES: Final = sorted(set(LEADS_TO.values()))


async def document(request: web.Request) -> web.Response:
    """GET /openapi.json"""
    return web.Response(body=_encoded(), content_type="application/json")


@cache
def _encoded() -> bytes:
    return orjson.dumps(describe())


def describe() -> dict[str, Any]:
    """The document."""
    reports, submission = get_args(Report), native.Submission
    _, schemas = msgspec.json.schema_components((*reports, submission), ref_template=_REF)
    schemas |= {
        "Report": {
            "oneOf": [_ref(report.__name__) for report in reports],
            "discriminator": {
                "propertyName": "type",
                "mapping": {
                    report.__struct_config__.tag: f"#/components/schemas/{report.__name__}" for report in reports
                },
            },
        },
        "Job": _job(),
        "Event": _event(),
        "Problem": {
            "type": "object",
            "description": "RFC 9457",
            "properties": {name: {"type": "string"} for name in ("type", "title", "detail")}
            | {"status": {"type": "integer"}},
            "required": ["type", "title", "status", "detail"],
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jobstore",
            "version": __version__,
            "description": "A job's history is the truth: append events, poll views, replay the past.",
        },
        "security": [{"bearer": []}, {"basic": []}],
        "paths": _paths() | described.paths(),
        "components": {
            "schemas": schemas | described.schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "The key is the password."},
            },
        },
    }


def _paths() -> dict[str, Any]:
    report = _ref("Report")
    job_id = {
        "name": "id", "in": "path", "required": True, "schema": {"type": "string"},
        "description": "The job's number or uid",
    }  # fmt: skip
    in_format = _query("format", {"type": "string", "enum": list(PROJECTIONS), "default": "native"})
    limit = _query("limit", {"type": "integer", "minimum": 1, "maximum": PAGE, "default": 100})
    at = _query("at", {"type": "string"}, "A position or a time of the past: the answer is what it was then")
    repeat = _header(
        "Idempotency-Key", {"type": "string", "maxLength": 255}, "The same key twice gives the first answer"
    )
    job = _answer("The job", _ref("Job"), etag=True)
    events = _answer(
        "Events in order", _object(events=_array(_ref("Event")), next={"type": ["string", "integer", "null"]})
    )
    events["content"]["application/x-ndjson"] = {"schema": {"type": "string"}}
    return {
        "/jobs": {
            "post": _call(
                "submit", "Make a job", {"202": {**job, "headers": {**job["headers"], "Location": _string_header()}}},
                (408, 409, 413, 415, 422), [repeat], _ref("Submission"),
            ),
            "get": _call(
                "list", "Jobs, newest first",
                {"200": _answer("A page", _object(jobs=_array(_ref("Job")), next={"type": ["string", "null"]}))},
                (412, 422),
                [
                    _query("state", {"type": "string", "enum": _PHASES}),
                    _query("kind", {"type": "string"}),
                    _query("user", {"type": "string"}),
                    in_format,
                    at,
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
                    _query("cursor", {"type": "string"}),
                ],
            ),
        },
        "/jobs/{id}": {
            "parameters": [job_id],
            "get": _call(
                "poll", "A job as it is, or was", {"200": job, "304": {"description": "As the client knows it"}},
                (404, 410, 412, 422),
                [
                    in_format,
                    at,
                    _query("after", {"type": "integer"}, "Never answer from before that position"),
                    _header("If-None-Match", {"type": "string"}, "The version that the client knows"),
                    _header("Prefer", {"type": "string"}, "wait=SECONDS, with If-None-Match: wait for a change"),
                ],
            ),
        },
        "/jobs/{id}/events": {
            "parameters": [job_id],
            "post": _call(
                "report", "Record one event, or several as a whole",
                {"200": _answer("What came of it", _object(events=_array(_ref("Event")), job=_ref("Job")), etag=True)},
                (404, 408, 409, 412, 413, 415, 422),
                [repeat, _header("If-Match", {"type": "string"}, "The version that the job must be at")],
                {"oneOf": [report, {"type": "array", "items": report, "minItems": 1}]},
            ),
            "get": _call(
                "history", "What was recorded of a job", {"200": events}, (404, 422),
                [_query("after", {"type": "integer"}, "A version"), limit],
            ),
        },
        "/events": {
            "post": {
                **_call("bulk", "Record many events, a line each", {"200": {
                    "description": "A line a line, in order",
                    "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
                }}, (415,)),
                "requestBody": {"required": True, "content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
            },
            "get": _call(
                "log", "The account's log", {"200": events}, (422,),
                [_query("after", {"type": "integer"}, "A position"), limit],
            ),
        },
        "/healthz": {"get": _open_call("healthz", "Whether the process answers")},
        "/readyz": {"get": _open_call("readyz", "Whether Postgres answers too")},
        "/metrics": {"get": _open_call("metrics", "Counters, for Prometheus", "text/plain")},
        "/openapi.json": {"get": _open_call("openapi", "This document")},
    }  # fmt: skip


def _call(
    id: str,
    summary: str,
    answers: dict[str, Any],
    refusals: tuple[int, ...],
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    problem = {"description": "A problem", "content": {MEDIA_TYPE: {"schema": _ref("Problem")}}}
    call: dict[str, Any] = {
        "operationId": id,
        "summary": summary,
        "responses": answers | {str(status): problem for status in (400, 401, 403, *refusals, 429, 503)},
    }
    if parameters:
        call["parameters"] = parameters
    if body is not None:
        call["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return call


def _open_call(id: str, summary: str, media_type: str = "application/json") -> dict[str, Any]:
    answers = {"200": {"description": summary, "content": {media_type: {}}}}
    return {"operationId": id, "summary": summary, "security": [], "responses": answers}


def _answer(description: str, schema: dict[str, Any], *, etag: bool = False) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": schema}}}
    if etag:
        answer["headers"] = {"ETag": _string_header(), "Jobstore-Position": _string_header()}
    return answer


def _string_header() -> dict[str, Any]:
    return {"schema": {"type": "string"}}


def _query(name: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, **({"description": description} if description else {})}


def _header(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": schema, "description": description}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": _REF.format(name=name)}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _job() -> dict[str, Any]:
    text, null_text, count = {"type": "string"}, {"type": ["string", "null"]}, {"type": "integer", "minimum": 1}
    fraction = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
    tasks = {"type": ["integer", "null"], "minimum": 0}
    return _object(
        id=text, number=count, kind=text, args={"type": "object"}, state={"type": "string", "enum": _PHASES},
        progress=_object(fraction=fraction, done=tasks, total=tasks),
        stage=null_text, message=null_text, outputs=_array({}), results={}, errors=_array({}), user=null_text,
        extra={"type": "object"},
        created_at={"type": "string", "format": "date-time"}, started_at=_TIME,
        updated_at={"type": "string", "format": "date-time"}, ended_at=_TIME, version=count, position=count,
    )  # fmt: skip


def _event() -> dict[str, Any]:
    count = {"type": "integer", "minimum": 1}
    event = _object(
        position=count, job=count, version=count, type={"type": "string"},
        at={"type": "string", "format": "date-time"}, data={"type": "object"}, by={"type": "string"},
    )  # fmt: skip
    event["properties"]["trace"] = {
        "type": "string",
        "description": "The request that said it: its idempotency key, `trace ID` or `request ID`, if it had one",
    }
    return event
