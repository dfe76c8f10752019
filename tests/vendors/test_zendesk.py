"""Zendesk's calls, as its clients make them."""

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from jobstore.store import Store
from tests.conftest import Client
from tests.vendors.conftest import reached_at

STARTERS: list[tuple[str, str, str, Any, dict[str, Any]]] = [
    ("POST", "create_many", "", {"tickets": [{"subject": "a"}, {"subject": "b"}]}, {}),
    ("PUT", "update_many", "", {"tickets": [{"id": 1}, {"id": 2}]}, {}),
    ("PUT", "update_many", "?ids=1,2", {"ticket": {"status": "solved"}}, {"ids": ["1", "2"]}),
    ("DELETE", "destroy_many", "?ids=1,2", None, {"ids": ["1", "2"]}),
]
SPELLINGS = [
    lambda key: f"Bearer {key}",
    lambda key: f"Basic {b64encode(f'me@example.com:{key}'.encode()).decode()}",
    lambda key: f"Basic {b64encode(f'me@example.com/token:{key}'.encode()).decode()}",
]


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    """A client of a server at the vendor's address."""
    async with reached_at(store, "https://company.zendesk.com") as client:
        yield client


async def turn(client: Client, revision: str, account: str = "acme") -> None:
    """Have the account served in this revision from now on."""
    if account not in client.keys:
        await client.store.accounts.create(account)
    await client.store.accounts.set(account, {"zendesk": revision})
    client.keys[account] = (await client.store.accounts.create_key(account, "admin"))[1]


async def submit(client: Client, account: str = "acme", **fields: Any) -> str:
    """The uid of a new job."""
    response = await client.ask("POST", "/jobs", account=account, json={"kind": "tickets.update_many", **fields})
    uid: str = (await response.json())["id"]
    return uid


async def get(client: Client, path: str, **asked: Any) -> Any:
    response = await client.ask("GET", f"/api/v2/{path}", **asked)
    assert response.status == 200, await response.text()
    assert response.content_type == "application/json"
    assert not {"Location", "Retry-After"} & set(response.headers)
    return await response.json()


# -- Show a job ---------------------------------------------------------------------------------------------------


async def test_a_job_goes_by_any_spelling_of_its_id(client: Client) -> None:
    uid = await submit(client)
    for id in (uid, uid.upper(), str(UUID(uid)), f"V3-{uid}", f"V3-{uid.upper()}"):
        for suffix in (".json", ""):
            assert (await get(client, f"job_statuses/{id}{suffix}"))["id"] == uid
        assert (await (await client.ask("GET", f"/jobs/{id}")).json())["id"] == uid


async def test_a_new_job_is_at_work_and_nothing_else_is_known(client: Client) -> None:
    uid = await submit(client)
    assert await get(client, f"job_statuses/{uid}.json") == {
        "id": uid, "url": f"https://company.zendesk.com/api/v2/job_statuses/{uid}.json", "total": None,
        "progress": None, "status": "working", "message": None, "results": [],
    }  # fmt: skip


async def test_the_shape_of_today_is_an_accounts_own_choice(client: Client) -> None:
    uid = await submit(client, total=2)
    theirs = await submit(client, "other")
    await turn(client, "current")
    job = {
        "id": f"V3-{uid}", "job_type": "tickets.update_many",
        "url": f"https://company.zendesk.com/api/v2/job_statuses/V3-{uid}.json", "total": 2, "progress": None,
        "status": "queued", "message": None, "results": None,
    }  # fmt: skip
    for id in (uid, f"V3-{uid}"):
        assert await get(client, f"job_statuses/{id}.json") == {"job_status": job}
    assert await get(client, "job_statuses.json") == {"job_statuses": [job]}
    assert await get(client, f"job_statuses/show_many.json?ids={uid}") == {"job_statuses": [job]}
    assert (await get(client, f"job_statuses/{theirs}.json", account="other"))["status"] == "working"
    results = {"success": True, "ids": [1, 2]}
    await client.report(1, {"type": "started"}, {"type": "completed", "results": results})
    done = (await get(client, f"job_statuses/V3-{uid}.json"))["job_status"]
    assert (done["status"], done["progress"], done["results"]) == ("completed", 2, results)
    await turn(client, "2012")
    assert (await get(client, f"job_statuses/V3-{uid}.json"))["results"] == [results]


async def test_what_native_and_vendor_clients_say_is_of_one_job(client: Client) -> None:
    started = await client.ask("POST", "/api/v2/tickets/create_many.json", json={"tickets": [{"subject": "a"}] * 4})
    uid = (await started.json())["id"]
    await client.report(1, {"type": "started", "message": "on it"}, {"type": "progressed", "fraction": 0.5})
    job = await get(client, f"job_statuses/{uid}.json")
    assert (job["status"], job["progress"], job["total"], job["message"]) == ("working", 2, 4, "on it")
    failure = {"index": 0, "error": "TicketCreateFailed", "details": "Description: cannot be blank"}
    await client.report(1, {"type": "result_recorded", "result": failure}, {"type": "stop_requested"})
    job = await get(client, f"job_statuses/{uid}.json")
    assert (job["status"], job["results"]) == ("working", [failure])
    await client.report(1, {"type": "stopping", "message": "winding up"}, {"type": "cancelled"})
    job = await get(client, f"job_statuses/{uid}.json")
    assert (job["status"], job["progress"], job["message"]) == ("killed", 2, "winding up")
    response = await client.ask("GET", f"/jobs/{uid}?format=zendesk")
    assert await response.json() == job
    response = await client.ask("GET", f"/jobs/{uid}?format=zendesk&at=1")
    assert (await response.json())["progress"] is None


# -- Lists --------------------------------------------------------------------------------------------------------


async def test_the_list_is_of_the_hundred_latest_newest_first(client: Client) -> None:
    assert await get(client, "job_statuses.json") == {"job_statuses": []}
    uids = [await submit(client) for _ in range(102)]
    await submit(client, "other")
    await client.report(102, {"type": "cancelled"}, {"type": "removed"})
    for suffix in (".json", ""):
        listed = (await get(client, f"job_statuses{suffix}"))["job_statuses"]
        assert [job["id"] for job in listed] == uids[1:101][::-1]
    assert listed[0] == await get(client, f"job_statuses/{uids[100]}.json")


async def test_some_jobs_are_shown_in_the_order_asked_for(client: Client) -> None:
    a, b, gone = [await submit(client) for _ in range(3)]
    theirs = await submit(client, "other")
    await client.report(3, {"type": "cancelled"}, {"type": "removed"})
    for query, expected in (
        (f"ids={b},{a}", [b, a]),
        (f"ids={b}%2C{a}", [b, a]),
        (f"ids={b}, V3-{a.upper()},", [b, a]),
        (f"ids={b}&ids={a}", [b, a]),
        (f"ids={a},{gone},{theirs},{'f' * 32},1,x,{b}", [a, b]),
        (f"ids={','.join([a] + ['f' * 32] * 99)}", [a]),
        ("ids=nothing", []),
    ):
        for suffix in (".json", ""):
            shown = (await get(client, f"job_statuses/show_many{suffix}?{query}"))["job_statuses"]
            assert [job["id"] for job in shown] == expected, query


# -- Start a job --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "verb", "query", "body", "more"), STARTERS)
@pytest.mark.parametrize("suffix", [".json", ""])
async def test_a_bulk_call_starts_a_job_and_answers_with_its_status(
    client: Client, method: str, verb: str, query: str, body: Any, more: dict[str, Any], suffix: str
) -> None:
    response = await client.ask(method, f"/api/v2/tickets/{verb}{suffix}{query}", json=body)
    assert response.status == 200, await response.text()
    assert not {"Location", "Retry-After"} & set(response.headers), "a stock client would follow it"
    started = await response.json()
    assert (started["status"], started["total"], started["progress"]) == ("working", 2, None)
    assert await get(client, f"job_statuses/{started['id']}.json") == started
    native = await (await client.ask("GET", "/jobs/1")).json()
    assert (native["kind"], native["args"], native["id"]) == (
        f"tickets.{verb}",
        {**(body or {}), **more},
        started["id"],
    )


@pytest.mark.parametrize("things", ["users", "organization_memberships", "größen"])
async def test_anything_can_be_asked_for_in_bulk(client: Client, things: str) -> None:
    await turn(client, "current")
    for method, verb, query, body, _ in STARTERS:
        sent = None if body is None else {things if name == "tickets" else name: value for name, value in body.items()}
        response = await client.ask(method, f"/api/v2/{things}/{verb}.json{query}", json=sent)
        status = (await response.json())["job_status"]
        assert (status["job_type"], status["status"], status["results"]) == (f"{things}.{verb}", "queued", None)


@pytest.mark.parametrize("query", ["ids=1,2,3", "ids=1%2C2%2C3", "ids=1&ids=2&ids=3", "ids=1, 2,,3,"])
async def test_ids_are_separated_as_clients_do(client: Client, query: str) -> None:
    response = await client.ask("DELETE", f"/api/v2/tickets/destroy_many.json?{query}")
    assert (await response.json())["total"] == 3
    assert (await (await client.ask("GET", "/jobs/1")).json())["args"] == {"ids": ["1", "2", "3"]}


async def test_a_hundred_items_are_not_too_many(client: Client) -> None:
    ids = ",".join(map(str, range(100)))
    for method, path, body in (
        ("POST", "create_many.json", {"tickets": [{}] * 100}),
        ("PUT", f"update_many.json?ids={ids}", {"ticket": {}}),
        ("DELETE", f"destroy_many.json?ids={ids}", None),
    ):
        response = await client.ask(method, f"/api/v2/tickets/{path}", json=body)
        assert (response.status, (await response.json())["total"]) == (200, 100)


# -- Who asks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelled", SPELLINGS)
async def test_a_key_comes_in_each_of_the_vendors_envelopes(client: Client, spelled: Any) -> None:
    uid = await submit(client)
    headers = {"Authorization": spelled(client.keys["acme"])}
    assert (await get(client, f"job_statuses/{uid}.json", headers=headers))["id"] == uid
    assert len((await get(client, "job_statuses.json", headers=headers))["job_statuses"]) == 1
    assert len((await get(client, f"job_statuses/show_many.json?ids={uid}", headers=headers))["job_statuses"]) == 1
    for method, verb, query, body, _ in STARTERS:
        response = await client.ask(method, f"/api/v2/tickets/{verb}.json{query}", json=body, headers=headers)
        assert response.status == 200
