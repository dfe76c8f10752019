"""Given two processes and 200 who follow, when Postgres restarts and a process is killed, then they all have it all."""

import asyncio
import itertools
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from jobstore.job.projection import Audience
from jobstore.store import Store
from jobstore.store.embedded import Embedded
from tests.cli.serving import kill_all, serving
from tests.feeds.subscribers import Past, Subscriber, Wish, at_work, of_jobs, pasts, session, until

WRITERS: Final = 6
SUBSCRIBERS: Final = 200
URL: Final = "http://jobs.test"  # of both processes, or else a vendor's links tell them apart

LONG: Final = range(1, WRITERS + 1)  # jobs that go on to the end

pytestmark = pytest.mark.crash


class Writer:
    """Submits jobs and reports on them; what is not acknowledged is asked again, elsewhere, under the same key."""

    def __init__(self, name: str, job: int, addresses: list[str], key: str) -> None:
        self.acknowledged = 0
        self.over = False
        self._name = name
        self._job = job
        self._addresses = itertools.cycle(addresses)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._dice = random.Random(name)

    async def write(self) -> None:
        """Write until it is over, and end the long job."""
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(headers=self._headers, timeout=timeout) as http:
            for turn in itertools.count():
                kind = self._dice.choice("abc")
                job = (await self._ask(http, "/jobs", {"kind": kind}))["number"]
                events: list[dict[str, Any]] = [{"type": "progressed", "done": n} for n in range(turn % 5)]
                end = "failed" if self._dice.random() < 0.3 else "completed"
                await self._ask(http, f"/jobs/{job}/events", [{"type": "started"}, *events])
                await self._ask(http, f"/jobs/{self._job}/events", {"type": "progressed", "done": turn + 1})
                await self._ask(http, f"/jobs/{job}/events", {"type": end})
                if self.over:
                    break
            await self._ask(http, f"/jobs/{self._job}/events", {"type": "completed"})

    async def _ask(self, http: aiohttp.ClientSession, path: str, body: Any) -> Any:
        key = f"{self._name}-{self.acknowledged}"
        for address in self._addresses:
            try:
                async with http.post(address + path, json=body, headers={"Idempotency-Key": key}) as response:
                    answer = await response.json()
                    if response.status != 503:
                        break
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(self._dice.uniform(0.01, 0.1))
        assert response.status in (200, 202), (response.status, answer)
        self.acknowledged += 1
        return answer


def wishes() -> Iterator[Wish]:
    """What is followed, in turn."""
    stream = {"Accept": "text/event-stream"}
    for job in itertools.cycle(LONG):
        yield Wish("/feed", lambda past: True)
        yield Wish("/feed?kind=a&kind=c", lambda past: past.kind in "ac")
        yield Wish("/feed?format=librato", lambda past: True, "librato")
        yield Wish("/feed?state=running", lambda past: past.state == "running")
        yield Wish("/feed?type=completed,failed", lambda past: past.entry.type in ("completed", "failed"))
        yield Wish(f"/feed?job={job},7", of_jobs(job, 7))
        yield Wish("/feed?format=native&kind=b", lambda past: past.kind == "b", "native")
        yield Wish(f"/jobs/{job}/feed", of_jobs(job))
        yield Wish(f"/v1/jobs/{job}", of_jobs(job), "librato", stream)


@pytest.fixture
def postgres(folder: Path) -> Iterator[Embedded]:
    """A server that the test may stop and kill."""
    server = Embedded(folder / "data")
    server.open()
    yield server
    server.close()


def stop_and_start(server: Embedded) -> None:
    """As an administrator does it."""
    server.close()
    server.open()


def crash(server: Embedded) -> None:
    """As a power cut does it, and then somebody starts it."""
    kill_all(server.folder)
    assert server.revive()


async def whole_log(dsn: str) -> list[Past]:
    """What was recorded for the account."""
    async with Store(dsn, connections=1) as store:
        account = (await store.accounts.find("default")).account_id
        log = await store.history.of_account(account, limit=10**6)
    assert [entry.position for entry in log] == list(range(1, len(log) + 1))
    return list(pasts(log, Audience(URL, "default")))


async def submit_long_jobs(address: str, key: str) -> None:
    async with aiohttp.ClientSession(address, headers={"Authorization": f"Bearer {key}"}) as http:
        for job in LONG:
            async with http.post("/jobs", json={"kind": "long"}) as response:
                assert (await response.json())["number"] == job
            async with http.post(f"/jobs/{job}/events", json={"type": "started"}) as response:
                assert response.status == 200


async def test_every_subscriber_ends_with_the_whole_log_exactly_once(postgres: Embedded) -> None:
    place = ("--dsn", postgres.dsn, "--url", URL)
    with serving(*place) as first, serving(*place) as second:
        key = first.key
        assert key is not None
        nodes = [first.address, second.address]
        await submit_long_jobs(first.address, key)
        writers = [Writer(f"writer{job}", job, nodes, key) for job in LONG]
        subscribers = [
            Subscriber(nodes if i % 2 else nodes[::-1], wish, key, since=None if i % 5 == 0 else 0)
            for i, wish in enumerate(itertools.islice(wishes(), SUBSCRIBERS))
        ]
        async with session() as http, at_work(*(s.follow(http) for s in subscribers)) as following:
            await until(lambda: all(s.connections for s in subscribers), following)
            async with at_work(*(writer.write() for writer in writers)) as writing:
                tasks = [*following, *writing]

                async def more(count: int) -> None:
                    least = sum(writer.acknowledged for writer in writers) + count
                    await until(lambda: sum(writer.acknowledged for writer in writers) >= least, tasks)

                await more(200)
                await asyncio.to_thread(stop_and_start, postgres)
                await more(200)
                os.kill(first.process.pid, signal.SIGKILL)
                await more(200)
                await asyncio.to_thread(crash, postgres)
                await more(200)
                for writer in writers:
                    writer.over = True
                await until(lambda: all(task.done() for task in writing), tasks)
            log = await whole_log(postgres.dsn)
            await until(lambda: all(subscriber.has_all(log) for subscriber in subscribers), following)
            for subscriber in subscribers:
                subscriber.over = True
            assert second.end() == 0
            await until(lambda: all(task.done() for task in following), following)
    for subscriber in subscribers:
        events = subscriber.events
        if events and events[-1].type == "end":
            events.pop()
        assert events == subscriber.expected(log), subscriber.wish.path
    reconnections = [subscriber.connections - 1 for subscriber in subscribers]
    assert sum(reconnections) >= SUBSCRIBERS // 2, "the kill was felt"
    print(
        f"{len(log)} events, {sum(len(s.events) for s in subscribers)} deliveries, {sum(reconnections)} reconnections"
    )
