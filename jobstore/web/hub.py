"""Knows who reads feeds: which channels that takes, for how long each reader stays, and whether its key is still good.

One task looks after all readers once a second, however many there are. Must not know what is sent.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from aiohttp import web

from jobstore.job.projection import Projection
from jobstore.store.accounts import Gate
from jobstore.store.history import Entry
from jobstore.store.postgres import Unavailable
from jobstore.store.views import Views
from jobstore.web import frames
from jobstore.web.channel import Channel, Reader
from jobstore.web.folds import Folds

HEARTBEAT: Final = 15.0  # seconds
TICK: Final = 1.0  # seconds
LIFE: Final = 3600.0  # seconds that a reader stays at most
READING: Final = 4  # pages that are read from the log at a time, for all who catch up

Key = tuple[int, str | None, bool]  # account_id, format, whether filters look at jobs


class Tail(Protocol):
    """What follows the logs of accounts."""

    async def follow(self, account_id: int, listener: Callable[[Sequence[Entry]], None]) -> int: ...

    def unfollow(self, account_id: int, listener: Callable[[Sequence[Entry]], None]) -> None: ...


class Hub:
    """All feeds of a process. `life` is how many seconds a reader may stay before it has to come back."""

    def __init__(self, tail: Tail, views: Views, gate: Gate, *, life: float = LIFE) -> None:
        self.stopping = False
        self.reading = asyncio.Semaphore(READING)
        self._tail = tail
        self._views = views
        self._gate = gate
        self._life = life
        self._channels: dict[Key, _Open] = {}
        self._readers: dict[Reader, Channel] = {}
        self._came = 0
        self._looking: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many readers there are."""
        return len(self._readers)

    @asynccontextmanager
    async def channel(
        self, account_id: int, projection: Projection[Any] | None, *, looks: bool
    ) -> AsyncIterator[Channel]:
        """The channel of an account in a format, open while anybody needs it. Raises Unavailable."""
        key = (account_id, None if projection is None else projection.name, looks)
        opened = self._channels.get(key)
        if opened is None:
            folds = Folds(self._views, account_id, projection, looks=looks)
            opened = self._channels[key] = _Open(self._tail, account_id, folds, lambda: self._give_up(key))
        opened.users += 1
        try:
            await asyncio.shield(opened.following)
            yield opened.channel
        finally:
            opened.users -= 1
            if not opened.users:
                opened.close()
                if self._channels.get(key) is opened:
                    del self._channels[key]

    def enter(self, reader: Reader, channel: Channel) -> None:
        """Look after a reader of the channel. Of many that come at once each has its own time for heartbeat and end."""
        now = asyncio.get_running_loop().time()
        self._came += 1
        reader.beat = now + HEARTBEAT * (1 + self._came % 16) / 16
        reader.until = now + self._life * (1 - self._came % 64 / 256)
        self._readers[reader] = channel
        if self.stopping:
            channel.end(reader)
        elif self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_after())

    def leave(self, reader: Reader) -> None:
        """The reader is gone."""
        channel = self._readers.pop(reader, None)
        if channel is not None:
            channel.leave(reader)

    async def stop(self) -> None:
        """End every feed, those that are still to come too. Readers come back elsewhere."""
        self.stopping = True
        for reader, channel in list(self._readers.items()):
            channel.end(reader)
        tasks = [task for task in (self._looking, self._checking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def look(self, now: float) -> None:
        """Send the heartbeats that are due, and end the feeds of those who are gone or have stayed long enough."""
        for reader, channel in list(self._readers.items()):
            if reader.transport.is_closing():
                reader.end()
            elif now >= reader.until:
                channel.end(reader)
            elif now >= reader.beat:
                reader.beat = now + HEARTBEAT
                reader.write(_BEAT if reader.wish.chunked else _PLAIN_BEAT)

    async def check(self) -> None:
        """End the feeds whose keys were revoked."""
        try:
            revoked = await self._gate.revoked({reader.key for reader in self._readers})
        except Unavailable:
            return
        if revoked:
            for reader, channel in list(self._readers.items()):
                if reader.key in revoked:
                    channel.end(reader)

    async def _look_after(self) -> None:
        loop = asyncio.get_running_loop()
        while self._readers:
            await asyncio.sleep(TICK)
            self.look(loop.time())
            if self._checking is None or self._checking.done():
                self._checking = asyncio.create_task(self.check())

    def _give_up(self, key: Key) -> None:
        """Whoever comes from now on gets a new channel."""
        self._channels.pop(key).unfollow()


_PLAIN_BEAT: Final = frames.comment()
_BEAT: Final = frames.chunk(_PLAIN_BEAT)


class _Open:
    """A channel, how many need it, and its following of the log."""

    def __init__(self, tail: Tail, account_id: int, folds: Folds, give_up: Callable[[], None]) -> None:
        self.users = 0
        self.channel = Channel(folds, give_up)
        self.following = asyncio.create_task(self._follow())
        self._tail = tail
        self._account_id = account_id
        self._followed = False

    async def _follow(self) -> None:
        self.channel.begin(await self._tail.follow(self._account_id, self.channel.hear))
        self._followed = True

    def unfollow(self) -> None:
        """Hear no more of the log."""
        if self._followed:
            self._followed = False
            self._tail.unfollow(self._account_id, self.channel.hear)

    def close(self) -> None:
        """Nobody needs it any more."""
        self.following.cancel()
        self.unfollow()
        self.channel.close()


HUB: Final = web.AppKey("hub", Hub)
