"""Given the description of the interface, when the server answers, then it answers as described."""

import json
import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate

from jobstore.formats import FORMATS
from jobstore.formats.contract import Format
from jobstore.job.projection import ANYBODY
from jobstore.web.app import ROUTES
from jobstore.web.openapi import describe
from tests.conftest import Client
from tests.web.mistakes import JSON, MISTAKES
from tests.web.wire import NDJSON, exchange

EVENTS: list[dict[str, Any]] = [
    {"type": "starting", "stage": "fetch", "message": None},
    {"type": "started"},
    {"type": "progressed", "fraction": 1},
    {"type": "progressed", "done": 3, "total": 4},
    {"type": "output_produced", "output": {"rows": 3}, "key": "a"},
    {"type": "output_produced", "output": None},
    {"type": "result_recorded", "result": "text"},
    {"type": "annotated", "note": "x", "data": {"a": [1, None]}},
    {"type": "retry_scheduled", "delay": 1.5, "error": "again"},
    {"type": "started"},
    {"type": "stop_requested", "reason": "enough"},
    {"type": "stopping"},
    {"type": "failed", "error": {"code": 7}},
]


def checker(schema: dict[str, Any]) -> Draft202012Validator:
    """Checks values against a schema that may refer to the document's components."""
    return Draft202012Validator({**schema, "components": describe()["components"]}, format_checker=FormatChecker())


def calls() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, calls in describe()["paths"].items():
        for method, call in calls.items():
            if method != "parameters":
                yield method.upper(), path, call


async def test_the_document_is_served_and_valid(client: Client) -> None:
    response = await client.http.request("GET", "/openapi.json")
    assert response.content_type == "application/json"
    document = await response.json()
    assert document == describe()
    validate(document)


def test_every_route_is_described_and_nothing_else() -> None:
    assert {(method, path) for method, path, _ in calls()} == {(route.method, route.path) for route in ROUTES}
    ids = [call["operationId"] for _, _, call in calls()]
    assert len(ids) == len(set(ids))


async def _live(client: Client) -> None:
    """Two jobs: one that had all kinds of events, and one that has just been made."""
    assert (await client.report(await client.submit(total=4, user="ann", args={"a": 1}), *EVENTS)).status == 200
    await client.submit()


async def _spelled(client: Client, path: str, format: Format[Any] | None, number: int) -> str:
    """The path for a job of acme's, by the id that it has in the format; None is the native one."""
    id = str(number)
    if format is not None:
        uid = (await (await client.ask("GET", f"/jobs/{number}")).json())["id"]
        id = format.location(number, uid, ANYBODY).rsplit("/", 1)[1].removesuffix(".json")
    return re.sub(r"\{\w+\}", "1", path.replace("{id}", id).replace("{account}", "acme"))


async def test_every_get_answers_as_described(client: Client) -> None:
    await _live(client)
    for method, path, call in calls():
        if method != "GET" or "tags" in call:  # a vendor's, which tests/vendors/test_described.py asks
            continue
        format = FORMATS.get(call.get("tags", ["native"])[0])
        for number in (1, 2):
            response = await client.ask("GET", await _spelled(client, path, format, number))
            # A vendor's call may need more than its address; what it then says is described as well.
            assert response.status == 200 or (format is not None and response.status < 500), path
            answer = call["responses"][str(response.status)]
            assert response.content_type in answer["content"], path
            schema = answer["content"][response.content_type].get("schema")
            if schema is not None and response.content_type == "application/json":
                checker(schema).validate(await response.json())
            for header in answer.get("headers", {}):
                assert header in response.headers, (path, header)
        described = call["responses"]["200"]["content"]
        if NDJSON in described:
            response = await client.ask("GET", path.replace("{id}", "1"), headers={"Accept": NDJSON})
            assert response.content_type == NDJSON
            for line in (await response.text()).splitlines():
                checker({"$ref": "#/components/schemas/Event"}).validate(json.loads(line))


async def test_every_field_of_a_job_and_of_an_event_is_described(client: Client) -> None:
    await _live(client)
    schemas = describe()["components"]["schemas"]
    assert set(await (await client.ask("GET", "/jobs/1")).json()) == set(schemas["Job"]["properties"])
    note = {"type": "annotated", "note": "traced"}
    told = await client.ask("POST", "/jobs/1/events", json=note, headers={"X-Request-Id": "r"})
    (event,) = (await told.json())["events"]
    assert set(event) == set(schemas["Event"]["properties"])


async def test_every_post_takes_and_answers_what_is_described(client: Client) -> None:
    described = {(method, path): call for method, path, call in calls()}
    submit, report = described["POST", "/jobs"], described["POST", "/jobs/{id}/events"]
    taken = {id: checker(call["requestBody"]["content"]["application/json"]["schema"])
             for id, call in (("submit", submit), ("report", report))}  # fmt: skip
    for body in ({"kind": "x"}, {"kind": "x", "args": {"a": 1}, "format": "native", "total": 4, "user": None}):
        taken["submit"].validate(body)
        response = await client.ask("POST", "/jobs", json=body)
        answer = submit["responses"]["202"]
        checker(answer["content"]["application/json"]["schema"]).validate(await response.json())
        assert all(header in response.headers for header in answer["headers"])
    answer = report["responses"]["200"]
    sent: list[Any] = [*EVENTS[:3], EVENTS[3:-1], EVENTS[-1], [{"type": "removed"}]]
    for events in sent:
        taken["report"].validate(events)
        response = await client.ask("POST", "/jobs/1/events", json=events)
        assert response.status == 200, events
        checker(answer["content"]["application/json"]["schema"]).validate(await response.json())
        assert all(header in response.headers for header in answer["headers"])


MET = {(line.split("?")[0], status) for line, _, _, status in MISTAKES if status != 405}
MET |= {
    ("POST /jobs", 408),
    ("POST /jobs/1/events", 408),
    ("GET /jobs/1", 304),
    ("GET /jobs/1", 410),
    ("GET /jobs", 401),
}
MET |= {("POST /jobs", 403), ("POST /events", 403), ("POST /events", 415), ("POST /jobs/1/events", 412)}


def test_every_failure_that_a_client_may_meet_is_described() -> None:
    missing = set()
    for line, status in MET:
        method, _, path = line.partition(" ")
        words = path.split("/")
        for known_method, known, call in calls():
            parts = known.split("/")
            if known_method != method or len(parts) != len(words) or "" in words[1:]:
                continue
            if all(part in ("{id}", word) for part, word in zip(parts, words, strict=True)):
                described = call["responses"].get(str(status), {"content": {}})
                schema = described.get("content", {}).get("application/problem+json", {}).get("schema")
                if schema != {"$ref": "#/components/schemas/Problem"} and not (status == 304 and described):
                    missing.add(f"{status} of {method} {known}")
    assert missing == set()


async def test_what_the_description_forbids_is_refused_and_a_problem_is_as_described(client: Client) -> None:
    await client.report(await client.submit(), {"type": "started"})
    problem = checker({"$ref": "#/components/schemas/Problem"})
    schemas = {
        f"{method} {path}": call["requestBody"]["content"]["application/json"]["schema"]
        for method, path, call in calls()
        if "application/json" in call.get("requestBody", {}).get("content", {})
    }
    forbidden = 0
    for line, headers, body, status in MISTAKES:
        schema = schemas.get(line.replace("/1/", "/{id}/"))
        if schema is None or status != 422 or headers != JSON or len(body) > 1000:
            continue
        forbidden += not checker(schema).is_valid(json.loads(body))
        told, _, answer = await exchange(client, line, headers, body)
        if told == status:
            problem.validate(json.loads(answer))
    assert forbidden > 30
