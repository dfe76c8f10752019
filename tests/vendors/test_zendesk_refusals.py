"""What Zendesk's clients are told when something is wrong: in its words, with its statuses, and no other headers."""

from base64 import b64encode
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest

from jobstore.store import Store
from jobstore.store.rates import Rates
from tests.conftest import Client
from tests.vendors.conftest import reached_at

NOT_FOUND = {"error": "RecordNotFound", "description": "Not found"}
NOT_KNOWN = {"error": "Couldn't authenticate you"}
CALLS = [
    ("GET", f"job_statuses/{'f' * 32}"),
    ("GET", "job_statuses"),
    ("GET", "job_statuses/show_many"),
    ("POST", "tickets/create_many"),
    ("PUT", "tickets/update_many"),
    ("DELETE", "tickets/destroy_many"),
]
BLANK = "can't be blank"
A_HUNDRED_AND_ONE = ",".join(map(str, range(101)))


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    """A client whose account has one job."""
    async with reached_at(store, None) as client:
        await client.submit()
        yield client


async def told(client: Client, method: str, path: str, status: int, **asked: Any) -> Any:
    """The body of the failure that a request is answered with."""
    response = await client.ask(method, f"/api/v2/{path}", **asked)
    assert response.status == status, await response.text()
    assert response.content_type == "application/json"
    assert ("Retry-After" in response.headers) == (status == 429)
    assert ("WWW-Authenticate" in response.headers) == (status == 401)
    assert "Location" not in response.headers
    return await response.json()


async def number_of_jobs(client: Client) -> int:
    return len((await (await client.ask("GET", "/jobs?limit=100")).json())["jobs"])


def invalid(field: str, type: str, says: str) -> dict[str, Any]:
    return {
        "error": "RecordInvalid",
        "description": "RecordValidation errors",
        "details": {field: [{"type": type, "description": says}]},
    }


# -- What is not there --------------------------------------------------------------------------------------------


async def test_no_job_a_removed_job_and_somebody_elses_look_the_same(client: Client) -> None:
    removed = (await (await client.ask("GET", "/jobs/1")).json())["id"]
    await client.report(1, {"type": "cancelled"}, {"type": "removed"})
    theirs = (await (await client.ask("POST", "/jobs", account="other", json={"kind": "x"})).json())["id"]
    for id in (removed, theirs, "f" * 32, "1", "x", "%00", "..%2f", "ü", "9" * 40, "show_man", f"{theirs}.json"):
        for suffix in (".json", ""):
            assert await told(client, "GET", f"job_statuses/{id}{suffix}", 404) == NOT_FOUND


@pytest.mark.parametrize("path", ["", "tickets", "tickets.json", "job_statuses/1/results", "tickets/many.json"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_other_addresses_are_nowhere(client: Client, method: str, path: str) -> None:
    assert await told(client, method, path, 404) == NOT_FOUND


@pytest.mark.parametrize(("right", "path"), CALLS)
async def test_a_wrong_method_is_told_the_right_one(client: Client, right: str, path: str) -> None:
    for suffix in (".json", ""):
        for method in {"POST", "PUT", "DELETE", "PATCH"} - {right}:
            response = await client.ask(method, f"/api/v2/{path}{suffix}")
            assert (response.status, right in response.headers["Allow"]) == (405, True)
            assert (await response.json())["error"] == "MethodNotAllowed"


# -- Who asks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_whoever_is_not_known_learns_nothing_else(client: Client, method: str, path: str) -> None:
    key = client.keys["acme"]
    wrong = [f"{key[:-1]}{'0' if key[-1] != '0' else '1'}", "secret", "", f"{key}:{key}"]
    for attempt in wrong:
        for sent in (f"me@example.com:{attempt}", f"me@example.com/token:{attempt}"):
            headers = {"Authorization": f"Basic {b64encode(sent.encode()).decode()}"}
            assert await told(client, method, f"{path}.json", 401, headers=headers) == NOT_KNOWN
        headers = {"Authorization": f"Bearer {attempt}"}
        assert await told(client, method, f"{path}.json", 401, headers=headers) == NOT_KNOWN
    response = await client.http.request(method, f"/api/v2/{path}.json")
    assert (response.status, await response.json()) == (401, NOT_KNOWN)


async def test_a_key_for_reading_starts_nothing(client: Client) -> None:
    client.keys["acme"] = (await client.store.accounts.create_key("acme", "read"))[1]
    for method, path in CALLS[3:]:
        answer = await told(client, method, f"{path}.json?ids=1", 403, json={"tickets": [{}]})
        assert answer["error"] == "Forbidden"
    assert (await client.ask("GET", "/api/v2/job_statuses.json")).status == 200
    assert await number_of_jobs(client) == 1


async def test_whoever_asks_too_often_is_told_for_how_long_to_wait(client: Client, store: Store) -> None:
    await store.accounts.create("eager")
    await store.accounts.set("eager", {"rate": "2/minute"})
    store.rates = Rates(store.postgres, clock=lambda: 600_000_018.5)
    async with reached_at(store, None) as eager:
        eager.keys["eager"] = (await store.accounts.create_key("eager", "admin"))[1]
        for _ in range(2):
            response = await eager.ask("GET", "/api/v2/job_statuses.json", account="eager")
            assert (response.status, "Retry-After" in response.headers) == (200, False)
        for method, path in CALLS:
            response = await eager.ask(method, f"/api/v2/{path}.json", account="eager")
            assert (response.status, response.headers["Retry-After"]) == (429, "42")
            assert (await response.json())["error"] == "APIRateLimitExceeded"
        assert (await eager.ask("GET", "/api/v2/job_statuses.json")).status == 200, "others are not slowed"


# -- What is asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "type", "says"),
    [
        ("POST", "create_many", None, "tickets", "blank", BLANK),
        ("POST", "create_many", {}, "tickets", "blank", BLANK),
        ("POST", "create_many", {"users": [{}]}, "tickets", "blank", BLANK),
        ("POST", "create_many", {"tickets": None}, "tickets", "blank", BLANK),
        ("POST", "create_many", {"tickets": []}, "tickets", "blank", BLANK),
        ("POST", "create_many", {"tickets": {"subject": "a"}}, "tickets", "invalid", "must be an array of objects"),
        ("POST", "create_many", {"tickets": "a"}, "tickets", "invalid", "must be an array of objects"),
        ("POST", "create_many", {"tickets": 1}, "tickets", "invalid", "must be an array of objects"),
        ("POST", "create_many", {"tickets": 0}, "tickets", "invalid", "must be an array of objects"),
        ("POST", "create_many", {"tickets": False}, "tickets", "invalid", "must be an array of objects"),
        ("POST", "create_many", {"tickets": {}}, "tickets", "invalid", "must be an array of objects"),
        ("POST", "create_many", {"tickets": [{}, 1]}, "tickets", "invalid", "must be an array of objects"),
        ("POST", "create_many", [{"subject": "a"}], "base", "invalid", "must be an object"),
        ("POST", "create_many", "text", "base", "invalid", "must be an object"),
        ("PUT", "update_many", None, "tickets", "blank", BLANK),
        ("PUT", "update_many", {"ticket": {"status": "solved"}}, "tickets", "blank", BLANK),
        ("PUT", "update_many", {"tickets": [1]}, "tickets", "invalid", "must be an array of objects"),
        ("PUT", "update_many?ids=", {"ticket": {}}, "ids", "blank", BLANK),
        ("PUT", "update_many?ids=1", None, "base", "invalid", "must have one object, the change"),
        ("PUT", "update_many?ids=1", {"ticket": 1}, "base", "invalid", "must have one object, the change"),
        ("PUT", "update_many?ids=1", {"tickets": [{"id": 1}]}, "base", "invalid", "must have one object, the change"),
        ("PUT", "update_many?ids=1", [], "base", "invalid", "must be an object"),
        ("DELETE", "destroy_many", None, "ids", "blank", BLANK),
        ("DELETE", "destroy_many?ids=", None, "ids", "blank", BLANK),
        ("DELETE", "destroy_many?ids=,%20,", None, "ids", "blank", BLANK),
        ("DELETE", "destroy_many?id=1", None, "ids", "blank", BLANK),
    ],
)
async def test_a_bulk_call_that_says_nothing_or_nonsense_starts_nothing(
    client: Client, method: str, path: str, body: Any, field: str, type: str, says: str
) -> None:
    answer = await told(client, method, f"tickets/{path}", 422, json=body)
    assert answer == invalid(field, type, says)
    assert await number_of_jobs(client) == 1


async def test_a_list_of_no_ids_is_refused(client: Client) -> None:
    for query in ("", "?ids=", "?ids=,", "?ids=&ids="):
        assert await told(client, "GET", f"job_statuses/show_many.json{query}", 422) == invalid("ids", "blank", BLANK)


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", f"job_statuses/show_many.json?ids={A_HUNDRED_AND_ONE}", None, "ids"),
        ("POST", "tickets/create_many.json", {"tickets": [{}] * 101}, "tickets"),
        ("PUT", "tickets/update_many.json", {"tickets": [{}] * 101}, "tickets"),
        ("PUT", f"tickets/update_many.json?ids={A_HUNDRED_AND_ONE}", {"ticket": {}}, "ids"),
        ("DELETE", f"tickets/destroy_many.json?ids={A_HUNDRED_AND_ONE}", None, "ids"),
    ],
)
async def test_more_than_a_hundred_are_too_many(client: Client, method: str, path: str, body: Any, field: str) -> None:
    assert await told(client, method, path, 400, json=body) == {
        "error": "TooManyValues",
        "description": f"Parameter {field} cannot specify more than 100 values",
    }
    assert await number_of_jobs(client) == 1


@pytest.mark.parametrize(
    ("kind", "body", "status", "error"),
    [
        ("application/json", b'{"tickets": [', 400, "BadRequest"),
        ("application/json", b"\xff", 400, "BadRequest"),
        ("application/json", b'{"tickets": [{"subject": "\\u0000"}]}', 422, "RecordInvalid"),
        ("application/json", b'{"tickets": [{"id": 18446744073709551616}]}', 422, "RecordInvalid"),
        ("application/json", b'{"tickets": [{"a": ' + b"[" * 70 + b"]" * 70 + b"}]}", 422, "RecordInvalid"),
        ("application/json", b'{"tickets": [{"a": "' + b"x" * 2**20 + b'"}]}', 413, "RequestTooLarge"),
        ("application/x-www-form-urlencoded", b"tickets[]=1", 422, "RecordInvalid"),
        ("text/plain", b'{"tickets": [{}]}', 415, "UnsupportedMediaType"),
        ("application/xml", b"<tickets/>", 415, "UnsupportedMediaType"),
    ],
)
async def test_a_body_that_cannot_be_taken_is_refused(
    client: Client, kind: str, body: bytes, status: int, error: str
) -> None:
    for method, path in CALLS[3:5]:
        answer = await told(client, method, f"{path}.json", status, data=BytesIO(body), headers={"Content-Type": kind})
        assert answer["error"] == error
        assert answer["description"]
    assert await number_of_jobs(client) == 1


@pytest.mark.parametrize("things", ["x" * 190, "%00"])
async def test_things_that_cannot_name_a_kind_are_refused(client: Client, things: str) -> None:
    for method, path in (("POST", "create_many"), ("PUT", "update_many?ids=1"), ("DELETE", "destroy_many?ids=1")):
        response = await client.ask(method, f"/api/v2/{things}/{path}", json={"x" * 190: [{}], "ticket": {}})
        assert response.status == 422, await response.text()
        assert (await response.json())["error"] == "RecordInvalid"
    assert await number_of_jobs(client) == 1
