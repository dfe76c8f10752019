"""Given an idempotency key, when a request comes again, then it is answered as the first time and does nothing."""

import asyncio
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from jobstore.store import Store
from jobstore.web.app import application
from tests.conftest import AsServed, Client
from tests.web.wire import head, key_of

KEY = {"Idempotency-Key": "3f1c"}
STARTED: dict[str, Any] = {"type": "started"}
NOTE: dict[str, Any] = {"type": "annotated", "note": "later"}


async def told(response: Any) -> tuple[int, bytes, dict[str, str]]:
    """What a client can tell of an answer, apart from whether it was a repetition."""
    headers = {k: v for k, v in response.headers.items() if k not in ("Date", "Idempotency-Replayed")}
    return response.status, await response.read(), headers


@pytest.mark.parametrize(
    "events",
    [
        STARTED,
        [STARTED, {"type": "progressed", "fraction": 0.1 + 0.2, "message": "ü"}, NOTE],
        [STARTED, {"type": "completed", "results": {"b": 1e22, "a": [18446744073709551615, -0.0]}}],
    ],
)
async def test_a_report_that_comes_again_gets_the_first_answer(client: Client, events: Any) -> None:
    job = await client.submit()
    first = await client.ask("POST", f"/jobs/{job}/events", json=events, headers=KEY)
    assert "Idempotency-Replayed" not in first.headers
    await client.report(job, {"type": "annotated", "note": "something else"})
    ended = await head(client)
    for _ in range(2):
        again = await client.ask("POST", f"/jobs/{job}/events", json=events, headers=KEY)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert await told(again) == await told(first)
    assert await head(client) == ended


async def test_a_report_that_added_nothing_is_repeated_as_such(client: Client) -> None:
    job = await client.submit()
    await client.report(job, STARTED)
    first = await client.ask("POST", f"/jobs/{job}/events", json=STARTED, headers=KEY)
    assert (await first.json())["events"] == []
    await client.report(job, {"type": "retry_scheduled"})
    again = await client.ask("POST", f"/jobs/{job}/events", json=STARTED, headers=KEY)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await told(again) == await told(first)
    assert (await (await client.ask("GET", f"/jobs/{job}")).json())["state"] == "queued", "it was not started again"


async def test_a_submission_that_comes_again_makes_no_second_job(client: Client) -> None:
    first = await client.ask("POST", "/jobs", json={"kind": "x", "total": 3}, headers=KEY)
    await client.report(1, STARTED)
    again = await client.ask("POST", "/jobs", json={"kind": "x", "total": 3}, headers=KEY)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await told(again) == await told(first)
    assert again.headers["Location"] == "/jobs/1"
    assert len((await (await client.ask("GET", "/jobs")).json())["jobs"]) == 1


async def test_the_same_submission_at_the_same_time_makes_one_job(client: Client) -> None:
    await key_of(client)
    responses = await asyncio.gather(*(client.ask("POST", "/jobs", json={"kind": "x"}, headers=KEY) for _ in range(20)))
    assert len({await response.read() for response in responses}) == 1
    assert sum("Idempotency-Replayed" in response.headers for response in responses) == 19
    assert await head(client) == 1


async def test_a_key_belongs_to_one_request(client: Client) -> None:
    job, other = await client.submit(), await client.submit()
    await client.ask("POST", f"/jobs/{job}/events", json=STARTED, headers=KEY)
    for path, body in (
        (f"/jobs/{job}/events", NOTE),
        (f"/jobs/{job}/events", [STARTED]),
        (f"/jobs/{other}/events", STARTED),
        ("/jobs", {"kind": "x"}),
    ):
        response = await client.ask("POST", path, json=body, headers=KEY)
        assert response.status == 422, path
        assert (await response.json())["type"] == "urn:jobstore:problem:key-reused"
    assert await head(client) == 3
    theirs = await client.ask("POST", "/jobs", account="rival", json={"kind": "x"}, headers=KEY)
    assert theirs.status == 202, "another account's keys are its own"


async def test_a_repetition_is_answered_even_where_the_request_would_now_be_refused(client: Client) -> None:
    job = await client.submit()
    first = await client.ask("POST", f"/jobs/{job}/events", json=STARTED, headers=KEY | {"If-Match": '"1"'})
    assert first.status == 200
    await client.report(job, {"type": "failed"}, {"type": "removed"})
    again = await client.ask("POST", f"/jobs/{job}/events", json=STARTED, headers=KEY | {"If-Match": '"1"'})
    assert await told(again) == await told(first)


async def test_a_repetition_may_come_to_another_node(client: Client, dsn: str) -> None:
    first = await client.ask("POST", "/jobs", json={"kind": "x"}, headers=KEY)
    started = await client.ask("POST", "/jobs/1/events", json=STARTED, headers={"Idempotency-Key": "b"})
    async with Store(dsn) as store, TestClient(AsServed(application(store))) as http:
        second = Client(http, store)
        second.keys = client.keys
        assert (await second.report(1, NOTE)).status == 200  # so that it knows the account before it is asked
        again = await second.ask("POST", "/jobs", json={"kind": "x"}, headers=KEY)
        assert await told(again) == await told(first)
        again = await second.ask("POST", "/jobs/1/events", json=STARTED, headers={"Idempotency-Key": "b"})
        assert await told(again) == await told(started)
    assert await head(client) == 3


async def test_the_answer_is_of_the_request_even_where_others_report_at_the_same_time(client: Client, dsn: str) -> None:
    job = await client.submit()
    await client.report(job, STARTED)
    async with Store(dsn) as store, TestClient(AsServed(application(store))) as http:
        fresh = Client(http, store)  # a node that has not folded the job yet
        fresh.keys = client.keys
        await fresh.ask("GET", "/jobs?limit=1&kind=nothing")
        first, *_ = await asyncio.gather(
            *(
                fresh.ask("POST", f"/jobs/{job}/events", json={"type": "annotated", "note": key},
                          headers={"Idempotency-Key": key})
                for key in "abcdefgh"
            )
        )  # fmt: skip
        (event,) = (await first.json())["events"]
        assert (await first.json())["job"]["version"] == event["version"]
        assert first.headers["Jobstore-Position"] == str(event["position"])
        assert first.headers["ETag"] == f'"{event["version"]}"'
        again = await fresh.ask(
            "POST", f"/jobs/{job}/events", json={"type": "annotated", "note": "a"}, headers={"Idempotency-Key": "a"}
        )
        assert await told(again) == await told(first)
