"""Given jobs, when they are submitted, polled, listed or removed over HTTP, then clients see the fold."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from tests.conftest import Client
from tests.web.wire import bulk, head

LIFE: list[dict[str, Any]] = [
    {"type": "starting", "stage": "fetch"},
    {"type": "started", "message": "here we go"},
    {"type": "progressed", "fraction": 0.25, "stage": "load"},
    {"type": "output_produced", "output": {"rows": 3}, "key": "a"},
    {"type": "progressed", "done": 3},
    {"type": "result_recorded", "result": [1, "two", None]},
    {"type": "completed", "message": "done"},
]


async def test_a_submission_is_accepted_and_points_at_the_job(client: Client) -> None:
    sent = {"kind": "index.build", "args": {"size": 3, "ü": [1.5]}, "total": 4, "user": "ann", "format": "native"}
    response = await client.ask("POST", "/jobs", json=sent)
    assert response.status == 202
    assert response.headers["Location"] == "/jobs/1"
    assert response.headers["ETag"] == '"1"'
    assert response.headers["Jobstore-Position"] == "1"
    assert response.content_type == "application/json"
    job = await response.json()
    at = job["created_at"]
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(at) < timedelta(minutes=1)
    assert UUID(job["id"]).version == 7
    assert job == {
        "id": job["id"], "number": 1, "kind": "index.build", "args": {"size": 3, "ü": [1.5]}, "state": "queued",
        "progress": {"fraction": None, "done": None, "total": 4}, "stage": None, "message": None, "outputs": [],
        "results": [], "errors": [], "user": "ann", "extra": {}, "created_at": at, "started_at": None, "updated_at": at,
        "ended_at": None, "version": 1, "position": 1,
    }  # fmt: skip
    polled = await client.ask("GET", response.headers["Location"])
    assert await polled.read() == await response.read()


async def test_a_job_is_found_by_its_number_and_by_its_uid_in_every_spelling(client: Client) -> None:
    await client.submit("other")
    number = await client.submit()
    by_number = await client.ask("GET", f"/jobs/{number}")
    uid = (await by_number.json())["id"]
    for spelling in (uid, uid.upper(), str(UUID(uid)), str(UUID(uid)).upper()):
        found = await client.ask("GET", f"/jobs/{spelling}")
        assert (found.status, await found.read()) == (200, await by_number.read()), spelling
        history = await client.ask("GET", f"/jobs/{spelling}/events")
        assert [event["job"] for event in (await history.json())["events"]] == [number]
    assert (await client.ask("POST", f"/jobs/{UUID(uid)}/events", json={"type": "started"})).status == 200


async def test_a_poll_shows_what_was_reported_and_names_its_version_and_position(client: Client) -> None:
    job = await client.submit(total=4)
    await client.submit("other")
    for event in LIFE:
        reported = await client.report(job, event)
        polled = await client.ask("GET", f"/jobs/{job}?format=native")
        shown = await polled.json()
        assert polled.status == 200
        assert shown == (await reported.json())["job"]
        assert polled.headers["ETag"] == reported.headers["ETag"] == f'"{shown["version"]}"'
        assert polled.headers["Jobstore-Position"] == reported.headers["Jobstore-Position"] == str(shown["position"])
    assert shown["version"] == 1 + len(LIFE)
    assert (shown["state"], shown["stage"], shown["message"]) == ("completed", "load", "done")
    assert shown["progress"] == {"fraction": 1.0, "done": 4, "total": 4}
    assert (shown["outputs"], shown["results"]) == ([{"rows": 3}], [[1, "two", None]])
    assert shown["ended_at"] == shown["updated_at"] > shown["started_at"] > shown["created_at"]


async def test_the_past_is_shown_as_it_was_at_every_position_and_at_every_time(client: Client) -> None:
    await client.submit("before it")
    job = await client.submit()
    seen: list[tuple[int, bytes]] = []  # from this position on, the job looks like this
    for event in ({}, *LIFE):
        if event:
            assert (await client.report(job, event)).status == 200
            await client.submit("in between")
        now = await client.ask("GET", f"/jobs/{job}")
        seen.append((int(now.headers["Jobstore-Position"]), await now.read()))
    for position in range(await head(client) + 1):
        response = await client.ask("GET", f"/jobs/{job}?at={position}")
        expected = [body for since, body in seen if since <= position]
        assert response.status == (200 if expected else 404), position
        if expected:
            shown = json.loads(expected[-1])
            assert await response.read() == expected[-1], position
            assert response.headers["ETag"] == f'"{shown["version"]}"'
            assert response.headers["Jobstore-Position"] == str(shown["position"])
    for _, body in seen:
        at = datetime.fromisoformat(json.loads(body)["updated_at"])
        for text in (at.isoformat().replace("+00:00", "Z"), at.isoformat(), f"{at:%Y-%m-%dT%H:%M:%S.%f}%2B00:00"):
            response = await client.ask("GET", f"/jobs/{job}?at={text}")
            assert (response.status, await response.read()) == (200, body), text
    for early in ("1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"):
        assert (await client.ask("GET", f"/jobs/{job}?at={early}")).status == 404


async def test_the_future_is_not_shown(client: Client) -> None:
    job = await client.submit()
    response = await client.ask("GET", f"/jobs/{job}?at=2")
    assert (response.status, (await response.json())["position"]) == (412, 1)
    later = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (await client.ask("GET", f"/jobs/{job}?at={later}")).status == 422


async def test_a_removed_job_is_gone_from_polls_and_lists_and_keeps_its_history(client: Client) -> None:
    kept, job = await client.submit(user="ann"), await client.submit(user="ann")
    uid = (await (await client.ask("GET", f"/jobs/{job}")).json())["id"]
    response = await client.report(job, {"type": "failed"}, {"type": "removed", "reason": "privacy"})
    assert response.status == 200
    for address in (f"/jobs/{job}", f"/jobs/{uid}", f"/jobs/{job}?at={await head(client)}"):
        response = await client.ask("GET", address)
        assert (response.status, (await response.json())["status"]) == (410, 410)
    for query in ("", "?user=ann", "?kind=index.build", "?cursor=3"):
        listed = (await (await client.ask("GET", f"/jobs{query}")).json())["jobs"]
        assert [found["number"] for found in listed] == [kept]
    assert (await (await client.ask("GET", "/jobs?state=failed")).json())["jobs"] == []
    history = await (await client.ask("GET", f"/jobs/{job}/events")).json()
    assert [event["type"] for event in history["events"]] == ["queued", "failed", "removed"]
    before = await client.ask("GET", f"/jobs/{job}?at=3")
    assert (before.status, (await before.json())["state"]) == (200, "failed")
    assert (await client.report(job, {"type": "annotated", "note": "too late"})).status == 409


async def test_another_accounts_job_looks_exactly_like_none(client: Client) -> None:
    job = await client.submit()
    uid = (await (await client.ask("GET", f"/jobs/{job}")).json())["id"]

    async def answer(method: str, path: str, **sent: Any) -> tuple[int, bytes, dict[str, str]]:
        response = await client.ask(method, path, account="rival", **sent)
        headers = {name: value for name, value in response.headers.items() if name != "Date"}
        return response.status, await response.read(), headers

    for theirs, nobodys in ((str(job), "999"), (uid, uuid4().hex)):
        for method, rest, sent in (
            ("GET", "", {}),
            ("GET", "?at=0", {}),
            ("GET", "", {"headers": {"If-None-Match": "*", "Prefer": "wait=1"}}),
            ("GET", "/events", {}),
            ("POST", "/events", {"json": {"type": "started"}}),
            ("POST", "/events", {"json": {"type": "started"}, "headers": {"If-Match": '"7"'}}),
        ):
            found = await answer(method, f"/jobs/{theirs}{rest}", **sent)
            assert found == await answer(method, f"/jobs/{nobodys}{rest}", **sent)
            assert found[0] == 404
    for address, name in (("/jobs", "jobs"), ("/events", "events")):
        assert json.loads((await answer("GET", address))[1])[name] == []
    assert (await (await client.ask("GET", f"/jobs/{job}")).json())["version"] == 1
    client.keys["acme"] = client.keys["rival"]
    lines = await bulk(client, *({"job": name, "type": "started"} for name in (job, 999, uid, uuid4().hex)))
    assert [{**line, "line": 0} for line in lines] == [{**lines[0], "line": 0}] * 4
    assert lines[0]["status"] == 404
