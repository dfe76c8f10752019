"""Knows clients that never give a feed up, and what they should have been sent: the log, through their filter."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

import aiohttp

from jobstore.formats import PROJECTIONS, native
from jobstore.job.projection import Audience
from jobstore.store.history import Entry
from tests.web.eventstream import Event, Parser

PATIENCE: Final = 60.0  # seconds, after which a test calls it a hang
SILENCE: Final = 40.0  # seconds; a server that is there says something every 15


class Past(NamedTuple):
    """An event of the log, and its job after it: of which kind, in which state, how it is shown in each format."""

    entry: Entry
    kind: str
    state: str
    shown: Mapping[str, str]


class Wish(NamedTuple):
    """What is asked for, and which events that is. `format`: in which the job is shown, instead of the event."""

    path: str
    has: Callable[[Past], bool]
    format: str | None = None
    headers: Mapping[str, str] = {}


class Subscriber:
    """A client that was cut off goes on at the next address, from the last id that it has seen.

    `since` is the position after which it began; it is `over` when there is nothing more to come, or nothing is wanted.
    """

    def __init__(self, addresses: Sequence[str], wish: Wish, key: str, *, since: int | None = None) -> None:
        self.wish = wish
        self.since = since
        self.events: list[Event] = []
        self.connections = 0
        self.over = False
        self._addresses = addresses
        self._headers = {"Authorization": f"Bearer {key}", **wish.headers}
        self._last = "" if since is None else str(since)

    async def follow(self, http: aiohttp.ClientSession) -> None:
        """Follow until it is over."""
        for address in itertools.cycle(self._addresses):
            with suppress(aiohttp.ClientError, TimeoutError):
                await self._read(http, address)
            if self.over:
                return
            await asyncio.sleep(random.uniform(0.01, 0.1))

    def expected(self, log: Sequence[Past]) -> list[Event]:
        """What it is to be sent of a log, which is whole."""
        assert self.since is not None
        return [
            Event(
                past.entry.type,
                native.recorded(*past.entry[:7]).decode() if self.wish.format is None else past.shown[self.wish.format],
                str(past.entry.position),
            )
            for past in log[self.since :]
            if self.wish.has(past)
        ]

    def has_all(self, log: Sequence[Past]) -> bool:
        """Whether it was sent as many events as it should."""
        return self.since is not None and len(self.events) >= sum(map(self.wish.has, log[self.since :]))

    async def _read(self, http: aiohttp.ClientSession, address: str) -> None:
        headers = self._headers | ({"Last-Event-ID": self._last} if self._last else {})
        async with http.get(address + self.wish.path, headers=headers) as response:
            if response.status == 204:
                self.over = True
            if response.status in (204, 503):
                return
            assert response.status == 200, await response.text()
            self.connections += 1
            parser = Parser()
            parser.feed(await response.content.readuntil(b"\n\n"))
            self._last = parser.last_event_id or self._last
            if self.since is None and self._last:
                self.since = int(self._last)
            async for data in response.content.iter_any():
                self.events += parser.feed(data)
                self._last = parser.last_event_id or self._last


def of_jobs(*numbers: int) -> Callable[[Past], bool]:
    """The events of these jobs."""
    return lambda past: past.entry.job in numbers


def session() -> aiohttp.ClientSession:
    """For as many subscribers as there are."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=SILENCE)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)


def pasts(log: Sequence[Entry], audience: Audience) -> Iterator[Past]:
    """The log, as it is shown to an audience."""
    views: dict[tuple[str, int], Any] = {}
    for entry in log:
        shown = {}
        for name, projection in PROJECTIONS.items():
            place = (name, entry.job)
            views[place] = projection.fold((entry.recorded(),), views.get(place))
            shown[name] = projection.show(views[place], audience, entry.at).decode()
        job: native.Job = views[native.PROJECTION.name, entry.job]
        yield Past(entry, job.kind, job.state, shown)


@asynccontextmanager
async def at_work(*coroutines: Any) -> AsyncIterator[list["asyncio.Task[None]"]]:
    """Tasks, of which none is left afterwards."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool], tasks: list["asyncio.Task[None]"]) -> None:
    """Wait until it is so, and none of the tasks has failed."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.02)
