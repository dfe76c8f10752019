"""The vendor's own Python client, unchanged, against a server that listens."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from jobstore.formats.xplenty import UNLIMITED
from jobstore.store import Store
from tests.conftest import Client
from tests.vendors.conftest import Clock, reached_at
from tests.vendors.stock import install
from tests.web.wire import key_of


@pytest.fixture(scope="session")
def xplenty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package."""
    folder = tmp_path_factory.mktemp("xplenty")
    install(folder, "xplenty==3.0.0", "python-dateutil==2.9.0.post0", "six==1.17.0")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield import_module("xplenty")


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    async with reached_at(store, None) as client:
        yield client


@pytest.fixture
async def stock(xplenty: ModuleType, client: Client, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The vendor's client, with a key; it is told by its own constant where the server is."""
    monkeypatch.setattr(xplenty.xplenty_api, "API_URL", f"http://127.0.0.1:{client.http.port}/%s/api/")
    return xplenty.XplentyClient("acme", await key_of(client))


async def refused(call: Any, *arguments: Any) -> tuple[int, str]:
    """The status and the message with which the vendor's client fails."""
    kind: Any = import_module("xplenty.exceptions").XplentyAPIException
    with pytest.raises(kind) as failed:
        await asyncio.to_thread(call, *arguments)
    error: Any = failed.value
    return error.http_error.code, str(error)


async def test_it_runs_a_package_and_polls_to_the_end(stock: Any, client: Client, clock: Clock) -> None:
    job = await asyncio.to_thread(stock.add_job, 52, 434, {"day": "'today'"}, {"now": "CurrentTime()"})
    assert (job.id, job.status, job.cluster_id, job.package_id) == (1, "idle", 52, 434)
    assert (job.variables, job.progress, job.errors, job.started_at) == ({"day": "'today'"}, 0.0, "", None)
    await client.report(1, {"type": "started"}, {"type": "progressed", "fraction": 0.4})
    job = await asyncio.to_thread(stock.get_job, job.id)
    assert (job.status, job.progress, job.completed_at) == ("running", 0.4, None)
    assert job.started_at == clock.at
    clock.at += timedelta(seconds=90)
    await client.report(1, {"type": "output_produced", "output": {"name": "a"}}, {"type": "completed"})
    job = await asyncio.to_thread(stock.get_job, job.id)
    assert (job.status, job.progress, job.outputs_count) == ("completed", 1.0, 1)
    assert (job.completed_at, job.failed_at, job.runtime_in_seconds) == (clock.at, None, 90)
    assert job.url == f"http://127.0.0.1:{client.http.port}/acme/api/jobs/1"


async def test_it_lists_and_stops_jobs_whoever_made_them(stock: Any, client: Client) -> None:
    assert await asyncio.to_thread(stock.get_jobs) == []
    for _ in range(25):
        await client.submit(user="7")
    jobs = await asyncio.to_thread(stock.get_jobs)
    assert [job.id for job in jobs] == list(range(25, 5, -1))
    assert {(job.owner_id, job.status) for job in jobs} == {(7, "idle")}
    assert (await asyncio.to_thread(stock.stop_job, 25))["status"] == "pending_stoppage"
    await client.report(25, {"type": "cancelled"})
    assert (await asyncio.to_thread(stock.get_job, 25)).status == "stopped"
    limits = await asyncio.to_thread(stock.get_account_limits)
    assert (limits.limit, limits.remaining) == (UNLIMITED, UNLIMITED)


async def test_it_understands_what_went_wrong(stock: Any, client: Client) -> None:
    await client.report(await client.submit(), {"type": "failed", "error": "no such bucket"})
    job = await asyncio.to_thread(stock.get_job, 1)
    assert (job.status, job.errors, job.failed_at) == ("failed", "no such bucket", job.completed_at)
    ended = "the job is failed and cannot be asked to stop any more"
    assert await refused(stock.stop_job, 1) == (422, ended)
    assert await refused(stock.get_job, 2) == (404, "Item not found.")
    assert await refused(stock.get_packages) == (404, "Item not found.")
    assert await refused(stock.add_job, "big", 1) == (422, "cluster_id: must be a whole number above 0")
    stock.account_id = "other"
    assert await refused(stock.get_jobs) == (404, "Item not found.")
    stock.api_key = "wrong"
    assert (await refused(stock.get_jobs))[0] == 401
