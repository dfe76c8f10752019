"""Given a client that knows a version or a position, when it polls, then it is told only what is newer, or waits."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from jobstore.job.commands import Start
from jobstore.store import Store
from jobstore.store.request import Append
from jobstore.web import conditions
from tests.conftest import Client
from tests.web.conftest import together

STARTED = {"type": "started"}


def poll(client: Client, address: str, seen: str | None = None, wait: int | None = None) -> "asyncio.Task[Any]":
    headers = {} if seen is None else {"If-None-Match": seen}
    headers |= {} if wait is None else {"Prefer": f"wait={wait}"}
    return asyncio.create_task(client.ask("GET", address, headers=headers))


def waiting_polls(store: Store) -> int:
    """How many wait for a job to change."""
    return sum(len(events) for waiting in store.watch._waiting.values() for events in waiting.events.values())


@together
@pytest.mark.parametrize("seen", ['"2"', 'W/"2"', "*", '"1", "2"', 'W/"1",W/"2"', '"x,y", "2"', "2"])
async def test_a_poll_of_a_known_version_is_not_modified(shared: Client, seen: str) -> None:
    job = await shared.submit()
    await shared.report(job, STARTED)
    response = await poll(shared, f"/jobs/{job}", seen)
    assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", '"2"')


@together
@pytest.mark.parametrize("seen", ['"1"', '"3"', '"22"', '"1", "3"', 'W/"12"', '"*"', '""', "x", ""])
async def test_a_poll_of_another_version_is_answered(shared: Client, seen: str) -> None:
    job = await shared.submit()
    await shared.report(job, STARTED)
    response = await poll(shared, f"/jobs/{job}", seen)
    assert (response.status, (await response.json())["version"]) == (200, 2)


@pytest.mark.parametrize("seen", ["*", '"3"'])
async def test_a_removed_job_is_gone_whatever_the_client_knows(client: Client, seen: str) -> None:
    """RFC 9110, 13.2.1: a precondition is ignored where the answer without it would be a failure."""
    job = await client.submit()
    await client.report(job, {"type": "failed"}, {"type": "removed"})
    assert (await poll(client, f"/jobs/{job}", seen, wait=30)).status == 410


async def test_a_waiting_poll_is_answered_at_once_when_this_node_appends(
    client: Client, store: Store, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.tail, "_interval", 60)  # so that only the append itself can wake anybody
    job, other = await client.submit(), await client.submit()
    waiting = [poll(client, f"/jobs/{job}", '"1"', wait=30) for _ in range(3)]
    elsewhere = poll(client, f"/jobs/{other}", '"1"', wait=30)
    await until(lambda: waiting_polls(store) == 4)
    began = time.monotonic()
    await client.report(job, STARTED)
    async with asyncio.timeout(10):
        responses = await asyncio.gather(*waiting)
    assert time.monotonic() - began < 5
    for response in responses:
        assert (response.status, response.headers["ETag"]) == (200, '"2"')
        assert response.headers["Preference-Applied"] == "wait=30"
        assert (await response.json())["state"] == "running"
    assert not elsewhere.done(), "another job's change woke it"
    await client.report(other, STARTED)
    assert (await elsewhere).status == 200


async def test_a_waiting_poll_is_answered_when_another_node_appends(
    client: Client, dsn: str, store: Store, until: Callable[..., Any]
) -> None:
    job = await client.submit()
    waiting = poll(client, f"/jobs/{job}", '"1"', wait=30)
    await until(lambda: store.watch._waiting)
    account = await store.accounts.find("acme")
    async with Store(dsn) as second:
        await second.ledger.append(Append(account.account_id, job, (Start(),), "acme/elsewhere"))
        async with asyncio.timeout(5):
            response = await waiting
    assert (response.status, (await response.json())["state"]) == (200, "running")


async def test_a_waiting_poll_is_not_modified_when_nothing_changes(client: Client) -> None:
    job = await client.submit()
    began = time.monotonic()
    response = await poll(client, f"/jobs/{job}", '"1"', wait=1)
    assert 1 <= time.monotonic() - began < 5
    assert (response.status, response.headers["ETag"]) == (304, '"1"')
    assert response.headers["Preference-Applied"] == "wait=1"


async def test_a_poll_waits_only_for_what_the_client_knows(client: Client) -> None:
    job = await client.submit()
    for seen in (None, '"7"', "*"):
        async with asyncio.timeout(5):
            response = await poll(client, f"/jobs/{job}", seen, wait=30)
        assert response.status == (304 if seen == "*" else 200)


async def test_a_waiting_poll_is_told_that_the_job_was_removed(
    client: Client, store: Store, until: Callable[..., Any]
) -> None:
    job = await client.submit()
    await client.report(job, {"type": "failed"})
    waiting = poll(client, f"/jobs/{job}", '"2"', wait=30)
    await until(lambda: store.watch._waiting)
    await client.report(job, {"type": "removed"})
    async with asyncio.timeout(5):
        assert (await waiting).status == 410


async def test_a_poll_never_answers_from_before_a_position(client: Client) -> None:
    job = await client.submit()
    for after in (0, 1):
        assert (await poll(client, f"/jobs/{job}?after={after}")).status == 200
    response = await poll(client, f"/jobs/{job}?after=2")
    problem = await response.json()
    assert (response.status, problem["position"], problem["type"]) == (412, 1, "urn:jobstore:problem:not-reached")
    began = time.monotonic()
    response = await poll(client, f"/jobs/{job}?after=2", wait=1)
    assert (response.status, (await response.json())["position"]) == (412, 1)
    assert 1 <= time.monotonic() - began < 5


async def test_a_poll_waits_for_a_position_until_any_job_reaches_it(client: Client) -> None:
    job = await client.submit()
    waiting = poll(client, f"/jobs/{job}?after=3", wait=30)
    await client.submit("another")
    assert not waiting.done()
    await client.report(job, STARTED)
    async with asyncio.timeout(5):
        response = await waiting
    assert (response.status, (await response.json())["position"]) == (200, 3)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], 0),
        (["wait=5"], 5),
        (["wait = 5"], 5),
        (["respond-async, wait=5"], 5),
        (["wait=5; foo=bar", "handling=lenient"], 5),
        (["handling=lenient", "wait=5"], 5),  # RFC 7240, 2: as if they were one field
        (["Wait=5"], 5),  # RFC 7240, 2: names are case-insensitive
        (['wait="5"'], 5),  # RFC 7240, 2: a word is a token or quoted
        (["wait=0"], 0),
        (["wait=600"], 60),
        (["await=5"], 0),
        (["wait=-5"], 0),
        (["wait=x"], 0),
        (["wait"], 0),
        (["wait=99999999999999999999"], 60),
    ],
)
def test_prefer_says_how_long_to_wait(fields: list[str], seconds: float) -> None:
    headers = CIMultiDict([("Prefer", field) for field in fields])
    assert conditions.wait_seconds(make_mocked_request("GET", "/jobs/1", headers)) == seconds
