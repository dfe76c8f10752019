"""Knows how a reader catches up with its channel: what comes is held for it while what was is read from the log and
sent, as fast as the reader takes it. So there is neither a gap nor a repeat where the one follows on the other.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from aiohttp import web

from jobstore.store.history import Entry
from jobstore.web import frames
from jobstore.web.channel import Channel, Reader
from jobstore.web.folds import ENDS, Folds
from jobstore.web.reading import Reading

PIECE: Final = 2**16  # bytes that are written at a time
STALLED: Final = 30.0  # seconds without the reader taking anything, after which it is given up


class Catching:
    """A reader who was sent everything up to `cursor`, on the way to its channel.

    `over` is the last position of its job, once that has ended. With `speed` the past is sent at so many times its own
    pace.
    """

    def __init__(
        self,
        reader: Reader,
        channel: Channel,
        reading: Reading,
        folds: Folds,
        response: web.StreamResponse,
        *,
        cursor: int,
        over: int | None = None,
        speed: float | None = None,
    ) -> None:
        self._reader = reader
        self._channel = channel
        self._reading = reading
        self._folds = folds
        self._response = response
        self._cursor = cursor
        self._over = over
        self._speed = speed
        self._last: datetime | None = None

    async def up(self) -> None:
        """Send what was. Then the reader is a live one, or its feed is over."""
        reader, channel = self._reader, self._channel
        while not reader.ended.done():
            await self._either(channel.reached(max(self._cursor, self._over or 0)))
            if channel.lost or reader.ended.done():
                break
            target = channel.hold(reader)
            async for page in self._reading.pages(reader.wish.filter.jobs, self._cursor, target):
                await self._send(page)
                if reader.ended.done():
                    break
            else:
                self._cursor = target
                if self._over is not None:
                    await self._write(frames.end(target))
                    reader.end()
                    return
                if channel.join(reader):
                    return
        await self._write(frames.mark(self._cursor))
        reader.end()

    async def _write(self, data: bytes) -> None:
        """Send this, when there is room for it. Raises TimeoutError when there is none for long."""
        async with asyncio.timeout(STALLED):
            await self._response.write(data)

    async def _send(self, page: Sequence[Entry]) -> None:
        folds, reader = self._folds, self._reader
        filter, audience, ends, _ = reader.wish
        await folds.load(folds.missing(page))
        pieces: list[bytes] = []
        size = 0
        for entry in page:
            moment = folds.moment(entry)
            if filter.has(entry.job, entry.type, moment.job):
                if self._speed is not None and not await self._pause(entry.at):
                    return
                pieces.append(moment.frame(audience))
                size += len(pieces[-1])
                if ends and entry.type in ENDS:
                    self._over = entry.position
            if size > PIECE or (pieces and (entry is page[-1] or self._speed is not None)):
                await self._write(b"".join(pieces))
                pieces, size = [], 0
                self._cursor = entry.position
        if page:
            self._cursor = page[-1].position
        folds.trim()

    async def _pause(self, at: datetime) -> bool:
        """Let pass what passed before the event at `at`, at the speed asked for; False when the feed has ended."""
        assert self._speed is not None
        if self._last is not None and at > self._last:
            await asyncio.wait([self._reader.ended], timeout=(at - self._last).total_seconds() / self._speed)
        self._last = at
        return not self._reader.ended.done()

    async def _either(self, future: "asyncio.Future[None]") -> None:
        """Wait for it, or until the feed has ended."""
        if not future.done():
            await asyncio.wait([future, self._reader.ended], return_when=asyncio.FIRST_COMPLETED)
