"""Librato's calls, as its clients make them."""

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jobstore.store import Store
from tests.conftest import Client
from tests.vendors.conftest import reached_at


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    async with reached_at(store, None) as client:
        yield client


async def test_a_started_job_is_found_where_the_answer_says(client: Client) -> None:
    response = await client.ask("PUT", "/v1/metrics", json={"names": ["cpu"], "period": 60})
    assert response.status == 202
    assert await response.read() == b""
    location = response.headers["Location"]
    assert location == f"http://{client.http.host}:{client.http.port}/v1/jobs/1"
    assert await (await client.ask("GET", "/v1/jobs/1")).json() == {"id": 1, "state": "queued"}
    native = await (await client.ask("GET", "/jobs/1")).json()
    assert (native["kind"], native["args"]) == ("metrics.update", {"names": ["cpu"], "period": 60})


async def test_a_deletion_is_asked_for_as_json_or_as_a_form(client: Client) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    await client.ask("DELETE", "/v1/metrics", json={"names": ["a", "b"]})
    await client.ask("DELETE", "/v1/metrics", data=b"names[]=a&names[]=b", headers=form)
    await client.ask("DELETE", "/v1/metrics", data=b'{"names": ["a", "b"]}', headers=form)
    for number in (1, 2, 3):
        native = await (await client.ask("GET", f"/jobs/{number}")).json()
        assert (native["kind"], native["args"]) == ("metrics.delete", {"names": ["a", "b"]})


@pytest.mark.parametrize(
    "body", [{}, {"names": []}, {"names": [1]}, {"names": {"a": 1}}, {"names": ""}, {"names": None}, ["a"]]
)
async def test_metrics_without_names_are_refused(client: Client, body: Any) -> None:
    response = await client.ask("DELETE", "/v1/metrics", json=body)
    assert response.status == 422
    assert list((await response.json())["errors"]["params"]) == ["names"]


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        ([{"type": "starting"}], {"state": "working"}),
        ([{"type": "started"}], {"state": "working"}),
        ([{"type": "started"}, {"type": "progressed", "done": 1, "total": 4}], {"state": "working", "progress": 25.0}),
        ([{"type": "stop_requested"}], {"state": "working"}),
        ([{"type": "cancelled"}], {"state": "canceled"}),
        ([{"type": "failed", "error": "broken"}], {"state": "failed", "errors": {"job": ["broken"]}}),
        ([{"type": "failed", "error": ["a", "b"]}], {"state": "failed", "errors": {"job": ["a", "b"]}}),
        ([{"type": "failed", "error": {"name": "bad"}}], {"state": "failed", "errors": {"name": ["bad"]}}),
        ([{"type": "failed", "message": "broken"}], {"state": "failed", "errors": {"job": ["broken"]}}),
        ([{"type": "failed"}], {"state": "failed"}),
        (
            [{"type": "started"}, {"type": "output_produced", "output": 1}, {"type": "completed"}],
            {"state": "complete", "progress": 100.0, "output": [1]},
        ),
        (
            [{"type": "started"}, {"type": "completed", "results": {"a": 1}}],
            {"state": "complete", "progress": 100.0, "output": {"a": 1}},
        ),
    ],
)
async def test_what_happened_is_told_in_its_words(
    client: Client, events: list[dict[str, Any]], shown: dict[str, Any]
) -> None:
    await client.report(await client.submit(), *events)
    assert await (await client.ask("GET", "/v1/jobs/1")).json() == {"id": 1, **shown}


async def test_a_key_comes_as_basic_with_an_email(client: Client) -> None:
    await client.submit()
    for user in (f"me@example.com:{client.keys['acme']}", f":{client.keys['acme']}", client.keys["acme"]):
        headers = {"Authorization": f"Basic {b64encode(user.encode()).decode()}"}
        assert (await client.ask("GET", "/v1/jobs/1", headers=headers)).status == 200


async def test_a_job_that_was_removed_is_not_there(client: Client) -> None:
    await client.report(await client.submit(), {"type": "cancelled"}, {"type": "removed"})
    response = await client.ask("GET", "/v1/jobs/1")
    assert response.status == 404
    assert await response.json() == {"errors": {"request": ["there is no such job"]}}


async def test_without_a_body_the_query_is_the_form(client: Client) -> None:
    assert (await client.ask("DELETE", "/v1/metrics?names[]=a&names[]=b")).status == 202
    assert (await (await client.ask("GET", "/jobs/1")).json())["args"] == {"names": ["a", "b"]}
    assert (await client.ask("DELETE", "/v1/metrics?names[]=a&names=b")).status == 422
