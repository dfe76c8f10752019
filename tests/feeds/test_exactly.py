"""Whatever is appended, cut off and restarted: every subscriber sees its part of the log from its start on, in order,
once."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import aiohttp
import pytest
from aiohttp.test_utils import TestClient

from jobstore.job.projection import Audience
from jobstore.store import Store
from jobstore.web.app import application
from tests.conftest import AsServed, Client
from tests.feeds.relay import Relay, relayed
from tests.feeds.subscribers import Past, Subscriber, Wish, at_work, of_jobs, pasts, session, until
from tests.web.wire import head, key_of

URL: Final = "http://jobs.test"
STEPS: Final = 150
JOBS: Final = 4  # to begin with
FOLLOWED: Final = (2, 4)  # jobs that do not end before all else does

WISHES: Final = (
    Wish("/feed", lambda past: True),
    Wish("/feed?kind=a&kind=c", lambda past: past.kind in "ac"),
    Wish("/feed?state=running,failed", lambda past: past.state in ("running", "failed")),
    Wish("/feed?type=annotated&state=completed", lambda p: (p.entry.type, p.state) == ("annotated", "completed")),
    Wish("/feed?job=1,3", of_jobs(1, 3)),
    Wish("/feed?format=native", lambda past: True, "native"),
    Wish("/feed?format=librato&kind=b", lambda past: past.kind == "b", "librato"),
    Wish("/jobs/2/feed?format=librato", of_jobs(2), "librato"),
    Wish("/jobs/4/feed", of_jobs(4)),
)


class Node:
    """A node behind a relay, which stays where it is when the node is restarted."""

    def __init__(self, dsn: str, relay: Relay) -> None:
        self.relay = relay
        self._dsn = dsn

    async def start(self) -> Self:
        self.store = Store(self._dsn)
        await self.store.open()
        self.http = TestClient(AsServed(application(self.store, url=URL)))
        await self.http.start_server()
        assert self.http.port is not None
        self.relay.port = self.http.port
        return self

    async def stop(self) -> None:
        """End. Those who came are served first: aiohttp never closes a connection that is made while it ends."""
        self.relay.port = 0
        async with aiohttp.ClientSession() as http, http.get(self.http.make_url("/healthz")):
            pass
        await self.http.close()
        await self.store.close()

    async def restart(self) -> None:
        """End, while it is being read, and begin anew."""
        await self.stop()
        await self.start()


@asynccontextmanager
async def running(dsn: str, relay: Relay) -> AsyncIterator[Node]:
    node = await Node(dsn, relay).start()
    try:
        yield node
    finally:
        await node.stop()


class Life:
    """What may happen, at any moment, by the dice."""

    def __init__(self, nodes: tuple[Node, Node], key: str, following: list["asyncio.Task[None]"], seed: int) -> None:
        self.subscribers: list[Subscriber] = []
        self._steady, self._restless = nodes
        self._client = Client(self._steady.http, self._steady.store)
        self._key = self._client.keys["acme"] = key
        self._following = following
        self._dice = random.Random(seed)

    async def go_on(self, http: aiohttp.ClientSession) -> list[Past]:
        """Let it happen; the log when everything is over and everybody has been sent as much as they should."""
        for _ in range(JOBS):
            await self._submit()
        steps = [self._append] * 12 + [self._come] * 4 + [self._cut] * 3
        async with at_work() as under_way:
            for _ in range(STEPS):
                if self._dice.random() < 0.05:
                    await self._restless.restart()
                under_way.append(asyncio.create_task(self._dice.choice(steps)(http)))
                if self._dice.random() < 0.5:
                    await self._dice.choice(under_way)
            await asyncio.gather(*under_way)
        for node in (self._steady, self._restless):
            node.relay.lose = None
        await until(lambda: all(subscriber.since is not None for subscriber in self.subscribers), self._following)
        for job in FOLLOWED:
            await self._client.report(job, {"type": "started"})
            assert (await self._client.report(job, {"type": "completed"})).status == 200
        account = (await self._steady.store.accounts.find("acme")).account_id
        entries = await self._steady.store.history.of_account(account, limit=10**6)
        log = list(pasts(entries, Audience(URL, "acme")))
        await until(lambda: all(subscriber.has_all(log) for subscriber in self.subscribers), self._following)
        for subscriber in self.subscribers:
            subscriber.over = True
        return log

    async def _append(self, _: aiohttp.ClientSession) -> None:
        if self._dice.random() < 0.2:
            await self._submit()
            return
        job = self._dice.randint(1, JOBS)
        ends: list[dict[str, Any]] = [{"type": self._dice.choice(["completed", "failed", "cancelled"])}]
        notes: list[dict[str, Any]] = [
            {"type": "annotated", "note": f"{self._dice.random()}\r\n"} for _ in range(self._dice.choice([1, 3, 60]))
        ]
        progress: list[dict[str, Any]] = [{"type": "progressed", "fraction": self._dice.random()}]
        said = self._dice.choice([notes, progress, [{"type": "started"}], [{"type": "retry_scheduled"}], ends])
        response = await self._client.report(job, *(notes if said is ends and job in FOLLOWED else said))
        assert response.status in (200, 409), await response.text()

    async def _come(self, http: aiohttp.ClientSession) -> None:
        since = self._dice.choice([None, 0, self._dice.randint(0, await head(self._client))])
        addresses = [node.relay.address for node in (self._steady, self._restless)]
        there = self._dice.sample(addresses, self._dice.choice([1, 2]))
        self.subscribers.append(Subscriber(there, self._dice.choice(WISHES), self._key, since=since))
        self._following.append(asyncio.create_task(self.subscribers[-1].follow(http)))

    async def _cut(self, _: aiohttp.ClientSession) -> None:
        relay = self._dice.choice([self._steady, self._restless]).relay
        if self._dice.random() < 0.3:
            relay.cut()
        else:
            rest = self._dice.choice(["", "\nevent", "\nevent: .*\nda", "\n.*\n.*\n(?=\n)", "\n.*\n.*\n\n"])
            relay.lose = re.compile(f"\nid: {await head(self._client) + self._dice.randint(1, 20)}{rest}".encode())

    async def _submit(self) -> None:
        await self._client.submit(self._dice.choice("abc"))


@pytest.mark.parametrize("seed", range(5))
async def test_every_subscriber_sees_its_part_of_the_log_exactly(dsn: str, seed: int) -> None:
    async with relayed() as one, relayed() as other, session() as http, at_work() as following:
        async with running(dsn, one) as steady, running(dsn, other) as restless:
            key = await key_of(Client(steady.http, steady.store))
            life = Life((steady, restless), key, following, seed)
            log = await life.go_on(http)
        await until(lambda: all(task.done() for task in following), following)
    for subscriber in life.subscribers:
        events = [event for event in subscriber.events if event.type != "end"]
        assert events == subscriber.expected(log), (subscriber.wish.path, subscriber.since)
    assert sum(len(subscriber.events) for subscriber in life.subscribers) > 500, "there was something to see"
    assert sum(subscriber.connections - 1 for subscriber in life.subscribers) > 10, "and it was hard to see"
