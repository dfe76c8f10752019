"""Knows how an account's events reach many readers: one encoding and one write a reader, found by dictionary.

A channel is an account's log in one format. It stands at a position; its readers have been sent everything up to there,
or are catching up, and what comes meanwhile is held for them. Readers who want the same are a group, and share bytes.
Must not know where a reader comes from, or how it caught up.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from jobstore.job.projection import ANYBODY, Audience
from jobstore.store.history import Entry
from jobstore.web import frames
from jobstore.web.filters import Filter
from jobstore.web.folds import ENDS, Folds, Moment

BUFFER: Final = 2**20  # bytes that are kept for a reader who does not read, beyond which it is cut off
BEHIND: Final = 20_000  # events that wait for views to be loaded, beyond which the channel is given up
TURN: Final = 200  # events that are folded before others have their turn

log = logging.getLogger(__name__)


class Wish(NamedTuple):
    """What a reader wants of a channel, and how. `ends`: it is one job's feed, and over when the job is."""

    filter: Filter = Filter()
    audience: Audience = ANYBODY
    ends: bool = False
    chunked: bool = True


def in_chunks(data: bytes, wish: Wish) -> bytes:
    """Frames as they go over the wire; a client of HTTP/1.0 knows no chunks."""
    return frames.chunk(data) if wish.chunked else data


class Reader:
    """One connection that reads a feed. `ended` is done when nothing more will be sent: what is left is to close it."""

    __slots__ = ("_size", "beat", "ended", "held", "key", "transport", "until", "wish")

    def __init__(self, transport: asyncio.Transport, wish: Wish, key: str) -> None:
        self.transport = transport
        self.wish = wish
        self.key = key
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.held: list[bytes] | None = None
        self.beat = self.until = 0.0
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send what has its chunk around it already, unless the reader is gone, or too slow and so to be gone."""
        if self.is_gone():
            self.transport.abort()
            self.end()
        else:
            self.transport.write(data)

    def is_gone(self) -> bool:
        """Whether the connection is closing, or keeps more than can be kept."""
        return self.transport.is_closing() or self.transport.get_write_buffer_size() > BUFFER

    def hold(self) -> None:
        """Keep what comes from now on."""
        self.held, self._size = [], 0

    def keep(self, data: bytes) -> bool:
        """Hold this; False when it is too much, and nothing is held any more."""
        assert self.held is not None
        self._size += len(data)
        if self._size > BUFFER:
            self.held = None
            return False
        self.held.append(data)
        return True

    def end(self) -> None:
        """Nothing more will be sent."""
        if not self.ended.done():
            self.ended.set_result(None)


class _Group:
    """Readers with the same wish: those who are sent what comes, and those for whom it is held."""

    __slots__ = ("_most", "_wish", "frames", "holding", "live", "over")

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self.live: dict[Reader, asyncio.Transport] = {}
        self.holding: set[Reader] = set()
        self.frames: list[bytes] = []
        self.over = False
        self._most = 0  # bytes; no live reader has more than this that it has not read

    def add(self, moment: Moment) -> None:
        """This event is for them, if their filter says so."""
        filter, audience, ends, _ = self._wish
        entry = moment.entry
        if filter.has(entry.job, entry.type, moment.job):
            self.frames.append(moment.frame(audience))
            self.over |= ends and entry.type in ENDS

    def send(self, position: int) -> None:
        """Send what was added. This is what is done a reader for each delivery, so it is next to nothing."""
        if not self.frames:
            return
        if self.over:
            self.frames.append(frames.end(position))
        data = in_chunks(b"".join(self.frames), self._wish)
        self.frames = []
        if self._most > BUFFER:
            self._let_go()
        closed = False
        for transport in self.live.values():
            try:
                transport.write(data)
            except RuntimeError:
                closed = True
        self._most += len(data)
        if closed:
            self._let_go()
        self.holding = {reader for reader in self.holding if reader.keep(data)}
        if self.over:
            for reader in list(self.live):
                self.leave(reader)
                reader.end()

    def enter(self, reader: Reader) -> None:
        self.live[reader] = reader.transport
        self._most = max(self._most, reader.transport.get_write_buffer_size())

    def leave(self, reader: Reader) -> None:
        self.live.pop(reader, None)
        self.holding.discard(reader)

    def _let_go(self) -> None:
        """Cut off those who do not read, and forget those who are gone."""
        for reader in [reader for reader in self.live if reader.is_gone()]:
            reader.transport.abort()
            self.leave(reader)
            reader.end()
        self._most = max((transport.get_write_buffer_size() for transport in self.live.values()), default=0)


class Channel:
    """The events of one account, as `folds` has them. `give_up` is called when it cannot go on."""

    def __init__(self, folds: Folds, give_up: Callable[[], None]) -> None:
        self.position = -1
        self.lost = False
        self._folds = folds
        self._give_up = give_up
        self._everything: dict[Wish, _Group] = {}
        self._jobs: dict[int, dict[Wish, _Group]] = {}
        self._groups: dict[Wish, _Group] = {}
        self._queue: deque[Entry] = deque()
        self._task: asyncio.Task[None] | None = None
        self._awaited: list[tuple[int, asyncio.Future[None]]] = []

    def begin(self, position: int) -> None:
        """The channel hears of everything above `position`."""
        self._advance(max(self.position, position))

    def hear(self, entries: Sequence[Entry]) -> None:
        """What is new in the log, in order."""
        if self.lost:
            return
        if self._task is None and not self._folds.missing(entries):
            try:
                self._deliver(entries)
            except Exception as error:
                self._lose(str(error))
            return
        self._queue.extend(entries)
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        if len(self._queue) > BEHIND:
            self._task.cancel()
            self._lose("too many events wait for their views")

    def hold(self, reader: Reader) -> int:
        """The position above which everything that the reader wants is held for it from now on."""
        reader.hold()
        self._group(reader.wish).holding.add(reader)
        return self.position

    def join(self, reader: Reader) -> bool:
        """Send the reader what is held for it, and from now on what comes; it was sent everything before that.

        False when more had to be held than can be: then it is to catch up again.
        """
        if reader.held is None:
            self.leave(reader)
            return False
        group = self._group(reader.wish)
        group.holding.discard(reader)
        held, reader.held = reader.held, None
        if held:
            reader.write(b"".join(held))
        if group.over:
            reader.end()
        if not reader.ended.done():
            group.enter(reader)
        return True

    def end(self, reader: Reader) -> None:
        """Send the reader nothing more. One that was sent everything is told how far that is."""
        group = self._groups.get(reader.wish)
        if group is not None:
            if reader in group.live:
                reader.write(in_chunks(frames.mark(self.position), reader.wish))
            group.leave(reader)
        reader.end()

    def leave(self, reader: Reader) -> None:
        """Forget the reader."""
        wish = reader.wish
        group = self._groups.get(wish)
        if group is None:
            return
        group.leave(reader)
        if not group.live and not group.holding:
            del self._groups[wish]
            self._everything.pop(wish, None)
            for number in wish.filter.jobs or ():
                del self._jobs[number][wish]
                if not self._jobs[number]:
                    del self._jobs[number]

    def reached(self, position: int) -> "asyncio.Future[None]":
        """Done when the channel stands at `position` or beyond it, or is lost."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if position <= self.position or self.lost:
            future.set_result(None)
        else:
            self._awaited.append((position, future))
        return future

    def close(self) -> None:
        """Nobody reads it any more."""
        if self._task is not None:
            self._task.cancel()

    # -- How it is done -------------------------------------------------------------------------------------------

    def _group(self, wish: Wish) -> _Group:
        group = self._groups.get(wish)
        if group is None:
            group = self._groups[wish] = _Group(wish)
            if wish.filter.jobs is None:
                self._everything[wish] = group
            else:
                for number in wish.filter.jobs:
                    self._jobs.setdefault(number, {})[wish] = group
        return group

    def _deliver(self, entries: Sequence[Entry]) -> None:
        """Send each group what is for it, all at once."""
        touched: dict[_Group, None] = dict.fromkeys(self._everything.values())
        for entry in entries:
            moment = self._folds.moment(entry)
            for group in self._everything.values():
                group.add(moment)
            concerned = self._jobs.get(entry.job)
            if concerned is not None:
                for group in concerned.values():
                    group.add(moment)
                    touched[group] = None
        self._folds.trim()
        position = entries[-1].position
        for group in touched:
            group.send(position)
        self._advance(position)

    def _advance(self, position: int) -> None:
        self.position = position
        if self._awaited:
            waiting, self._awaited = self._awaited, []
            for wanted, future in waiting:
                if wanted > position and not self.lost:
                    self._awaited.append((wanted, future))
                elif not future.done():
                    future.set_result(None)

    async def _work(self) -> None:
        """Deliver what waits for views to be loaded."""
        try:
            while self._queue:
                entries = [self._queue.popleft() for _ in range(min(TURN, len(self._queue)))]
                await self._folds.load(self._folds.missing(entries))
                self._deliver(entries)
                await asyncio.sleep(0)
            self._task = None
        except Exception as error:
            self._lose(str(error))

    def _lose(self, why: str) -> None:
        """Let every reader go; they come back to another channel, and catch up from the log."""
        log.warning("the readers of a feed have to come back: %s", why)
        self.lost = True
        self._queue.clear()
        self._give_up()
        for group in self._groups.values():
            for reader in (*group.live, *group.holding):
                self.end(reader)
        self._advance(self.position)
