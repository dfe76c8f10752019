"""What is shown of a moment of the past is what a poller saw who was there, in every format, of every job and list."""

import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jobstore.formats import FORMATS, PROJECTIONS
from jobstore.job import commands as c
from jobstore.job.decider import Refused
from jobstore.job.projection import Audience
from jobstore.store import Store
from jobstore.store.clock import uuid7
from jobstore.store.request import Append
from tests.conftest import Client
from tests.histories import commands
from tests.store.asking import say
from tests.vendors.conftest import Clock

Seen = tuple[int, bytes]

on_a_database = settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Known:
    """A job that a poller knows of."""

    def __init__(self, number: int, submit: c.Submit) -> None:
        self.number = number
        self.submit = submit

    def addresses(self) -> list[str]:
        """Where the job itself can be asked for."""
        to = Audience("", "acme", "")
        own = [format.location(self.number, self.submit.uid, to) for format in FORMATS.values()]
        output = f"/acme/api/jobs/{self.number}/outputs/1"
        return [*(f"/jobs/{self.number}?format={name}" for name in PROJECTIONS), *own, output, f"{output}/preview"]


def lists(jobs: list[Known], dice: random.Random) -> list[str]:
    """Where some of the jobs can be asked for."""
    one, ids = dice.choice(jobs), ",".join(job.submit.uid for job in dice.sample(jobs, min(3, len(jobs))))
    return [
        f"/jobs?limit=2&format={dice.choice(list(PROJECTIONS))}",
        f"/jobs?state={dice.choice(['queued', 'running', 'completed', 'failed'])}",
        f"/jobs?kind={quote(one.submit.kind, safe='')}&limit=1",
        f"/jobs?user={quote(one.submit.user or 'nobody', safe='')}&cursor={one.number + 1}",
        f"/api/jobs?per_page=2&page={dice.choice([1, 2])}&find={quote(one.submit.kind[:1], safe='')}",
        "/api/v2/job_statuses.json",
        f"/api/v2/job_statuses/show_many.json?ids={ids}",
        f"/acme/api/jobs?limit=3&offset={dice.choice([0, 2])}&sort=updated&direction=asc",
        f"/acme/api/jobs?status={dice.choice(['idle', 'running', 'completed', 'failed'])}",
        "/acme/api/jobs?since=2026-01-31T12:00:20Z",
        "/acme/api/jobs?since=2026-01-31T12:00:20Z&sort=updated&direction=desc",
    ]


async def see(client: Client, address: str) -> Seen:
    """What is told there. Of a job that is not there only that: the words may speak of the moment."""
    response = await client.ask("GET", address)
    return response.status, await response.read() if response.status == 200 else b""


def then(address: str, at: object) -> str:
    return f"{address}{'&' if '?' in address else '?'}at={at}"


@pytest.fixture
def shown() -> Iterator[list[str]]:
    """The addresses that showed something of the past; few would prove nothing."""
    addresses: list[str] = []
    yield addresses
    assert len(addresses) > 100


async def record(store: Store, request: Append) -> Any:
    """What was recorded, if it was not refused."""
    try:
        return await store.ledger.append(request)
    except Refused:
        return None


@pytest.mark.parametrize("revisions", [{}, {"zendesk": "current", "virtool": "5.0"}], ids=["first", "later"])
@given(lives=st.lists(commands, min_size=1, max_size=3), seed=st.integers(0, 999))
@on_a_database
async def test_the_past_is_what_a_poller_saw_who_was_there(
    store: Store,
    client: Client,
    clock: Clock,
    shown: list[str],
    revisions: dict[str, str],
    lives: list[list[c.Command]],
    seed: int,
) -> None:
    if not await store.accounts.all():
        await store.accounts.create("acme")
        await store.accounts.set("acme", revisions)
    account = (await store.accounts.find("acme")).account_id
    dice = random.Random(seed)
    jobs: list[Known] = []
    seen: list[tuple[str, Seen]] = []
    waiting = [list(life) for life in lives]
    numbers: dict[int, int] = {}
    while any(waiting):
        index = dice.choice([index for index, life in enumerate(waiting) if life])
        command = waiting[index].pop(0)
        clock.at += timedelta(seconds=dice.choice([0, 0.25, 3]))
        if isinstance(command, c.Submit):
            submit = msgspec.structs.replace(command, uid=uuid7(clock.at))
            done = await record(store, Append(account, None, (submit,), "acme/tests"))
            numbers[index] = done.job
            jobs.append(Known(done.job, submit))
        else:
            done = await record(store, say(account, numbers[index], command))
        if done is None or not done.events or dice.random() < 0.6:
            continue
        asked = [*dice.choice(jobs).addresses(), *lists(jobs, dice)]
        seen += [(then(address, done.position), await see(client, address)) for address in asked]
        clock.at += timedelta(seconds=dice.choice([0.5, 2, 70]))
        at = clock.at.isoformat().replace("+00:00", "Z")
        seen += [(then(address, at), await see(client, address)) for address in asked]
        clock.at += timedelta(microseconds=1)  # what is recorded in that very microsecond belongs to it
    clock.at += timedelta(hours=1)
    for address, was in seen:
        assert await see(client, address) == was, address
    shown += [address for address, was in seen if was[0] == 200]


async def test_a_moment_that_has_not_come_or_is_none_is_told_in_the_vendors_words(client: Client) -> None:
    job = await client.submit()
    uid = (await (await client.ask("GET", f"/jobs/{job}")).json())["id"]
    for address, status in (
        ("/jobs", 422), (f"/jobs/{job}", 422), (f"/v1/jobs/{job}", 422), ("/api/jobs", 422), (f"/1/jobs/{uid}", 400),
        (f"/acme/api/jobs/{job}", 422), ("/acme/api/jobs", 422), (f"/api/v2/job_statuses/{uid}.json", 422),
        (f"/api/v2/job_statuses/show_many.json?ids={uid}", 422), ("/api/v2/job_statuses.json", 422),
    ):  # fmt: skip
        native = address.startswith("/jobs")
        for at in ("yesterday", "", "-1", "1.5", "2026-01-31T12:00:00", "9999-01-01T00:00:00Z", "9" * 30, "%00"):
            response = await client.ask("GET", then(address, at))
            assert response.status == status, (address, at)
            assert native == (response.content_type == "application/problem+json")
        response = await client.ask("GET", then(address, 2))
        assert response.status == (412 if native else status), address
        assert (await client.ask("GET", then(address, 1))).status == 200, address
        assert (await client.ask("GET", then(address, 0))).status in (200, 404), address


async def test_following_next_shows_each_job_of_that_moment_once_while_they_go_on(client: Client) -> None:
    for number in range(7):
        await client.submit(f"kind {number % 2}")
    position = 7
    for number in range(1, 8):
        await client.report(number, {"type": "started"})
    await client.report(3, {"type": "failed"}, {"type": "removed"})
    address, walked = f"/jobs?limit=2&state=queued&at={position}", []
    while address:
        response = await client.ask("GET", address)
        walked += [job["number"] for job in (await response.json())["jobs"]]
        await client.submit()
        address = response.links["next"]["url"].path_qs if "next" in response.links else ""
    assert walked == [7, 6, 5, 4, 3, 2, 1]
    pages, links = [], "/acme/api/jobs?limit=3&at=7"
    while links:
        response = await client.ask("GET", links)
        pages += [job["id"] for job in await response.json()]
        await client.submit()
        links = response.links["next"]["url"].path_qs if "next" in response.links else ""
    assert pages == [7, 6, 5, 4, 3, 2, 1]


async def test_a_page_of_few_among_many_is_found_part_by_part(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobstore.store.past.LOOKED_AT", 3)
    for number in range(1, 21):
        await client.submit()
        if number % 7 == 0:
            await client.report(number, {"type": "started"})
    head = (await store.accounts.find("acme")).position
    for number in range(1, 21):
        await client.report(number, {"type": "failed"})
    for limit, found in ((1, [14]), (2, [14, 7]), (20, [14, 7])):
        listed = await (await client.ask("GET", f"/jobs?state=running&limit={limit}&at={head}")).json()
        assert [job["number"] for job in listed["jobs"]] == found
        assert (listed["next"] is None) == (limit > 1)


async def test_how_long_a_job_has_run_does_not_depend_on_who_asked_before_in_the_same_second(
    client: Client, clock: Clock
) -> None:
    job = await client.submit()
    clock.at += timedelta(seconds=0.75)
    await client.report(job, {"type": "started"})
    begin = clock.at
    address = f"/acme/api/jobs/{job}"
    for after in (0, 0.25, 1.25, 2, 3, 4.5):
        clock.at = begin + timedelta(seconds=after)
        polled, listed = await see(client, address), await client.ask("GET", "/acme/api/jobs")
        assert [orjson.loads(polled[1])] == await listed.json()
        at = clock.at.isoformat().replace("+00:00", "Z")
        assert await see(client, then(address, at)) == polled
