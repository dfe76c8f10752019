"""Given a page of another origin, when it asks, then its browser shows it the answer only if that was allowed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from jobstore.store import Store
from jobstore.web.app import application
from tests.conftest import AsServed, Client
from tests.web.feeding import Feed

PAGE = "https://app.example.com"
ALLOWED = "Access-Control-Allow-Origin"


@asynccontextmanager
async def serving(store: Store, *origins: str) -> AsyncIterator[Client]:
    async with TestClient(AsServed(application(store, origins=origins))) as http:
        yield Client(http, store)


def preflight(origin: str, method: str = "GET") -> dict[str, Any]:
    asks = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization"}
    return {"headers": {"Origin": origin, **asks}}


async def test_nobody_is_allowed_anything_by_default(client: Client) -> None:
    await client.submit()
    response = await client.ask("GET", "/jobs/1", headers={"Origin": PAGE})
    assert (response.status, ALLOWED in response.headers) == (200, False)
    response = await client.http.request("OPTIONS", "/jobs/1", **preflight(PAGE))
    assert (response.status, ALLOWED in response.headers) == (405, False)


async def test_a_listed_page_may_read_jobs_and_feeds(store: Store) -> None:
    async with serving(store, PAGE, "https://other.example.com") as client:
        await client.submit()
        for path in ("/jobs", "/jobs/1", "/v1/jobs/1", "/jobs/99"):
            response = await client.ask("GET", path, headers={"Origin": PAGE})
            assert response.headers[ALLOWED] == PAGE
            assert "Origin" in response.headers["Vary"]
            assert "Jobstore-Position" in response.headers["Access-Control-Expose-Headers"]
        async with Feed(client, "/feed", "0", headers={"Origin": PAGE}) as feed:
            assert feed.headers[ALLOWED.lower()] == PAGE
            await feed.take(1)
        for path in ("/jobs", "/jobs/1", "/v1/jobs/1", "/feed", "/jobs/1/feed"):
            response = await client.http.request("OPTIONS", path, **preflight(PAGE))
            assert (response.status, response.headers[ALLOWED]) == (204, PAGE)
            assert response.headers["Access-Control-Allow-Methods"] == "GET"
            assert {"Authorization", "Last-Event-ID"} <= set(
                response.headers["Access-Control-Allow-Headers"].split(", ")
            )


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", PAGE + ".evil.com", PAGE.upper()])
async def test_no_other_page_may(store: Store, origin: str) -> None:
    async with serving(store, PAGE) as client:
        await client.submit()
        response = await client.ask("GET", "/jobs/1", headers={"Origin": origin})
        assert (response.status, ALLOWED in response.headers, response.headers["Vary"]) == (200, False, "Origin")
        response = await client.http.request("OPTIONS", "/jobs/1", **preflight(origin))
        assert (response.status, ALLOWED in response.headers) == (405, False)


async def test_a_star_allows_every_page(store: Store) -> None:
    async with serving(store, "*") as client:
        await client.submit()
        response = await client.ask("GET", "/jobs/1", headers={"Origin": "https://any.example.com"})
        assert response.headers[ALLOWED] == "*"


async def test_no_page_may_change_anything(store: Store) -> None:
    async with serving(store, "*") as client:
        response = await client.ask("POST", "/jobs", json={"kind": "x"}, headers={"Origin": PAGE})
        assert ALLOWED not in response.headers
        for path, method in (("/jobs", "POST"), ("/jobs/1/events", "DELETE"), ("/nothing", "GET")):
            response = await client.http.request("OPTIONS", path, **preflight(PAGE, method))
            assert (response.status in (404, 405), ALLOWED in response.headers) == (True, False)
