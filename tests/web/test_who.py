"""Given a write, when it is read back, then it says who asked, and by which name the request can be found elsewhere."""

from typing import Any

import pytest

from tests.conftest import Client
from tests.web.wire import NDJSON, key_of

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{ID}-00f067aa0ba902b7-01"
STARTED = {"type": "started"}


async def told(client: Client, job: int = 1) -> dict[str, Any]:
    """The job's last event."""
    event: dict[str, Any] = (await (await client.ask("GET", f"/jobs/{job}/events")).json())["events"][-1]
    return event


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        ({}, None),
        ({"traceparent": PARENT}, f"trace {ID}"),
        ({"traceparent": f"01-{ID}-00f067aa0ba902b7-00-more"}, f"trace {ID}"),
        ({"X-Request-Id": "req/7"}, "request req/7"),
        ({"X-Request-Id": "r" * 200}, f"request {'r' * 200}"),
        ({"traceparent": PARENT, "X-Request-Id": "r"}, f"trace {ID}"),
        ({"traceparent": PARENT, "Idempotency-Key": "k"}, "k"),
        ({"traceparent": "nonsense", "X-Request-Id": "r"}, "request r"),
        ({"traceparent": PARENT.upper()}, None),
        ({"traceparent": f"ff-{ID}-00f067aa0ba902b7-01"}, None),
        ({"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}, None),
        ({"traceparent": f"00-{ID}-{'0' * 16}-01"}, None),
        ({"X-Request-Id": "two words"}, None),
        ({"X-Request-Id": "r" * 201}, None),
        ({"X-Request-Id": ""}, None),
    ],
)
async def test_a_request_is_known_by_its_key_or_else_by_its_trace_or_else_by_its_id(
    client: Client, headers: dict[str, str], trace: str | None
) -> None:
    await client.ask("POST", "/jobs", json={"kind": "x"}, headers=headers)
    assert (await told(client)).get("trace") == trace
    answer = await client.ask("POST", "/jobs/1/events", json=STARTED, headers={**headers, "Idempotency-Key": "other"})
    assert (await told(client))["trace"] == "other"
    assert (await answer.json())["events"] == [await told(client)]


async def test_a_vendors_write_and_a_line_of_many_are_traced_like_any(client: Client) -> None:
    traced = {"traceparent": PARENT}
    await client.ask("PUT", "/v1/metrics", json={"names": ["a"]}, headers=traced)
    assert (await told(client))["trace"] == f"trace {ID}"
    lines = b'{"job": 1, "type": "started"}\n{"job": 1, "type": "annotated", "note": "x", "idempotency_key": "k"}\n'
    await client.ask("POST", "/events", data=lines, headers={**traced, "Content-Type": NDJSON})
    events = (await (await client.ask("GET", "/jobs/1/events")).json())["events"]
    assert [event["trace"] for event in events[1:]] == [f"trace {ID}", "k"]
    await client.ask("DELETE", "/acme/api/jobs/1", headers=traced)
    assert ((await told(client))["type"], (await told(client))["trace"]) == ("stop_requested", f"trace {ID}")
    await client.report(1, {"type": "cancelled"})
    await client.ask("DELETE", "/api/jobs", headers=traced)
    assert ((await told(client))["type"], (await told(client))["trace"]) == ("removed", f"trace {ID}")


async def test_a_trace_is_never_taken_for_an_idempotency_key(client: Client) -> None:
    headers = {"X-Request-Id": "k", "traceparent": PARENT}
    for number in (1, 2):
        response = await client.ask("POST", "/jobs", json={"kind": "x"}, headers=headers)
        assert (response.status, "Idempotency-Replayed" in response.headers) == (202, False)
        assert (await response.json())["number"] == number
    for key in ("k", ID):
        response = await client.ask("POST", "/jobs/1/events", json=STARTED, headers={"Idempotency-Key": key})
        assert "Idempotency-Replayed" not in response.headers
    for key in (f"trace {ID}", "request k"):
        response = await client.ask("POST", "/jobs/1/events", json=STARTED, headers={"Idempotency-Key": key})
        assert response.status == 400, "no key has a space"


async def test_every_event_names_the_key_that_said_it(client: Client) -> None:
    job = await client.submit()
    key = await key_of(client)
    assert (await told(client))["by"] == f"acme/{key.split('_')[1]}"
    id = (await (await client.ask("GET", f"/jobs/{job}?format=virtool")).json())["id"]
    own = (await (await client.ask("PATCH", f"/api/jobs/{id}", json={"acquired": True})).json())["key"]
    headers = {"Authorization": f"Bearer {own}"}
    said = {"state": "running", "stage": "s", "progress": 10}
    pushed = await client.ask("POST", f"/api/jobs/{id}/status", json=said, headers=headers)
    assert pushed.status == 200
    assert (await told(client))["by"] == f"acme/job-1-{own.split('_')[1]}"
