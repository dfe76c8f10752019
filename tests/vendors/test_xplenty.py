"""Xplenty's calls, as its clients make them."""

from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import pytest

from jobstore.formats.xplenty import UNLIMITED
from jobstore.store import Store
from tests.conftest import Client
from tests.vendors.conftest import Clock, reached_at

URL = "https://api.xplenty.com"
JOBS = "/acme/api/jobs"
RUN = {"cluster_id": 52, "package_id": 434}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NOT_FOUND = {"message": "Item not found."}


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    async with reached_at(store, URL) as client:
        yield client


async def told(client: Client, method: str, path: str, status: int = 200, **asked: Any) -> Any:
    """The body of an answer with that status."""
    response = await client.ask(method, path, **asked)
    assert response.status == status, await response.text()
    assert response.headers["Content-Type"] == "application/json"
    return await response.json()


async def ids(client: Client, **query: Any) -> list[int]:
    """The jobs that a list shows."""
    return [job["id"] for job in await told(client, "GET", f"{JOBS}?{urlencode(query)}")]


# -- Running ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"json": RUN | {"variables": {"a": "1"}}},
        {"json": {"job": RUN | {"variables": {"a": "1"}}}},
        {"json": {"cluster_id": "52", "package_id": "434", "variables": {"a": "1"}, "dynamic_variables": {}}},
        {"data": b"job[cluster_id]=52&job[package_id]=434&job[variables][a]=1", "headers": FORM},
        {"data": b"cluster_id=52&package_id=434&variables[a]=1", "headers": FORM},
        {"data": b'{"cluster_id": 52, "package_id": 434, "variables": {"a": "1"}}', "headers": FORM},
        {"params": {"job[cluster_id]": "52", "job[package_id]": "434", "job[variables][a]": "1"}},
        {"params": {"job[cluster_id]": "52", "job[package_id]": "434", "job[variables][a]": "1"}, "data": b""},
    ],
)
async def test_a_run_is_asked_for_in_every_way(client: Client, asked: dict[str, Any]) -> None:
    response = await client.ask("POST", JOBS, **asked)
    assert response.status == 201, await response.text()
    assert "Location" not in response.headers
    job = await response.json()
    assert job == {
        "id": 1, "status": "idle", "variables": {"a": "1"}, "owner_id": None, "progress": 0, "outputs_count": 0,
        "outputs": [], "started_at": None, "created_at": "2026-01-31T12:00:00Z", "failed_at": None,
        "updated_at": "2026-01-31T12:00:00Z", "cluster_id": 52, "package_id": 434, "errors": "",
        "url": f"{URL}{JOBS}/1", "runtime_in_seconds": 0, "completed_at": None,
    }  # fmt: skip
    assert await told(client, "GET", f"{JOBS}/1") == job
    native = await told(client, "GET", "/jobs/1")
    assert (native["kind"], native["args"]) == ("package.run", RUN | {"variables": {"a": "1"}})


async def test_a_worker_is_told_of_dynamic_variables(client: Client) -> None:
    form = b"job[cluster_id]=5&job[package_id]=4&job[dynamic_variables][now]=CurrentTime()&job[variables][a]=x%20y"
    assert "dynamic_variables" not in await told(client, "POST", JOBS, 201, data=form, headers=FORM)
    args = (await told(client, "GET", "/jobs/1"))["args"]
    dynamic = {"dynamic_variables": {"now": "CurrentTime()"}}
    assert args == {"cluster_id": 5, "package_id": 4, "variables": {"a": "x y"}, **dynamic}


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({}, 422, "cluster_id: is missing"),
        ({"json": {"cluster_id": 1}}, 422, "package_id: is missing"),
        ({"json": RUN | {"variables": [1]}}, 422, "variables: must be an object of names and values"),
        ({"params": {"job[cluster_id]": "1", "job": "2"}}, 422, "job is at odds with the rest of the form"),
        ({"data": b"job[cluster_id]=x", "headers": FORM}, 422, "cluster_id: must be a whole number above 0"),
        ({"data": b"<run/>", "headers": {"Content-Type": "text/xml"}}, 415, "send application/json, not text/xml"),
        ({"data": b"]", "headers": FORM}, 422, "cluster_id: is missing"),
        ({"data": b"\xff", "headers": FORM}, 400, "the form is not UTF-8"),
        ({"data": BytesIO(b" " * 2**21), "headers": FORM}, 413, "the body is larger than this server takes"),
    ],
)
async def test_a_run_is_refused_with_the_field(client: Client, asked: Any, status: int, message: str) -> None:
    assert await told(client, "POST", JOBS, status, **asked) == {"message": message}
    assert await ids(client) == []


# -- Polling ------------------------------------------------------------------------------------------------------


async def test_the_time_a_job_runs_is_that_of_each_poll(client: Client, clock: Clock) -> None:
    await told(client, "POST", JOBS, 201, json=RUN)
    await client.report(1, {"type": "started"})
    for seconds in (0, 1, 2, 3600):
        clock.at = clock.at.replace(hour=12, minute=0, second=0) + timedelta(seconds=seconds)
        assert (await told(client, "GET", f"{JOBS}/1"))["runtime_in_seconds"] == seconds
        assert (await told(client, "GET", JOBS))[0]["runtime_in_seconds"] == seconds
        assert (await told(client, "GET", "/jobs/1?format=xplenty"))["runtime_in_seconds"] == seconds
    await client.report(1, {"type": "completed"})
    clock.at += timedelta(days=1)
    assert (await told(client, "GET", f"{JOBS}/1"))["runtime_in_seconds"] == 3600
    assert (await told(client, "GET", "/jobs/1?format=xplenty&at=2"))["runtime_in_seconds"] == 0


async def test_one_job_is_reported_and_stopped_in_two_dialects(client: Client, clock: Clock) -> None:
    job = await told(client, "POST", "/jobs", 202, json={"kind": "a", "user": "3", "format": "xplenty", "total": 4})
    assert (job["id"], job["owner_id"], job["cluster_id"], job["variables"]) == (1, 3, None, {})
    await client.report(1, {"type": "started"}, {"type": "progressed", "done": 1})
    assert (await told(client, "GET", f"{JOBS}/1"))["progress"] == 0.25
    clock.at += timedelta(seconds=7)
    stopping = await told(client, "DELETE", f"{JOBS}/1")
    assert (stopping["status"], stopping["runtime_in_seconds"]) == ("pending_stoppage", 7)
    assert (await told(client, "GET", "/jobs/1"))["state"] == "stop_requested"
    assert await told(client, "GET", "/v1/jobs/1") == {"id": 1, "state": "working", "progress": 25.0}
    await client.report(1, {"type": "stopping"}, {"type": "cancelled"})
    assert (await told(client, "GET", f"{JOBS}/1"))["status"] == "stopped"
    history = (await told(client, "GET", "/jobs/1/events"))["events"]
    assert [event["type"] for event in history][-3:] == ["stop_requested", "stopping", "cancelled"]


async def test_a_job_is_asked_to_stop_once_and_until_it_ends(client: Client) -> None:
    await told(client, "POST", JOBS, 201, json=RUN)
    for status in ("pending_stoppage", "pending_stoppage"):
        assert (await told(client, "DELETE", f"{JOBS}/1"))["status"] == status
    assert len((await told(client, "GET", "/jobs/1/events"))["events"]) == 2
    await client.report(1, {"type": "stopping"})
    assert (await told(client, "DELETE", f"{JOBS}/1"))["status"] == "stopping"
    for ended in ("completed", "failed", "cancelled"):
        job = await client.submit()
        await client.report(job, {"type": "started"}, {"type": ended})
        refused = await told(client, "DELETE", f"{JOBS}/{job}", 422)
        assert refused == {"message": f"the job is {ended} and cannot be asked to stop any more"}


async def test_an_output_and_its_preview_are_where_the_job_says(client: Client) -> None:
    await told(client, "POST", JOBS, 201, json=RUN)
    await client.report(
        1,
        {"type": "started"},
        {"type": "output_produced", "output": {"name": "n", "preview": ["a\t1", "b\t2"]}},
        {"type": "output_produced", "output": "s3://bucket", "key": "k"},
    )
    outputs = (await told(client, "GET", f"{JOBS}/1"))["outputs"]
    for output, lines in zip(outputs, ("a\t1\nb\t2", ""), strict=True):
        assert await told(client, "GET", output["url"].removeprefix(URL)) == output
        preview = await told(client, "GET", output["preview_url"].removeprefix(URL))
        assert preview == {"preview": lines, "url": output["preview_url"]}
    for unknown in ("3", "0", "k", "01", "9" * 30, "%C3%BC", "1%20"):
        for path in (f"{JOBS}/1/outputs/{unknown}", f"{JOBS}/1/outputs/{unknown}/preview"):
            assert await told(client, "GET", path, 404) == NOT_FOUND


# -- Listing ------------------------------------------------------------------------------------------------------


async def test_a_list_is_filtered_and_ordered(client: Client, clock: Clock) -> None:
    for kind in "abcd":
        clock.at += timedelta(minutes=1)
        await client.submit(kind)
    clock.at += timedelta(minutes=1)
    await client.report(2, {"type": "started"})
    await client.report(3, {"type": "failed"})
    await client.report(4, {"type": "cancelled"}, {"type": "removed"})
    assert await ids(client) == await ids(client, status="all") == [3, 2, 1]
    assert await ids(client, direction="asc") == await ids(client, sort="created", direction="asc") == [1, 2, 3]
    assert await ids(client, sort="updated", direction="desc") == [3, 2, 1]
    await client.report(1, {"type": "annotated", "note": "x"})
    assert await ids(client, sort="updated") == [1, 3, 2]
    assert await ids(client, status="running") == [2]
    assert await ids(client, status="stopped") == []
    assert await ids(client, since="2026-01-31T12:02:00Z") == await ids(client, since="2026-01-31T12:02") == [3, 2]
    assert await ids(client, since="2026-01-31T13:02:00+01:00", direction="asc") == [2, 3]
    assert await ids(client, since="2026-01-31T12:05:00Z", sort="updated") == [1, 3, 2]
    assert await ids(client, since="2030-01-01") == []
    assert await told(client, "GET", f"{JOBS}?status=running") == [await told(client, "GET", f"{JOBS}/2")]


async def test_pages_are_linked_and_keep_what_was_asked(client: Client) -> None:
    for _ in range(5):
        await client.submit()
    for whole in (JOBS, f"{JOBS}?limit=5"):
        assert "Link" not in (await client.ask("GET", whole)).headers
    response = await client.ask("GET", f"{JOBS}?limit=2&direction=asc&x=%3E%0A%C3%BC")
    assert [job["id"] for job in await response.json()] == [1, 2]
    kept = f"{URL}{JOBS}?direction=asc&x=%3E%0A%C3%BC"
    assert response.headers["Link"] == f'<{kept}&offset=2&limit=2>; rel="next"'
    assert response.links["next"]["url"].path_qs.startswith(JOBS)
    response = await client.ask("GET", response.headers["Link"][1:].partition(">")[0].removeprefix(URL))
    assert [job["id"] for job in await response.json()] == [3, 4]
    assert response.headers["Link"] == f'<{kept}&offset=4&limit=2>; rel="next", <{kept}&offset=0&limit=2>; rel="prev"'
    response = await client.ask("GET", f"{JOBS}?offset=4")
    assert response.headers["Link"] == f'<{URL}{JOBS}?offset=0&limit=20>; rel="prev"'
    assert await ids(client, offset=2**53) == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("status=queued", "status: must be one of all, idle, pending, running, pending_stoppage, stopping, stopped, "
                          "completed, failed"),
        ("status=", "status: must be one of all, idle, pending, running, pending_stoppage, stopping, stopped, "
                    "completed, failed"),
        ("sort=id", "sort: must be one of created, updated"),
        ("direction=up", "direction: must be one of desc, asc"),
        ("since=yesterday", "since: must be a time, like 2013-01-17T22:41:21Z"),
        ("since=", "since: must be a time, like 2013-01-17T22:41:21Z"),
        ("offset=-1", "offset: must be a whole number from 0 to 9007199254740992"),
        ("offset=9007199254740993", "offset: must be a whole number from 0 to 9007199254740992"),
        ("limit=0", "limit: must be a whole number from 1 to 100"),
        ("limit=101", "limit: must be a whole number from 1 to 100"),
        ("limit=ten", "limit: must be a whole number from 1 to 100"),
        ("limit=", "limit: must be a whole number from 1 to 100"),
        ("since=%00", "a text contains the character NUL or half a character, which cannot be stored"),
    ],
)  # fmt: skip
async def test_a_list_is_refused_with_the_parameter(client: Client, query: str, message: str) -> None:
    assert await told(client, "GET", f"{JOBS}?{query}", 422) == {"message": message}


# -- Who asks, and how often --------------------------------------------------------------------------------------


async def test_a_key_comes_as_basic_with_a_colon_or_without(client: Client) -> None:
    await client.submit()
    key = client.keys["acme"]
    for said in (f"{key}:", key):
        headers = {"Authorization": f"Basic {b64encode(said.encode()).decode()}"}
        assert (await told(client, "GET", f"{JOBS}/1", headers=headers))["id"] == 1


@pytest.mark.parametrize("header", ["", "Basic", "Basic eA==", "Basic eDp5", "Basic %", "Bearer x", "Digest x"])
async def test_who_has_no_key_is_told_how_to_bring_one(client: Client, header: str) -> None:
    response = await client.ask("GET", JOBS, headers={"Authorization": header})
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == 'Basic realm="Xplenty API"'
    assert await response.json() == {"message": "this key is not known here, or was revoked"}


async def test_a_key_that_may_only_read_runs_and_stops_nothing(client: Client) -> None:
    await client.submit()
    _, key = await client.store.accounts.create_key("acme", "read")
    headers = {"Authorization": f"Basic {b64encode(f'{key}:'.encode()).decode()}"}
    message = {"message": "this needs a key of scope write, and this one's is read"}
    assert await told(client, "POST", JOBS, 403, headers=headers, json=RUN) == message
    assert await told(client, "DELETE", f"{JOBS}/1", 403, headers=headers) == message
    assert await ids(client) == [1]


async def test_what_is_not_there_is_not_found(client: Client) -> None:
    await client.ask("POST", "/other/api/jobs", account="other", json=RUN)
    await client.ask("POST", "/other/api/jobs", account="other", json=RUN)
    await client.report(await client.submit(), {"type": "cancelled"}, {"type": "removed"})
    for path in (f"{JOBS}/1", f"{JOBS}/2", f"{JOBS}/x", "/other/api/jobs/1", "/nobody/api/jobs", "/acme/api/clusters"):
        assert await told(client, "GET", path, 404) == NOT_FOUND
    assert await told(client, "DELETE", f"{JOBS}/1", 404) == NOT_FOUND
    response = await client.ask("PUT", f"{JOBS}/1")
    assert (response.status, response.headers["Allow"]) == (405, "DELETE,GET,HEAD")
    assert await response.json() == {"message": "try DELETE,GET,HEAD"}


@pytest.mark.parametrize("accept", ["application/vnd.xplenty+json", "application/vnd.xplenty+json version=2", "*/*"])
async def test_any_accept_is_answered_as_json(client: Client, accept: str) -> None:
    await told(client, "POST", JOBS, 201, json=RUN, headers={"Accept": accept})


async def test_every_answer_says_what_is_left_of_the_rate(client: Client) -> None:
    left = {"limit": UNLIMITED, "remaining": UNLIMITED}
    assert await told(client, "GET", "/acme/api/rate_limit_status") == {"limits": left}
    for method, path, headers in (
        ("GET", f"{JOBS}/1", {}),
        ("PUT", JOBS, {}),
        ("GET", "/acme/api/x", {}),
        ("GET", JOBS, {"Authorization": ""}),
    ):
        response = await client.ask(method, path, headers=headers)
        assert int(response.headers["X-RateLimit-Limit"]) == UNLIMITED
        assert int(response.headers["X-RateLimit-Remaining"]) == UNLIMITED
    await client.submit()
    for _ in range(2):
        assert int((await client.ask("GET", f"{JOBS}/1")).headers["X-RateLimit-Remaining"]) == UNLIMITED


async def test_who_asks_too_often_is_told_to_wait(client: Client) -> None:
    await client.store.accounts.create("acme")
    await client.store.accounts.set("acme", {"rate": "2/day"})
    for remaining in (1, 0):
        response = await client.ask("GET", JOBS)
        assert response.headers["X-RateLimit-Limit"] == "2"
        assert response.headers["X-RateLimit-Remaining"] == str(remaining)
        for _ in range(2):
            limits = await told(client, "GET", "/acme/api/rate_limit_status")
            assert limits == {"limits": {"limit": 2, "remaining": remaining}}, "asking for it costs nothing"
    response = await client.ask("GET", JOBS)
    assert response.status == 429
    assert int(response.headers["Retry-After"]) >= 1
    assert response.headers["X-RateLimit-Remaining"] == "0"
    assert await response.json() == {"message": "Rate Limit Exceeded"}
