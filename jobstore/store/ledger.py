"""Knows how events get into the log: the group commit. The rules, each of which a test holds:

1. A position is drawn from the account's head row, which stays locked until commit. So positions are gapless, and
   whoever has seen position n has seen all up to n.
2. Requests that arrive while a transaction runs are written together by the next one. There are no timers.
3. A caller is answered after the commit that holds its events, and never with "recorded" when that is not known.
4. A request is refused alone. A failure of the whole batch is tried again, in the end request by request.
5. Where the connection is lost during commit, the next transaction looks whether the events are there before it writes.
6. An account whose head somebody else holds waits in a lane of its own; no other account waits for it.

Who is written when is decided here; `batch` decides what, `writing` writes it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from operator import attrgetter
from typing import Final

from jobstore.store.batch import Draft
from jobstore.store.clock import now
from jobstore.store.postgres import Postgres, Unavailable, describe, is_transient
from jobstore.store.request import Append, Appended
from jobstore.store.writing import Unsure, Writer, Written

BATCH: Final = 500  # requests a transaction; more gives no more throughput and makes the first one wait
MANY: Final = 40  # waiting requests; of more than these, one half is decided while the other is written

_deadline = attrgetter("deadline")

log = logging.getLogger(__name__)

Listener = Callable[[Draft], None]


class Ledger:
    """Appends for one process. `patience` is how long, in seconds, a request may wait before it is given up."""

    def __init__(self, postgres: Postgres, *, patience: float = 10.0, clock: Callable[[], datetime] = now) -> None:
        self._patience = patience
        self.postgres = postgres
        self.writer = Writer(postgres, clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._common = _Lane(self, alone=False)
        self._apart: dict[int, _Lane] = {}
        self._waiting = asyncio.Semaphore(max(1, postgres.connections // 2))  # who waits for a lock holds a connection
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every draft that this process has committed, after the callers were answered."""
        self._listeners.append(listener)

    def append(self, request: Append) -> asyncio.Future[Appended]:
        """Record what `request` says, durably. What is asked for first, for an account, is recorded first.

        The future raises Refused, NoSuchJob, Conflict, IdTaken, Claimed or KeyReused: nothing was recorded. Or
        Unavailable: it is not known whether it was recorded; asking again with the same idempotency key is safe.
        """
        loop = self._loop
        if loop is None:  # kept: to ask for the running loop is a call of the operating system
            loop = self._loop = asyncio.get_running_loop()
        request.future = loop.create_future()
        request.deadline = loop.time() + self._patience
        self._apart.get(request.account_id, self._common).put(request)
        return request.future

    async def close(self) -> None:
        """Wait until all that was asked for has been answered."""
        while tasks := [lane.task for lane in (self._common, *self._apart.values()) if lane.task is not None]:
            await asyncio.wait(tasks)

    def _tell(self, draft: Draft) -> None:
        for listener in self._listeners:
            try:
                listener(draft)
            except Exception:
                log.exception("a listener failed")


class _Lane:
    """Requests in line, and the one task that writes them while there are any. Each account gets an equal share of a
    batch, so that one with a thousand requests does not keep another's single one waiting.

    While one batch is being written the next one is decided, on what the first one is expected to leave. It is sent in
    the moment in which the first one is committed, and the callers of that are answered while Postgres works.
    """

    def __init__(self, ledger: Ledger, *, alone: bool) -> None:
        self.task: asyncio.Task[None] | None = None
        self._ledger = ledger
        self._alone = alone
        self._line = ledger.postgres.line()
        self._queues: dict[int, deque[Append]] = {}
        self._next: list[Append] = []
        self._draft: Draft | None = None  # of the next
        self._decided = False  # whether it is known what the write under way will leave
        self._committed: list[Draft] = []  # to be answered

    def put(self, request: Append) -> None:
        queue = self._queues.get(request.account_id)
        if queue is None:
            queue = self._queues[request.account_id] = deque()
        queue.append(request)
        if self.task is None:
            self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        writer, loop = self._ledger.writer, asyncio.get_running_loop()
        batch: list[Append] = []
        try:
            while self._queues or self._next or await self._more():
                batch, draft = self._next or self._take(self._half()), self._draft
                self._next, self._draft = [], None
                if draft is None or not writer.expects(draft):
                    draft = writer.prepare(batch)
                self._decided = draft is not None
                loop.call_soon(self._meanwhile, loop)
                left = await self._write(batch, draft, None)
                self._decided = False
                self._set_apart(left)
        except BaseException as error:
            self._answer()
            # Nobody is left waiting, whatever happens here.
            waiting = (request for queue in self._queues.values() for request in queue)
            for request in (*batch, *self._next, *waiting):
                request.answer(Unavailable(f"the log cannot be written: {describe(error)}"))
            self._queues.clear()
            self._next = []
            raise
        finally:
            self.task = None
            if self._alone:
                apart = self._ledger._apart
                self._ledger._apart = {account_id: lane for account_id, lane in apart.items() if lane is not self}
            await self._line.rest()

    def _meanwhile(self, loop: asyncio.AbstractEventLoop) -> None:
        """A batch was sent: answer those of the one before and, when they have asked for more, decide the next."""
        if self._answer():
            loop.call_soon(self._decide)
        else:
            self._decide()

    def _decide(self) -> None:
        # What follows a batch that is not decided yet cannot be decided either.
        if self._decided and self._queues and not self._next:
            self._next = self._take(BATCH)
            self._draft = self._ledger.writer.prepare(self._next)

    async def _more(self) -> bool:
        """Answer the last callers; whether there is more to write at once."""
        if self._answer():
            await asyncio.sleep(0)
        return bool(self._queues)

    def _half(self) -> int:
        """How many to take when nothing is being written: half of many, so that the other half is decided meanwhile."""
        waiting = sum(map(len, self._queues.values()))
        return BATCH if waiting <= MANY else min(BATCH, waiting // 2)

    def _take(self, most: int) -> list[Append]:
        share = max(1, most // len(self._queues))
        batch: list[Append] = []
        for account_id in list(self._queues)[:most]:
            queue = self._queues.pop(account_id)
            batch.extend(queue.popleft() for _ in range(min(share, len(queue))))
            if queue:
                self._queues[account_id] = queue  # at the end of the line
        return batch

    async def _write(self, batch: list[Append], draft: Draft | None, unsure: Draft | None) -> list[Append]:
        """Write a batch until every request in it is answered, but for those whose head is held: they are left."""
        ledger = self._ledger
        failure: BaseException | None = None
        pause = 0.02
        while batch := self._in_time(batch, failure):
            try:
                if (
                    draft is not None
                    and len(draft.outcomes) == len(batch)
                    and await ledger.writer.write_ahead(draft, self._line)
                ):
                    result = Written(draft, [])
                else:
                    wait = self._alone or unsure is not None
                    async with ledger._waiting if wait else nullcontext():
                        result = await ledger.writer.write_locked(batch, wait=wait, unsure=unsure)
            except Exception as error:
                draft, failure = None, error.__cause__ or error
                if isinstance(error, Unsure):
                    unsure = error.draft
                elif not is_transient(error):
                    return await self._write_each(batch, error, unsure)
                await asyncio.sleep(pause)
                pause = min(0.5, pause * 2)
            else:
                self._committed.append(result.draft)
                return result.left
        return []

    def _answer(self) -> bool:
        """Answer the callers of what was committed since the last call, if anything was."""
        committed, self._committed = self._committed, []
        for draft in committed:
            draft.answer()
            self._ledger._tell(draft)
        return bool(committed)

    @staticmethod
    def _in_time(batch: list[Append], failure: BaseException | None) -> list[Append]:
        """The requests that may be tried; the others have waited too long and hear so."""
        now = asyncio.get_running_loop().time()
        if min(map(_deadline, batch)) > now:
            return batch
        why = "there is too much to write" if failure is None else describe(failure)
        for request in batch:
            if request.deadline <= now:
                request.answer(Unavailable(f"the log cannot be written: {why}"))
        return [request for request in batch if request.deadline > now]

    async def _write_each(self, batch: list[Append], error: Exception, unsure: Draft | None) -> list[Append]:
        """Something in the batch cannot be written at all. Alone, everybody meets only the own failure."""
        if len(batch) == 1:
            batch[0].answer(error)
            return []
        left: list[Append] = []
        for request in batch:
            if any(request.account_id == other.account_id for other in left):
                left.append(request)  # what was put first is recorded first
            else:
                left += await self._write([request], None, unsure)
                self._answer()
        return left

    def _set_apart(self, left: list[Append]) -> None:
        """Move the accounts of `left`, with all that stands in line for them, to lanes of their own, in order."""
        if not left:
            return
        apart = self._ledger._apart
        for account_id in dict.fromkeys(request.account_id for request in left):
            lane = apart[account_id] = _Lane(self._ledger, alone=True)
            for request in (*left, *self._next, *self._queues.pop(account_id, ())):
                if request.account_id == account_id:
                    lane.put(request)
        self._next = [request for request in self._next if request.account_id not in apart]
        self._draft = None
