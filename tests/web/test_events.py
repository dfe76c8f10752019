"""Given a job, when events are reported, then all or none of them are recorded, and the histories show them."""

import asyncio
import json
from typing import Any

import pytest

from tests.conftest import Client
from tests.web.conftest import together
from tests.web.wire import NDJSON, head

STARTED: dict[str, Any] = {"type": "started"}


async def test_a_report_is_answered_with_its_events_and_the_job_after_them(client: Client) -> None:
    job = await client.submit()
    response = await client.ask("POST", f"/jobs/{job}/events", json={"type": "started", "stage": "load"})
    answer = await response.json()
    assert response.status == 200
    assert (response.headers["ETag"], response.headers["Jobstore-Position"]) == ('"2"', "2")
    assert set(answer) == {"events", "job"}
    (event,) = answer["events"]
    by, at = event["by"], event["at"]
    assert event == {
        "position": 2, "job": job, "version": 2, "type": "started", "at": at, "data": {"stage": "load"}, "by": by,
    }  # fmt: skip
    assert by.startswith("acme/")
    assert answer["job"]["started_at"] == at
    assert answer["job"] == await (await client.ask("GET", f"/jobs/{job}")).json()


async def test_an_array_is_recorded_as_a_whole(client: Client) -> None:
    job = await client.submit()
    answer = await (
        await client.report(job, STARTED, {"type": "progressed", "fraction": 1}, {"type": "completed"})
    ).json()
    assert [(event["position"], event["version"], event["type"]) for event in answer["events"]] == [
        (2, 2, "started"),
        (3, 3, "progressed"),
        (4, 4, "completed"),
    ]
    assert (answer["job"]["state"], answer["job"]["version"]) == ("completed", 4)


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ({"type": "removed"}, 409),
        ({"type": "progressed", "done": 5}, 409),  # of 4
        ({"type": "progressed"}, 422),
        ({"type": "progressed", "fraction": 0.5, "colour": "red"}, 422),
        (STARTED | {"stage": 7}, 422),
        (7, 422),
    ],
)
async def test_one_event_that_cannot_be_recorded_keeps_all_out(client: Client, last: Any, status: int) -> None:
    job = await client.submit(total=4)
    response = await client.ask(
        "POST", f"/jobs/{job}/events", json=[STARTED, {"type": "annotated", "note": "x"}, last],
        headers={"Idempotency-Key": "k"},
    )  # fmt: skip
    assert response.status == status
    assert await head(client) == 1
    assert (await (await client.ask("GET", f"/jobs/{job}")).json())["state"] == "queued"
    retried = await client.ask("POST", f"/jobs/{job}/events", json=STARTED, headers={"Idempotency-Key": "k"})
    assert retried.status == 200, "a request that failed does not use up its key"


async def test_a_refusal_says_why_and_a_malformed_event_says_where(client: Client) -> None:
    job = await client.submit()
    response = await client.report(job, {"type": "progressed", "fraction": 0.5})
    problem = await response.json()
    assert (response.status, response.content_type) == (409, "application/problem+json")
    assert (problem["type"], problem["status"]) == ("urn:jobstore:problem:refused", 409)
    assert "queued and cannot take progress before it has started" in problem["detail"]
    response = await client.report(job, STARTED, {"type": "progressed", "fraction": 1.5})
    assert response.status == 422
    assert "$[1].fraction" in (await response.json())["detail"]


async def test_what_is_already_so_adds_no_event(client: Client) -> None:
    job = await client.submit()
    await client.report(job, STARTED)
    response = await client.report(job, STARTED)
    answer = await response.json()
    assert (response.status, answer["events"], answer["job"]["version"]) == (200, [], 2)
    assert (response.headers["ETag"], response.headers["Jobstore-Position"], await head(client)) == ('"2"', "2", 2)


@together
@pytest.mark.parametrize("expected", ['"2"', "2", "*"])
async def test_an_event_is_recorded_when_the_job_is_at_the_expected_version(shared: Client, expected: str) -> None:
    job = await shared.submit()
    await shared.report(job, STARTED)
    note = {"type": "annotated", "note": "x"}
    response = await shared.ask("POST", f"/jobs/{job}/events", json=note, headers={"If-Match": expected})
    assert (response.status, response.headers["ETag"]) == (200, '"3"')


@together
@pytest.mark.parametrize("expected", ['"1"', '"3"', '"0"', '"999999999"'])
async def test_an_event_is_not_recorded_when_the_job_is_at_another_version(shared: Client, expected: str) -> None:
    job = await shared.submit()
    await shared.report(job, STARTED)
    before = await head(shared)
    for event in ({"type": "annotated", "note": "x"}, STARTED, {"type": "removed"}):
        response = await shared.ask("POST", f"/jobs/{job}/events", json=event, headers={"If-Match": expected})
        problem = await response.json()
        assert (response.status, problem["version"], response.headers["ETag"]) == (412, 2, '"2"')
    assert await head(shared) == before


@together
@pytest.mark.parametrize(
    "expected", ["", "abc", '"abc"', 'W/"1"', '"1", "2"', '""', "-1", "1.0", '"1', "1" * 400, '"١"']
)
async def test_a_version_that_cannot_be_one_is_malformed(shared: Client, expected: str) -> None:
    job = await shared.submit()
    before = await head(shared)
    response = await shared.ask("POST", f"/jobs/{job}/events", json=STARTED, headers={"If-Match": expected})
    assert (response.status, response.content_type) == (400, "application/problem+json")
    assert await head(shared) == before


async def test_of_concurrent_writers_who_expect_the_same_version_one_wins(client: Client) -> None:
    job = await client.submit()
    responses = await asyncio.gather(
        *(
            client.ask(
                "POST", f"/jobs/{job}/events", json={"type": "annotated", "note": str(n)}, headers={"If-Match": '"1"'}
            )
            for n in range(20)
        )
    )
    assert sorted(response.status for response in responses) == [200] + 19 * [412]
    assert await head(client) == 2


@pytest.mark.parametrize("address", ["/jobs/{job}/events", "/events"])
async def test_a_history_is_walked_page_by_page_or_read_in_lines(client: Client, address: str) -> None:
    job, other = await client.submit(), await client.submit()
    await client.report(job, STARTED, *({"type": "annotated", "note": str(n)} for n in range(5)))
    await client.report(other, STARTED)
    address = address.format(job=job)
    whole = await (await client.ask("GET", address)).json()
    assert (len(whole["events"]), whole["next"]) == (7 if "jobs" in address else 9, None)
    walked, following = [], f"{address}?limit=2"
    while following:
        response = await client.ask("GET", following)
        page = await response.json()
        assert len(page["events"]) <= 2
        walked += page["events"]
        following = response.links["next"]["url"].path_qs if "next" in response.links else ""
        assert bool(following) == (page["next"] is not None)
        assert not following or f"after={page['next']}" in following
    assert walked == whole["events"]
    response = await client.ask("GET", address, headers={"Accept": NDJSON})
    assert response.content_type == NDJSON
    assert [json.loads(line) for line in (await response.text()).splitlines()] == walked
    response = await client.ask("GET", f"{address}?after=2&limit=3", headers={"Accept": f"{NDJSON}, */*;q=0.1"})
    assert [json.loads(line) for line in (await response.text()).splitlines()] == walked[2:5]
    beyond = await (await client.ask("GET", f"{address}?after=1000")).json()
    assert beyond == {"events": [], "next": None}


async def test_positions_and_versions_have_no_gaps_however_many_report_at_once(client: Client) -> None:
    jobs = [await client.submit() for _ in range(5)]
    await client.ask("POST", "/jobs", account="rival", json={"kind": "x"})

    async def report(n: int) -> None:
        event = {"type": "annotated", "note": str(n)} if n % 4 else {"type": "progressed", "fraction": 0.5}
        response = await client.report(jobs[n % 5], event)
        assert response.status == (200 if n % 4 else 409)

    await asyncio.gather(*map(report, range(100)))
    log = (await (await client.ask("GET", "/events?limit=1000")).json())["events"]
    assert [event["position"] for event in log] == list(range(1, 81))
    assert [event["at"] for event in log] == sorted(event["at"] for event in log)
    for job in jobs:
        history = (await (await client.ask("GET", f"/jobs/{job}/events")).json())["events"]
        assert history == [event for event in log if event["job"] == job]
        assert [event["version"] for event in history] == list(range(1, 17))
    rivals = (await (await client.ask("GET", "/events", account="rival")).json())["events"]
    assert [(event["position"], event["job"]) for event in rivals] == [(1, 1)]


async def test_an_array_is_bounded_and_the_answer_says_what_is_not(client: Client) -> None:
    job = await client.submit()
    assert (await client.report(job, *[{"type": "annotated", "note": str(n)} for n in range(2000)])).status == 200
    response = await client.report(job, *[{"type": "annotated", "note": "x"}] * 2001)
    assert response.status == 422
    assert "POST /events" in (await response.json())["detail"]
    assert (await client.ask("GET", f"/jobs/{job}")).headers["ETag"] == '"2001"'
