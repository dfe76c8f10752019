"""Knows who waits for which job to change, and wakes them; must not know what they do with it.

A change made by this process wakes at once. For changes made by others, one question a second asks for all awaited
jobs.
"""

import asyncio
from typing import Final

from jobstore.store.batch import Draft
from jobstore.store.history import History
from jobstore.store.views import Job, Views, Where

EVERY: Final = 1.0  # seconds


class Watch:
    """Waits for jobs to change."""

    def __init__(self, views: Views, history: History) -> None:
        self._views = views
        self._history = history
        self._waiting: dict[Job, set[asyncio.Event]] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._stopping = False

    def hear(self, draft: Draft) -> None:
        """This process has committed `draft`."""
        if self._waiting:
            for account_id, jobs in draft.states.items():
                for number in jobs:
                    for event in self._waiting.get((account_id, number), ()):
                        event.set()

    async def past(self, account_id: int, number: int, version: int, seconds: float) -> Where | None:
        """Where the job stands when it is past `version`, or after `seconds`; None when there is no such job."""
        job = (account_id, number)
        deadline = asyncio.get_running_loop().time() + seconds
        event = asyncio.Event()
        self._waiting.setdefault(job, set()).add(event)
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())
        try:
            while True:
                event.clear()
                where = await self._views.where(account_id, number)
                if where is None or where.version > version or self._stopping:
                    return where
                try:
                    async with asyncio.timeout_at(deadline):
                        await event.wait()
                except TimeoutError:
                    return where
        finally:
            self._waiting[job].discard(event)
            if not self._waiting[job]:
                del self._waiting[job]

    async def reached(self, account_id: int, position: int, seconds: float) -> int:
        """Where the account's log ends, at once if that is at `position` or past it, or else after `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while (head := await self._history.head(account_id)) < position and not self._stopping:
            pause = min(EVERY / 4, deadline - asyncio.get_running_loop().time())
            if pause <= 0:
                break
            await asyncio.sleep(pause)
        return head

    def stop(self) -> None:
        """Let everybody go who waits; they find their job as it is."""
        self._stopping = True
        self._wake()

    def _wake(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def _sweep(self) -> None:
        while self._waiting:
            await asyncio.sleep(EVERY)
            self._wake()
        self._sweeper = None
