"""Roambi's calls, as its clients make them."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from jobstore.store import Store
from tests.conftest import Client
from tests.vendors.conftest import reached_at

PUBLISH = "/1/accounts/acme/files/analytics"
ASKED = {"title": "Sales", "template_uid": "t1", "source_file_uid": "s1", "folder_uid": "f1"}
NOWHERE = "018f3b6f-7815-7eaa-8000-000000000001"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    async with reached_at(store, None) as client:
        yield client


async def publish(client: Client, *, account: str = "acme", **asked: Any) -> tuple[int, dict[str, Any]]:
    """The status and the body of the answer to a request to publish."""
    path = PUBLISH.replace("acme", account)
    response = await client.ask("POST", path, account=account, json={**ASKED, **asked})
    return response.status, await response.json()


async def poll(client: Client, uid: str) -> dict[str, Any]:
    """The job as a poll shows it."""
    response = await client.ask("GET", f"/1/jobs/{uid}")
    assert response.status == 200, await response.text()
    job: dict[str, Any] = (await response.json())["job"]
    return job


async def error(response: Any, status: int, code: str) -> str:
    """The description in the answer, which must be a failure of this code, in the vendor's words and no others."""
    body = await response.json()
    assert (response.status, body["error"]) == (status, code), body
    assert list(body) == ["error", "error_description"]
    assert response.content_type == "application/json"
    assert "Retry-After" not in response.headers
    described: str = body["error_description"]
    assert described
    return described


# -- Publishing ---------------------------------------------------------------------------------------------------


async def test_a_publication_is_a_job_that_is_found_at_both_addresses(client: Client) -> None:
    response = await client.ask("POST", PUBLISH, json=ASKED)
    assert (response.status, "Location" in response.headers) == (200, False)
    job = (await response.json())["job"]
    assert job["status_url"] == job["status_uri"] == f"/api/1/job/{job['uid']}"
    assert [len(part) for part in job["uid"].split("-")] == [8, 4, 4, 4, 12]
    followed, asked = [
        await client.ask("GET", path) for path in (job["status_uri"], f"/1/jobs/{job['uid'].replace('-', '').upper()}")
    ]
    assert await followed.json() == await asked.json()
    link = f"/1/jobs/{job['uid']}"
    assert await followed.json() == {"job": {**job, "status_url": link, "status_uri": link}}
    native = await (await client.ask("GET", f"/jobs/{job['uid']}")).json()
    assert (native["number"], native["kind"], native["args"]) == (1, "analytics.publish", ASKED)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", orjson.dumps(ASKED)),
        ("application/json; charset=utf-8", orjson.dumps(ASKED)),
        ("text/json", orjson.dumps(ASKED)),
        ("application/x-www-form-urlencoded", orjson.dumps(ASKED)),
        ("application/x-www-form-urlencoded", urlencode(ASKED).encode()),
    ],
)
async def test_a_request_comes_as_json_said_to_be_this_or_that(client: Client, kind: str, body: bytes) -> None:
    response = await client.ask("POST", PUBLISH, data=body, headers={"Content-Type": kind})
    assert response.status == 200, await response.text()
    assert (await (await client.ask("GET", "/jobs/1")).json())["args"] == ASKED


async def test_the_folder_may_be_called_directory_as_the_client_does(client: Client) -> None:
    asked = {name: value for name, value in ASKED.items() if name != "folder_uid"} | {"directory_uid": "f1"}
    assert (await client.ask("POST", PUBLISH, json=asked)).status == 200
    assert (await publish(client))[1]["error"] == "file_exists"


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("rest", [{}, {"overwrite": True}])
async def test_what_is_missing_is_named(client: Client, name: str, rest: dict[str, Any]) -> None:
    asked = {key: value for key, value in ASKED.items() if key != name} | rest
    for body in (asked, {**asked, name: None}):
        response = await client.ask("POST", PUBLISH, json=body)
        assert await error(response, 400, "missing_parameter") == f"{name} is missing"


@pytest.mark.parametrize("name", [*ASKED, "directory_uid"])
@pytest.mark.parametrize("value", [1, True, ["a"], {"a": 1}, "", "x" * 501])
async def test_what_is_no_text_is_named(client: Client, name: str, value: Any) -> None:
    asked = {key: value for key, value in ASKED.items() if name != "directory_uid" or key != "folder_uid"}
    response = await client.ask("POST", PUBLISH, json={**asked, name: value})
    assert await error(response, 400, "invalid_parameter") == f"{name} must be a text of 1 to 500 characters"


@pytest.mark.parametrize("value", [1, 0, "yes", "True", "", [], {}])
async def test_overwrite_is_true_or_false(client: Client, value: Any) -> None:
    response = await client.ask("POST", PUBLISH, json={**ASKED, "overwrite": value})
    assert await error(response, 400, "invalid_parameter") == "overwrite must be true or false"


async def test_the_longest_texts_of_the_widest_characters_are_taken(client: Client) -> None:
    wide = dict.fromkeys(ASKED, "\x01" * 500)
    assert (await publish(client, **wide))[0] == 200
    assert (await publish(client, **wide))[1]["error"] == "file_exists"


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "application/json", 400, "missing_parameter"),
        (b"null", "application/json", 400, "missing_parameter"),
        (b"{}", "text/json", 400, "missing_parameter"),
        (b"[]", "application/json", 400, "invalid_parameter"),
        (b'"text"', "application/json", 400, "invalid_parameter"),
        (b"{", "application/json", 400, "invalid_parameter"),
        (b'{"title": "\\u0000"}', "application/json", 400, "invalid_parameter"),
        (b"title[=1", "application/x-www-form-urlencoded", 400, "missing_parameter"),
        (b"<a/>", "application/xml", 415, "invalid_request"),
        (b"{" + b" " * 2**20 + b"}", "application/json", 413, "invalid_request"),
    ],
)
async def test_a_body_that_is_no_request_is_refused(
    client: Client, body: bytes, kind: str, status: int, code: str
) -> None:
    sent = BytesIO(body)  # large ones are not sent from memory
    await error(await client.ask("POST", PUBLISH, data=sent, headers={"Content-Type": kind}), status, code)
    assert (await client.ask("GET", "/jobs/1")).status == 404


# -- One file of a title in a folder ------------------------------------------------------------------------------


async def test_a_file_that_is_there_or_on_its_way_is_not_published_again(client: Client) -> None:
    assert (await publish(client))[0] == 200
    for events in ([], [{"type": "started"}], [{"type": "completed"}], [{"type": "removed"}]):
        await client.report(1, *events) if events else None
        for overwrite in ({}, {"overwrite": False}, {"overwrite": "false"}, {"overwrite": None}):
            response = await client.ask("POST", PUBLISH, json={**ASKED, "template_uid": "t2", **overwrite})
            assert "title" in await error(response, 400, "file_exists")
    for other in ({"title": "Costs"}, {"folder_uid": "f2"}, {"title": 'f1","Sales'}, {"folder_uid": 'f1","f1'}):
        assert (await publish(client, **other))[0] == 200


@pytest.mark.parametrize("overwrite", [True, "true"])
async def test_it_is_when_it_may_be_overwritten(client: Client, overwrite: Any) -> None:
    for _ in range(3):
        assert (await publish(client, overwrite=overwrite))[0] == 200
    form = urlencode({**ASKED, "overwrite": "true"}).encode()
    assert (await client.ask("POST", PUBLISH, data=form, headers=FORM)).status == 200
    assert (await publish(client))[1]["error"] == "file_exists"


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
async def test_a_file_that_did_not_come_about_is_not_there(client: Client, ended: str) -> None:
    for number in (1, 2):
        assert (await publish(client))[0] == 200
        await client.report(number, {"type": ended})
    assert (await publish(client))[0] == 200
    assert (await publish(client))[1]["error"] == "file_exists"


async def test_of_many_who_publish_a_file_at_once_one_does(client: Client) -> None:
    await client.submit()
    answers = await asyncio.gather(*(publish(client) for _ in range(12)))
    assert sorted(status for status, _ in answers) == [200] + [400] * 11
    assert {body["error"] for status, body in answers if status == 400} == {"file_exists"}


async def test_accounts_publish_whatever_others_do(client: Client) -> None:
    for account in ("acme", "other"):
        assert (await publish(client, account=account))[0] == 200


# -- Who may ask --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [orjson.dumps(ASKED), b"{}", b""])
async def test_another_account_is_closed_whether_it_is_there_or_not(client: Client, body: bytes) -> None:
    assert (await publish(client, account="other"))[0] == 200
    told = set()
    for owner in ("other", "nobody", "ACME", "%20", "1"):
        path = PUBLISH.replace("acme", owner)
        response = await client.ask("POST", path, data=body, headers={"Content-Type": "text/json"})
        told.add(await error(response, 403, "access_denied"))
    assert len(told) == 1
    assert [job["number"] for job in await jobs_of(client, "other")] == [1]


async def jobs_of(client: Client, account: str) -> list[dict[str, Any]]:
    """What the account's list has."""
    jobs: list[dict[str, Any]] = (await (await client.ask("GET", "/jobs", account=account)).json())["jobs"]
    return jobs


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer x", "Token x", "Bearer jsk_000000000000_" + "0" * 40, "Basic !"]
)
async def test_without_a_key_there_is_nothing(client: Client, header: str | None) -> None:
    _, published = await publish(client)
    sent = {} if header is None else {"Authorization": header}
    for method, path in (("POST", PUBLISH), ("GET", f"/1/jobs/{published['job']['uid']}"), ("GET", "/api/1/job/x")):
        response = await client.http.request(method, path, headers=sent)
        await error(response, 401, "invalid_token")
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="Roambi API"'


async def test_a_key_that_only_reads_polls_and_does_not_publish(client: Client) -> None:
    _, published = await publish(client)
    client.keys["acme"] = (await client.store.accounts.create_key("acme", "read"))[1]
    assert (await poll(client, published["job"]["uid"]))["status"] == "processing"
    await error(await client.ask("POST", PUBLISH, json={**ASKED, "title": "b"}), 403, "access_denied")


async def test_too_many_requests_are_503_and_say_nothing_of_when(client: Client) -> None:
    _, published = await publish(client)
    await client.store.accounts.set("acme", {"rate": "2/day"})
    client.keys["acme"] = (await client.store.accounts.create_key("acme", "admin"))[1]
    statuses = []
    for _ in range(3):
        response = await client.ask("GET", f"/1/jobs/{published['job']['uid']}")
        statuses.append(response.status)
    assert statuses == [200, 200, 503]
    await error(response, 503, "temporarily_unavailable")


# -- What is not there --------------------------------------------------------------------------------------------


async def test_a_job_that_is_missing_removed_or_of_others_is_one_answer(client: Client) -> None:
    theirs = (await publish(client, account="other"))[1]["job"]["uid"]
    gone = (await publish(client))[1]["job"]["uid"]
    await client.report(1, {"type": "cancelled"}, {"type": "removed"})
    told = set()
    for uid in (theirs, gone, NOWHERE, "1", "%20", "3b6f7815-eaa5-4b...", "ü", "x" * 1000):
        for path in ("/1/jobs/", "/api/1/job/"):
            told.add(await error(await client.ask("GET", path + uid), 404, "invalid_resource"))
    assert told == {"there is no such job"}


@pytest.mark.parametrize(
    "path", ["/1/", "/1/jobs", "/1/jobs/", "/1/nothing", "/1/accounts/acme/files", "/api/1/", f"/api/1/jobs/{NOWHERE}"]
)
async def test_an_address_that_is_none_is_told_in_the_same_words(client: Client, path: str) -> None:
    assert await error(await client.ask("GET", path), 404, "invalid_resource") == "there is nothing at this address"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", PUBLISH, "POST"),
        ("DELETE", PUBLISH, "POST"),
        ("PUT", f"/1/jobs/{NOWHERE}", "GET,HEAD"),
        ("DELETE", f"/api/1/job/{NOWHERE}", "GET,HEAD"),
    ],
)
async def test_a_method_that_is_not_taken_is_answered_with_those_that_are(
    client: Client, method: str, path: str, allowed: str
) -> None:
    response = await client.ask(method, path)
    await error(response, 405, "invalid_request")
    assert response.headers["Allow"] == allowed


# -- The job in its words -----------------------------------------------------------------------------------------


async def test_a_job_that_others_report_is_told_in_its_words_step_by_step(client: Client) -> None:
    uid = (await publish(client))[1]["job"]["uid"]
    link = f"/1/jobs/{uid}"
    for event, changed in (
        ({"type": "starting"}, {}),
        ({"type": "started", "fraction": 0.1}, {"progress": 0.1}),
        ({"type": "progressed", "done": 3, "total": 4}, {"progress": 0.75}),
        ({"type": "output_produced", "output": "a.rbi"}, {"results": {"outputs": ["a.rbi"]}}),
        ({"type": "retry_scheduled", "error": 7}, {"progress": 0}),
        ({"type": "started"}, {}),
        ({"type": "result_recorded", "result": 7}, {"results": {"results": [7], "outputs": ["a.rbi"]}}),
        ({"type": "stop_requested"}, {}),
        ({"type": "stopping"}, {}),
        ({"type": "annotated", "note": "x"}, {}),
        ({"type": "completed", "results": {"file_uid": "r1"}},
         {"status": "complete", "progress": 1, "results": {"file_uid": "r1"}}),
    ):  # fmt: skip
        before = await poll(client, uid)
        assert (await client.report(1, event)).status == 200, event
        assert await poll(client, uid) == {**before, **changed}, event
    assert (before["exception"], before["retry_after"], before["status_url"]) == (None, 3, link)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([{"type": "failed", "error": 1042}], {"status": "error", "exception": 1042, "progress": 0}),
        ([{"type": "failed", "error": {"code": "invalid_file_format"}}], {"exception": "invalid_file_format"}),
        ([{"type": "failed", "message": "broken"}], {"status": "error", "exception": -1, "results": None}),
        ([{"type": "cancelled"}], {"status": "error", "exception": -2}),
        ([{"type": "started"}, {"type": "completed"}], {"status": "complete", "exception": None, "results": None}),
        ([{"type": "started"}, {"type": "completed", "results": [1]}], {"results": {"results": [1]}}),
        ([{"type": "started"}, {"type": "completed", "results": "done"}], {"results": {"results": "done"}}),
    ],
)
async def test_how_a_job_ended_is_told_whoever_made_it(
    client: Client, events: list[dict[str, Any]], told: dict[str, Any]
) -> None:
    await client.report(await client.submit(), *events)
    native = await (await client.ask("GET", "/jobs/1")).json()
    job = await poll(client, native["id"])
    assert {name: job[name] for name in told} == told


async def test_the_past_and_the_native_calls_tell_it_alike(client: Client) -> None:
    uid = (await publish(client))[1]["job"]["uid"]
    await client.report(1, {"type": "started"}, {"type": "progressed", "fraction": 0.5}, {"type": "failed"})
    shown = await (await client.ask("GET", f"/jobs/{uid}?format=roambi")).json()
    assert shown["job"] == await poll(client, uid)
    then = await (await client.ask("GET", "/jobs/1?format=roambi&at=3")).json()
    assert (then["job"]["status"], then["job"]["progress"]) == ("processing", 0.5)


async def test_a_job_made_with_the_native_call_is_found_where_that_says(client: Client) -> None:
    response = await client.ask("POST", "/jobs", json={"kind": "analytics.publish", "format": "roambi", "id": NOWHERE})
    location = response.headers["Location"]
    assert location == f"http://{client.http.host}:{client.http.port}/1/jobs/{NOWHERE}"
    assert (await response.json())["job"] == await poll(client, NOWHERE)
