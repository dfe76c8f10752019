"""Given a running server, when its surroundings ask how it is, then they hear what it did and whether it can go on."""

import re
from typing import Any

import pytest

from jobstore.store import Store
from tests.conftest import Client


async def metrics(client: Client) -> dict[str, float]:
    response = await client.http.request("GET", "/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {name: float(value) for name, value in re.findall(r"^(\w+) ([0-9.e+]+)$", await response.text(), re.M)}


async def test_what_was_recorded_and_refused_is_counted(client: Client) -> None:
    job = await client.submit()
    await client.report(job, {"type": "started"}, {"type": "progressed", "fraction": 0.5})
    await client.report(job, {"type": "started"})
    before = await metrics(client)
    assert (before["jobstore_events_total"], before["jobstore_refusals_total"]) == (3, 0)
    await client.report(job, {"type": "removed"})
    await client.report(999, {"type": "started"})
    after = await metrics(client)
    assert (after["jobstore_events_total"], after["jobstore_refusals_total"]) == (3, 2)
    assert after["jobstore_batch_requests_sum"] == 5


async def test_a_server_is_alive_without_postgres_but_not_ready(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await client.http.request("GET", "/readyz")).status == 200

    def refuse() -> Any:
        raise ConnectionRefusedError

    monkeypatch.setattr(store.postgres, "connection", refuse)
    response = await client.http.request("GET", "/readyz")
    assert (response.status, response.content_type) == (503, "application/problem+json")
    assert response.headers["Retry-After"] == "1"
    response = await client.http.request("GET", "/healthz")
    assert (response.status, await response.json()) == (200, {"status": "alive"})
