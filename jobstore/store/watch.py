"""Knows who waits for a job to change, or for a log to grow, and wakes them; must not know what they do with it.

That something happened is heard from the tail. What is so then is asked of the database, at the end of a wait too: an
answer is exact however late the news.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from jobstore.store.history import Entry, History
from jobstore.store.tail import Tail
from jobstore.store.views import Views, Where

LOG: Final = 0  # where else there is a job's number, which is never 0: the account's log


class Watch:
    """Waits. Methods raise Unavailable when Postgres does not answer."""

    def __init__(self, tail: Tail, views: Views, history: History) -> None:
        self._tail = tail
        self._views = views
        self._history = history
        self._waiting: dict[int, _Waiting] = {}
        self._stopping = False

    async def past(self, account_id: int, number: int, version: int, seconds: float) -> Where | None:
        """Where the job stands when it is past `version`, or after `seconds`; None when there is no such job."""
        deadline = asyncio.get_running_loop().time() + seconds
        async with self._expecting(account_id, number, version + 1) as event:
            where = await self._views.where(account_id, number)
            if where is None or where.version > version:
                return where
            await _heard(event, deadline)
        return await self._views.where(account_id, number)

    async def reached(self, account_id: int, position: int, seconds: float) -> int:
        """Where the account's log ends, at once if that is at `position` or past it, or else after `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        head = await self._history.head(account_id)
        if head >= position or seconds <= 0:
            return head
        async with self._expecting(account_id, LOG, position) as event:
            head = await self._history.head(account_id)
            if head >= position:
                return head
            await _heard(event, deadline)
        return await self._history.head(account_id)

    def stop(self) -> None:
        """Let everybody go who waits; they find their job as it is."""
        self._stopping = True
        for waiting in self._waiting.values():
            for events in waiting.events.values():
                for event in events:
                    event.set()

    @asynccontextmanager
    async def _expecting(self, account_id: int, what: int, least: int) -> AsyncIterator[asyncio.Event]:
        """What is set once the job `what` has at least the version `least`, or the log the position. From here on:
        what was so before is to be asked for."""
        waiting = self._waiting.get(account_id)
        if waiting is None:
            waiting = self._waiting[account_id] = _Waiting()
        event = asyncio.Event()
        if self._stopping:
            event.set()
        waiting.events.setdefault(what, {})[event] = least
        try:
            await self._tail.follow(account_id, waiting.hear)
            yield event
        finally:
            del waiting.events[what][event]
            if not waiting.events[what]:
                del waiting.events[what]
            if not waiting.events:
                del self._waiting[account_id]
                self._tail.unfollow(account_id, waiting.hear)


class _Waiting:
    """Who waits in one account: for which job or for the log, and for what version or position of it."""

    def __init__(self) -> None:
        self.events: dict[int, dict[asyncio.Event, int]] = {}

    def hear(self, entries: Sequence[Entry]) -> None:
        """The listener of the account."""
        for entry in entries:
            self._reach(entry.job, entry.version)
        self._reach(LOG, entries[-1].position)

    def _reach(self, what: int, reached: int) -> None:
        for event, least in self.events.get(what, {}).items():
            if least <= reached:
                event.set()


async def _heard(event: asyncio.Event, deadline: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await event.wait()
