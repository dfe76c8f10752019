"""Virtool's calls, as its clients and workers make them."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from jobstore.formats.virtool import FORMAT, code
from jobstore.store import Store
from tests.conftest import Client
from tests.vendors.conftest import reached_at

NOT_FOUND = {"id": "not_found", "message": "Not found"}
NO_RIGHTS = {"id": "insufficient_rights", "message": "Insufficient rights"}
FINISHED = {"id": "conflict", "message": "Job is finished"}
ONE, TWO = code(1), code(2)
KEYS_OF_A_JOB = ["task", "args", "proc", "mem", "user", "status", "id"]


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    async with reached_at(store, None) as client:
        yield client


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(text.encode()).decode()}"}


async def ask(client: Client, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
    """The status and the meaning of the answer."""
    response = await client.ask(method, f"/api/jobs{path}", **kwargs)
    return response.status, await response.json() if response.content_length else None


async def push(client: Client, state: str, stage: str, progress: int, **more: Any) -> tuple[int, Any]:
    headers = more.pop("headers", None)
    body = {"state": state, "stage": stage, "progress": progress, **more}
    return await ask(client, "POST", f"/{ONE}/status", json=body, headers=headers)


async def last(client: Client, id: str = ONE) -> tuple[Any, ...]:
    """What the job's last record says."""
    _, job = await ask(client, "GET", f"/{id}")
    record = job["status"][-1]
    return record["state"], record["stage"], record["error"], record["progress"]


async def types(client: Client) -> list[str]:
    """What happened to the first job, in native words."""
    response = await client.ask("GET", "/jobs/1/events")
    return [event["type"] for event in (await response.json())["events"]]


async def acquire(client: Client) -> str:
    status, job = await ask(client, "PATCH", f"/{ONE}", json={"acquired": True})
    assert status == 200
    key: str = job["key"]
    return key


# -- Get and find -------------------------------------------------------------------------------------------------


async def test_a_native_job_has_nulls_for_what_it_does_not_know(client: Client) -> None:
    await client.submit("build")
    status, job = await ask(client, "GET", f"/{ONE}")
    assert status == 200
    assert list(job) == KEYS_OF_A_JOB
    assert list(job["status"][0]) == ["state", "stage", "error", "progress", "timestamp"]
    assert job == {
        "task": "build",
        "args": {},
        "proc": None,
        "mem": None,
        "user": {"id": None},
        "status": [
            {
                "state": "waiting",
                "stage": None,
                "error": None,
                "progress": 0,
                "timestamp": "2026-01-31T12:00:00.000000Z",
            }
        ],
        "id": ONE,
    }


async def test_a_new_job_is_where_its_location_says(client: Client) -> None:
    response = await client.ask("POST", "/jobs", json={"kind": "a", "format": "virtool", "id": "zzpugkyt"})
    assert response.headers["Location"].endswith("/api/jobs/zzpugkyt")
    assert (await response.json())["id"] == "zzpugkyt"
    again = await client.ask("POST", "/jobs", json={"kind": "a", "format": "virtool", "id": "zzpugkyt"})
    assert again.status == 409
    assert (await ask(client, "GET", "/zzpugkyt"))[1]["id"] == "zzpugkyt"
    assert (await client.ask("GET", "/jobs/zzpugkyt")).status == 200, "natively by the same id"


@pytest.mark.parametrize("wrong", ["ZZPUGKYT", "zzpugky", 7, "7", "zz-ugkyt"])
async def test_an_id_that_the_vendor_has_not_cannot_be_kept(client: Client, wrong: Any) -> None:
    response = await client.ask("POST", "/jobs", json={"kind": "a", "format": "virtool", "id": wrong})
    assert response.status == 422


async def test_a_job_numbered_beyond_eight_characters_is_read_all_the_same(client: Client) -> None:
    response = await client.ask("POST", "/jobs", json={"kind": "a", "format": "librato", "id": 2**53})
    assert response.status == 202
    status, job = await ask(client, "GET", f"/{code(2**53)}")
    assert (status, job["id"]) == (200, code(2**53))


async def test_jobs_are_found_page_by_page_oldest_first(client: Client) -> None:
    for number in range(1, 31):
        await client.submit("build" if number % 3 else "clean", user="anna" if number % 2 else None)
    await client.submit("build", extra={"proc": 2})
    await client.report(31, {"type": "started", "stage": "a", "fraction": 0.4})
    status, found = await ask(client, "GET", "?page=2")
    assert status == 200
    assert list(found) == ["documents", "total_count", "found_count", "page_count", "per_page", "page"]
    documents = found.pop("documents")
    assert found == {"total_count": 31, "found_count": 31, "page_count": 2, "per_page": 25, "page": 2}
    assert [document["id"] for document in documents] == [code(number) for number in range(26, 32)]
    assert documents[-1] == {
        "id": code(31),
        "task": "build",
        "proc": 2,
        "mem": None,
        "user": {"id": None},
        "state": "running",
        "stage": "a",
        "created_at": "2026-01-31T12:00:00.000000Z",
        "progress": 0.4,
    }
    _, found = await ask(client, "GET", "?find=CLEAN&per_page=4&page=3")
    assert [document["id"] for document in found.pop("documents")] == [code(27), code(30)]
    assert found == {"total_count": 31, "found_count": 10, "page_count": 3, "per_page": 4, "page": 3}
    assert (await ask(client, "GET", "?find=ann"))[1]["found_count"] == 15
    assert (await ask(client, "GET", "?find="))[1]["found_count"] == 31
    assert (await ask(client, "GET", "?page=99"))[1]["documents"] == []
    _, none = await ask(client, "GET", "?find=nobody")
    assert none == {
        "documents": [], "total_count": 31, "found_count": 0, "page_count": 0, "per_page": 25, "page": 1
    }  # fmt: skip
    assert (await ask(client, "GET", "", account="other"))[1]["total_count"] == 0


@pytest.mark.parametrize("field", ["page", "per_page"])
@pytest.mark.parametrize("value", ["0", "-1", "a", "1.5", "", "٣", "9" * 30])
async def test_a_page_that_is_none_is_refused(client: Client, field: str, value: str) -> None:
    status, body = await ask(client, "GET", f"?{field}={value}")
    assert (status, body["id"], list(body["errors"])) == (422, "invalid_input", [field])


async def test_a_page_has_a_hundred_documents_at_most(client: Client) -> None:
    assert (await ask(client, "GET", "?per_page=100"))[0] == 200
    status, body = await ask(client, "GET", "?per_page=101")
    assert (status, body) == (
        422,
        {
            "id": "invalid_input",
            "message": "Invalid input",
            "errors": {"per_page": ["must be a whole number from 1 to 100"]},
        },
    )


# -- Push ---------------------------------------------------------------------------------------------------------


async def test_a_worker_pushes_and_each_push_is_one_event(client: Client) -> None:
    await client.submit()
    assert (await push(client, "waiting", "queue", 0))[1]["stage"] == "queue"
    assert (await push(client, "running", "scan", 10))[0] == 200
    status, record = await push(client, "running", "scan", 29, error=None)
    assert status == 200
    assert record == {
        "state": "running",
        "stage": "scan",
        "error": None,
        "progress": 29,
        "timestamp": "2026-01-31T12:00:00.000000Z",
    }
    assert type(record["progress"]) is int
    assert (await push(client, "complete", "done", 100))[1]["progress"] == 100
    assert await types(client) == ["queued", "annotated", "started", "progressed", "completed"]
    _, job = await ask(client, "GET", f"/{ONE}")
    assert [(record["state"], record["stage"], record["progress"]) for record in job["status"]] == [
        ("waiting", None, 0),
        ("waiting", "queue", 0),
        ("running", "scan", 0.1),
        ("running", "scan", 0.29),
        ("complete", "done", 1),
    ]


@pytest.mark.parametrize(
    ("state", "events"),
    [
        ("waiting", ["annotated"]),
        ("running", ["started"]),
        ("complete", ["started", "completed"]),
        ("cancelled", ["cancelled"]),
        ("error", ["failed"]),
    ],
)
async def test_a_first_push_may_say_anything(client: Client, state: str, events: list[str]) -> None:
    await client.submit()
    status, record = await push(client, state, "a", 40)
    assert (status, record["state"], record["stage"], record["progress"]) == (200, state, "a", 40)
    assert await last(client) == (state, "a", None, 0.4)
    assert await types(client) == ["queued", *events]


@pytest.mark.parametrize(
    ("state", "events"),
    [
        ("waiting", ["retry_scheduled", "annotated"]),
        ("running", ["progressed"]),
        ("complete", ["completed"]),
        ("cancelled", ["cancelled"]),
        ("error", ["failed"]),
    ],
)
async def test_a_running_job_takes_any_push(client: Client, state: str, events: list[str]) -> None:
    await client.report(await client.submit(), {"type": "started", "fraction": 0.5})
    status, record = await push(client, state, "b", 60)
    assert (status, record["state"], record["stage"], record["progress"]) == (200, state, "b", 60)
    assert await types(client) == ["queued", "started", *events]


@pytest.mark.parametrize("events", [[], [{"type": "started"}]])
async def test_a_job_that_waits_at_a_stage_is_still_to_be_acquired(client: Client, events: list[Any]) -> None:
    await client.submit()
    if events:
        await client.report(1, *events)
    assert (await push(client, "waiting", "in line", 20))[0] == 200
    status, job = await ask(client, "PATCH", f"/{ONE}", json={"acquired": True})
    assert status == 200
    assert job["key"]
    assert await last(client) == ("waiting", "in line", None, 0.2)


async def test_a_remark_in_other_words_is_no_record(client: Client) -> None:
    job = await client.submit()
    before = await last(client)
    for data in ({"status": {"error": "x"}}, {"virtool": "x"}, {"virtool": {"stage": 1, "progress": 2}}):
        await client.report(job, {"type": "annotated", "data": data})
    assert await last(client) == before


@pytest.mark.parametrize("state", ["waiting", "running", "complete", "cancelled", "error"])
@pytest.mark.parametrize("error", ["no space", {"type": "OSError", "details": ["a"]}])
async def test_a_push_may_bring_an_error_in_any_state(client: Client, state: str, error: Any) -> None:
    await client.report(await client.submit(), {"type": "started"})
    for stage in ("a", "b") if state == "running" else ("a",):
        status, record = await push(client, state, stage, 40, error=error)
        assert (status, record["state"], record["error"]) == (200, state, error)
        assert await last(client) == (state, stage, error, 0.4)
    if state == "running":
        assert (await push(client, "running", "c", 40))[1]["error"] is None
    if state in ("error", "waiting"):
        assert (await (await client.ask("GET", "/jobs/1")).json())["errors"] == [error]


async def test_the_same_push_again_adds_nothing(client: Client) -> None:
    await client.submit()
    for said in (("waiting", "a", 0), ("running", "b", 40), ("running", "b", 41), ("error", "b", 41)):
        first = await push(client, *said, error={"a": 1})
        before = await types(client)
        assert await push(client, *said, error={"a": 1}) == first
        assert await types(client) == before


@pytest.mark.parametrize("end", ["complete", "cancelled", "error"])
async def test_a_finished_job_takes_no_push(client: Client, end: str) -> None:
    await client.submit()
    assert (await push(client, end, "a", 40))[0] == 200
    for state in ("waiting", "running", "complete", "cancelled", "error"):
        assert await push(client, state, "b", 40) == (409, FINISHED)


async def test_a_job_asked_to_stop_may_go_on_and_end_but_not_wait(client: Client) -> None:
    await client.report(await client.submit(), {"type": "started"}, {"type": "stop_requested"})
    assert (await push(client, "running", "a", 40))[0] == 200
    status, body = await push(client, "waiting", "b", 0)
    assert (status, body["id"]) == (409, "conflict")
    assert (await push(client, "cancelled", "c", 40))[0] == 200
    assert await types(client) == ["queued", "started", "stop_requested", "progressed", "cancelled"]


GOOD = {"state": "running", "stage": "a", "progress": 40}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        *(({name: None}, name) for name in GOOD),
        *(({"state": wrong}, "state") for wrong in ("Running", "queued", "", 1, ["running"])),
        *(({"stage": wrong}, "stage") for wrong in (1, ["a"], {"a": 1}, "a" * 10_001)),
        *(({"progress": wrong}, "progress") for wrong in ("40", -1, 101, 0.4, 40.5, True, [40])),
        *(({"error": wrong}, "error") for wrong in (1, ["a"], True)),
    ],
)
async def test_a_wrong_push_names_its_field(client: Client, change: dict[str, Any], field: str) -> None:
    await client.submit()
    status, body = await ask(client, "POST", f"/{ONE}/status", json={**GOOD, **change})
    assert (status, body["id"], body["message"]) == (422, "invalid_input", "Invalid input")
    assert list(body["errors"]) == [field]
    assert await types(client) == ["queued"]


@pytest.mark.parametrize("missing", list(GOOD))
async def test_a_push_without_a_field_names_it(client: Client, missing: str) -> None:
    await client.submit()
    body = {name: value for name, value in GOOD.items() if name != missing}
    expected = {"id": "invalid_input", "message": "Invalid input", "errors": {missing: ["required field"]}}
    assert await ask(client, "POST", f"/{ONE}/status", json=body) == (422, expected)


async def test_a_push_that_cannot_be_read_is_a_bad_request(client: Client) -> None:
    await client.submit()
    headers = {"Content-Type": "application/json"}
    status, body = await ask(client, "POST", f"/{ONE}/status", data=b"{", headers=headers)
    assert (status, body["id"]) == (400, "bad_request")
    for data in (b"", b"[]", b'"a"'):
        status, body = await ask(client, "POST", f"/{ONE}/status", data=data, headers=headers)
        assert (status, body["id"]) == (422, "invalid_input")
    status, body = await ask(client, "POST", f"/{ONE}/status", data=b"a", headers={"Content-Type": "text/csv"})
    assert (status, body["id"]) == (415, "unsupported_media_type")


# -- Acquire ------------------------------------------------------------------------------------------------------


async def test_a_job_is_acquired_once_and_its_key_is_shown_once(client: Client) -> None:
    await client.submit()
    status, job = await ask(client, "PATCH", f"/{ONE}", json={"acquired": True})
    assert status == 200
    assert list(job) == [*KEYS_OF_A_JOB, "key"]
    assert len(job["status"]) == 1, "it still waits"
    again = await ask(client, "PATCH", f"/{ONE}", json={"acquired": True})
    assert again == (400, {"id": "bad_request", "message": "Job already acquired"})
    assert "key" not in (await ask(client, "GET", f"/{ONE}"))[1]
    assert await types(client) == ["queued", "starting"]
    assert job["key"] not in await (await client.ask("GET", "/jobs/1/events")).text()


async def test_of_many_who_acquire_a_job_at_once_one_gets_it_and_the_others_are_told(client: Client) -> None:
    await client.submit()
    asked = (ask(client, "PATCH", f"/{ONE}", json={"acquired": True}) for _ in range(8))
    answers = sorted(await asyncio.gather(*asked), key=lambda answer: answer[0])
    assert [status for status, _ in answers] == [200] + [400] * 7
    worker = basic(f"job-{ONE}:{answers[0][1]['key']}")
    assert (await push(client, "running", "a", 40, headers=worker))[0] == 200
    keys = await client.store.accounts.keys("acme")
    assert len([key for key in keys if key.job == 1 and key.revoked_at is None]) == 1


@pytest.mark.parametrize("event", ["started", "cancelled", "stop_requested"])
async def test_a_job_that_waits_no_more_cannot_be_acquired(client: Client, event: str) -> None:
    await client.report(await client.submit(), {"type": event})
    assert (await ask(client, "PATCH", f"/{ONE}", json={"acquired": True}))[0] == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"acquired": False}, "acquired"),
        ({"acquired": "true"}, "acquired"),
        ({"acquired": 1}, "acquired"),
        ({"acquired": None}, "acquired"),
        ({}, "acquired"),
        ({"acquired": True, "state": "running"}, ""),
        ([True], ""),
        (None, ""),
    ],
)
async def test_nothing_else_acquires_a_job(client: Client, body: Any, field: str) -> None:
    await client.submit()
    status, told = await ask(client, "PATCH", f"/{ONE}", json=body)
    assert (status, told["id"], list(told["errors"])) == (422, "invalid_input", [field])
    assert await types(client) == ["queued"]


@pytest.mark.parametrize(
    "pushes",
    [
        [("a", 10, "x"), ("a", 10, None)],
        [("a", 10, "x"), ("a", 10, None), ("a", 10, "x")],
        [("a", 10, "x"), ("b", 20, None), ("a", 10, "x")],
        [("a", 10, {"b": 1}), ("a", 10, {}), ("a", 10, "")],
    ],
)
async def test_what_is_pushed_of_an_error_is_what_is_told(client: Client, pushes: list[tuple[str, int, Any]]) -> None:
    await client.submit()
    for state in ("waiting", "running"):
        for stage, progress, error in pushes:
            status, record = await push(client, state, stage, progress, error=error)
            assert (status, record["stage"], record["progress"], record["error"]) == (200, stage, progress, error)
            assert await last(client) == (state, stage, error, progress / 100)


# -- Cancel -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("events", [[], [{"type": "starting", "stage": "a", "fraction": 0.1}]])
async def test_a_waiting_job_is_cancelled_where_it_is(client: Client, events: list[dict[str, Any]]) -> None:
    await client.submit()
    if events:
        await client.report(1, *events)
    _, stage, error, progress = await last(client)
    status, job = await ask(client, "PUT", f"/{ONE}/cancel")
    assert (status, list(job)) == (200, KEYS_OF_A_JOB)
    assert await last(client) == ("cancelled", stage, error, progress)


async def test_a_running_job_is_asked_to_stop_and_its_worker_says_when_it_did(client: Client) -> None:
    await client.submit()
    await push(client, "running", "a", 40)
    before = await ask(client, "GET", f"/{ONE}")
    assert await ask(client, "PUT", f"/{ONE}/cancel") == before, "no record yet"
    assert await ask(client, "PUT", f"/{ONE}/cancel") == before
    assert await types(client) == ["queued", "started", "stop_requested"]
    await client.report(1, {"type": "stopping"})
    assert await ask(client, "PUT", f"/{ONE}/cancel") == before
    assert (await push(client, "cancelled", "a", 40))[0] == 200
    assert await last(client) == ("cancelled", "a", None, 0.4)


@pytest.mark.parametrize("end", ["complete", "cancelled", "error"])
async def test_what_has_ended_cannot_be_cancelled(client: Client, end: str) -> None:
    await client.submit()
    await push(client, end, "a", 40)
    answer = await ask(client, "PUT", f"/{ONE}/cancel")
    assert answer == (409, {"id": "conflict", "message": "Not cancellable"})


# -- Remove -------------------------------------------------------------------------------------------------------


async def test_a_job_that_ended_is_removed_and_its_history_stays(client: Client) -> None:
    await client.submit()
    refusal = {"id": "conflict", "message": "Job is running or waiting and cannot be removed"}
    assert await ask(client, "DELETE", f"/{ONE}") == (409, refusal)
    await push(client, "running", "a", 40)
    assert await ask(client, "DELETE", f"/{ONE}") == (409, refusal)
    await push(client, "complete", "a", 100)
    response = await client.ask("DELETE", f"/api/jobs/{ONE}")
    assert (response.status, await response.read()) == (204, b"")
    for method, path in (("GET", ""), ("DELETE", ""), ("PUT", "/cancel"), ("POST", "/status"), ("PATCH", "")):
        body = {"acquired": True} if method == "PATCH" else GOOD
        assert await ask(client, method, f"/{ONE}{path}", json=body) == (404, NOT_FOUND)
    assert (await ask(client, "GET", ""))[1]["total_count"] == 0
    assert await types(client) == ["queued", "started", "completed", "removed"]


@pytest.mark.parametrize(
    ("query", "removed"),
    [
        ("", [3, 4, 5]),
        ("?filter=", [3, 4, 5]),
        ("?filter=finished", [3, 4, 5]),
        ("?filter=complete", [3]),
        ("?filter=failed", [4, 5]),
    ],
)
async def test_those_that_ended_are_removed_together(client: Client, query: str, removed: list[int]) -> None:
    lives: list[list[dict[str, Any]]] = [
        [{"type": "starting"}],
        [{"type": "started"}],
        [{"type": "started"}, {"type": "completed"}],
        [{"type": "failed"}],
        [{"type": "cancelled"}],
    ]
    for life in lives:
        await client.report(await client.submit(), *life)
    await client.ask("POST", "/jobs", account="other", json={"kind": "a"})
    await client.ask("POST", "/jobs/1/events", account="other", json={"type": "failed"})
    assert await ask(client, "DELETE", query) == (200, {"removed": [code(number) for number in removed]})
    _, left = await ask(client, "GET", "")
    assert [job["id"] for job in left["documents"]] == [code(n) for n in range(1, 6) if n not in removed]
    assert await ask(client, "DELETE", query) == (200, {"removed": []})
    assert (await ask(client, "GET", "", account="other"))[1]["total_count"] == 1


async def test_an_unknown_filter_removes_nothing(client: Client) -> None:
    await client.report(await client.submit(), {"type": "failed"})
    status, body = await ask(client, "DELETE", "?filter=all")
    assert (status, body["id"], list(body["errors"])) == (422, "invalid_input", ["filter"])
    assert (await ask(client, "GET", f"/{ONE}"))[0] == 200


# -- Who may ------------------------------------------------------------------------------------------------------


async def test_a_key_comes_as_basic_with_a_user(client: Client) -> None:
    await client.submit()
    key = client.keys["acme"]
    for text in (f"igboyes:{key}", f":{key}", key):
        assert (await ask(client, "GET", f"/{ONE}", headers=basic(text)))[0] == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !!!",
        "Bearer x",
        basic("igboyes:wrong")["Authorization"],
        basic(f"job-{ONE}:x")["Authorization"],
    ],
)
async def test_nobody_else_is_let_in(client: Client, header: str) -> None:
    await client.submit()
    response = await client.ask("GET", f"/api/jobs/{ONE}", headers={"Authorization": header})
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == 'Basic realm="Virtool"'
    assert await response.json() == {"id": "unauthorized", "message": "Requires authorization"}


async def test_a_job_reads_itself_and_pushes_to_itself_and_nothing_else(client: Client) -> None:
    await client.submit()
    await client.submit()
    worker = basic(f"job-{ONE}:{await acquire(client)}")
    assert (await ask(client, "GET", f"/{ONE}", headers=worker))[0] == 200
    assert (await push(client, "running", "a", 40, headers=worker))[0] == 200
    for id in (TWO, code(3), "nonsense", "!"):
        assert await ask(client, "GET", f"/{id}", headers=worker) == (403, NO_RIGHTS)
        assert await ask(client, "POST", f"/{id}/status", json=GOOD, headers=worker) == (403, NO_RIGHTS)
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("DELETE", f"/{ONE}"),
        ("PUT", f"/{ONE}/cancel"),
        ("PATCH", f"/{ONE}"),
    ):
        assert await ask(client, method, path, json={"acquired": True}, headers=worker) == (403, NO_RIGHTS)
    assert await last(client, TWO) == ("waiting", None, None, 0)
    assert (await ask(client, "GET", f"/{ONE}", headers=basic(f"job-{ONE}:jsk_{'0' * 12}_{'0' * 40}")))[0] == 401


async def test_a_key_that_may_only_read_only_reads(client: Client) -> None:
    await client.submit()
    _, key = await client.store.accounts.create_key("acme", "read")
    assert (await ask(client, "GET", f"/{ONE}", headers=basic(f"a:{key}")))[0] == 200
    assert await ask(client, "PUT", f"/{ONE}/cancel", headers=basic(f"a:{key}")) == (403, NO_RIGHTS)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"acquired": True}),
        ("PUT", "/cancel", None),
        ("POST", "/status", GOOD),
        ("DELETE", "", None),
    ],
)
async def test_unknown_and_foreign_jobs_are_not_found(client: Client, method: str, path: str, body: Any) -> None:
    await client.submit()
    for _ in range(2):
        await client.ask("POST", "/jobs", account="other", json={"kind": "a"})
    for id in (TWO, "zzpugkyt", "1", "ZZPUGKYT", "a" * 100, "%C3%BC"):
        assert await ask(client, method, f"/{id}{path}", json=body) == (404, NOT_FOUND)


async def test_other_methods_and_addresses_are_told_in_its_words(client: Client) -> None:
    await client.submit()
    response = await client.ask("POST", "/api/jobs")
    assert (response.status, (await response.json())["id"]) == (405, "method_not_allowed")
    assert set(response.headers["Allow"].split(",")) == {"DELETE", "GET", "HEAD"}
    assert (await ask(client, "PUT", f"/{ONE}"))[0] == 405
    assert (await ask(client, "GET", f"/{ONE}/cancel"))[0] == 405
    for path in (f"/{ONE}/nothing", f"/{ONE}/status/1", "/"):
        assert await ask(client, "GET", path) == (404, NOT_FOUND)


# -- Beside others ------------------------------------------------------------------------------------------------


async def test_a_job_is_reported_natively_and_in_its_words_by_turns(client: Client) -> None:
    await client.submit(total=10)
    await push(client, "running", "scan", 10)
    await client.report(1, {"type": "progressed", "done": 4, "stage": "index"})
    assert await last(client) == ("running", "index", None, 0.4)
    await push(client, "running", "index", 50)
    native = await (await client.ask("GET", "/jobs/1")).json()
    assert (native["state"], native["stage"]) == ("running", "index")
    assert native["progress"] == {"fraction": 0.5, "done": 5, "total": 10}
    await client.report(1, {"type": "retry_scheduled", "error": "lost"})
    assert await last(client) == ("waiting", None, "lost", 0)
    await push(client, "error", "index", 50, error={"type": "KeyError"})
    native = await (await client.ask("GET", "/jobs/1")).json()
    assert (native["state"], native["errors"]) == ("failed", ["lost", {"type": "KeyError"}])
    assert [record["progress"] for record in (await ask(client, "GET", f"/{ONE}"))[1]["status"]] == [
        0, 0.1, 0.4, 0.5, 0, 0.5
    ]  # fmt: skip


async def test_an_account_may_choose_the_later_words(client: Client) -> None:
    await client.store.accounts.create("later")
    await client.store.accounts.set("later", {"virtool": "5.0"})
    await client.ask("POST", "/jobs", account="later", json={"kind": "build"})
    status, record = await ask(client, "POST", f"/{ONE}/status", account="later", json=GOOD)
    assert (status, sorted(record)) == (201, ["error", "progress", "stage", "state", "timestamp"])
    assert record["progress"] == 40
    _, job = await ask(client, "GET", f"/{ONE}", account="later")
    assert list(job) == ["workflow", *KEYS_OF_A_JOB[1:]]
    assert [record["progress"] for record in job["status"]] == [0, 40]
    _, found = await ask(client, "GET", "?find=build", account="later")
    document = found["documents"][0]
    assert ("task" in document, document["workflow"], document["progress"]) == (False, "build", 40)


@pytest.mark.parametrize("revision", FORMAT.revisions)
async def test_every_call_answers_as_described(client: Client, revision: str) -> None:
    await client.submit(extra={"proc": 2, "mem": 4})
    await client.store.accounts.set("acme", {"virtool": revision})
    client.keys["acme"] = (await client.store.accounts.create_key("acme", "write"))[1]
    described = {(call.method, call.paths[0]): call.answers for call in FORMAT.calls}
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "/{id}", {"acquired": True}),
        ("POST", "/{id}/status", GOOD),
        ("PUT", "/{id}/cancel", None),
        ("POST", "/{id}/status", {**GOOD, "state": "cancelled"}),
        ("GET", "/{id}", None),
        ("GET", "", None),
        ("DELETE", "", None),
    ):
        schema = described[method, f"/api/jobs{path}"]
        assert schema is not None
        status, answer = await ask(client, method, path.replace("{id}", ONE), json=body)
        assert status in (200, 201)
        Draft202012Validator(schema).validate(answer)
    assert answer == {"removed": [ONE]}
