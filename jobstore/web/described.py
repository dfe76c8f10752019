"""Knows how the vendors' calls are described to programs (OpenAPI 3.1): from the same values that are carried out."""

import re
from http import HTTPStatus
from typing import Any, Final

from jobstore.formats import FORMATS
from jobstore.formats.contract import Call, Failure, Format, Index, Limits, Poll, Several

_NAMES: Final = re.compile(r"\{(\w+)\}")
_ANY: Final = ("bad-request", "unauthorized", "forbidden", "throttled", "unavailable")  # may come of every call
_WITH_A_BODY: Final = ("timeout", "too-large", "unsupported-media-type", "malformed")
_AT: Final = {
    "name": "at",
    "in": "query",
    "schema": {"type": "string"},
    "description": "A position, or a time of the past: the answer is what it was then",
}
_MEANS: Final = {
    "id": "The job's id, as this vendor writes it",
    "account": "The key's account",
    "owner": "The key's account",
}


def schemas() -> dict[str, Any]:
    """What a job and a failure are, format by format."""
    return {
        f"{format.name}.{what}": schema
        for format in FORMATS.values()
        for what, schema in (("job", format.schema), ("failure", format.failure))
    }


def paths() -> dict[str, dict[str, Any]]:
    """Every address of every format, with its calls."""
    described: dict[str, dict[str, Any]] = {}
    for format in FORMATS.values():
        for number, call in enumerate(format.calls, 1):
            for spelling, path in enumerate(call.paths, 1):
                operation = f"{format.name}.{number}" + (f".{spelling}" if spelling > 1 else "")
                described.setdefault(path, {})[call.method.lower()] = _call(format, call, path, operation)
    return described


def _call(format: Format[Any], call: Call[Any], path: str, operation: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(call.status).phrase}
    schema = call.answers
    if schema is not None:
        shown = {"$ref": f"#/components/schemas/{format.name}.job"} if schema is format.schema else schema
        answer["content"] = {"application/json": {"schema": shown}}
    failure = {
        "description": "What went wrong",
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{format.name}.failure"}}},
    }
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "description": _MEANS.get(name, name),
        }
        for name in _NAMES.findall(path)
    ] + [{"name": name, "in": "query", "schema": schema} for name, schema in call.query.items()]
    if isinstance(call, Poll | Index | Several):
        parameters.append(_AT)
    bare = isinstance(call, Poll) and call.reply is None
    met = _ANY if isinstance(call, Limits) else (*_ANY, "malformed") if bare else _ANY + _WITH_A_BODY
    refusals = {*call.refusals, *(format.fail(Failure(name, "")).status for name in met)}
    described: dict[str, Any] = {
        "operationId": operation,
        "summary": call.summary,
        "tags": [format.name],
        "responses": {str(status): answer for status in (call.status, *call.later)}
        | {str(status): failure for status in sorted(refusals)},
    }
    if parameters:
        described["parameters"] = parameters
    if call.takes is not None:
        media = ("application/json", "application/x-www-form-urlencoded")
        described["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": call.takes} for kind in media},
        }
    return described
