"""Knows how what a feed missed is read from the log: in pages, in order, up to a position; must not know who for."""

from asyncio import Semaphore
from collections.abc import AsyncIterator, Set
from heapq import heapify, heappop, heapreplace
from typing import Final

from jobstore.store.history import Entry, History

PAGE: Final = 500  # events
NEAR: Final = 2 * PAGE  # events of the account; when there are no more, those of single jobs are picked out of them


class Reading:
    """Reads an account's log, a page at a time and in `turn` with others who read. Methods raise Unavailable."""

    def __init__(self, history: History, turn: Semaphore, account_id: int) -> None:
        self._history = history
        self._turn = turn
        self._account_id = account_id

    async def pages(self, jobs: Set[int] | None, after: int, to: int) -> AsyncIterator[list[Entry]]:
        """What was recorded of these jobs, or of all, above `after` and up to `to`."""
        if jobs is not None and to - after > NEAR:
            async for page in self._merged(jobs, after, to):
                yield page
            return
        while after < to:
            async with self._turn:
                page = await self._history.of_account(self._account_id, after=after, limit=min(PAGE, to - after))
            if not page:
                raise LookupError(f"the log has no position {after + 1}")
            after = page[-1].position
            yield page if jobs is None else [entry for entry in page if entry.job in jobs]

    async def _merged(self, jobs: Set[int], after: int, to: int) -> AsyncIterator[list[Entry]]:
        histories = [self._of_job(number, after, to) for number in jobs]
        firsts = [(await anext(history, None), history) for history in histories]
        heap = [(entry.position, entry, history) for entry, history in firsts if entry is not None]
        heapify(heap)
        page: list[Entry] = []
        while heap:
            _, entry, history = heap[0]
            page.append(entry)
            following = await anext(history, None)
            if following is None:
                heappop(heap)
            else:
                heapreplace(heap, (following.position, following, history))
            if len(page) == PAGE:
                yield page
                page = []
        yield page

    async def _of_job(self, number: int, after: int, to: int) -> AsyncIterator[Entry]:
        version = 0
        while True:
            async with self._turn:
                page = await self._history.of_job(self._account_id, number, after=version, limit=PAGE)
            for entry in page:
                if entry.position > to:
                    return
                if entry.position > after:
                    yield entry
            if len(page) < PAGE:
                return
            version = page[-1].version
