"""Knows how to show a job without reading its whole history each time, and without ever showing an old view.

A poll asks which version the job is at, together with all polls that are under way; a view folded before is brought up
to that version by the events it lacks. A long fold leaves a memo in `views`, which another process starts from.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from jobstore.job import codec
from jobstore.job.events import JobErased
from jobstore.job.projection import ANYBODY, TICK, Audience, Projection, V, tick
from jobstore.store.clock import now
from jobstore.store.coalesce import Coalescer
from jobstore.store.history import GONE, PAGE, Entry, History
from jobstore.store.memos import Memo, Memos, Slot
from jobstore.store.postgres import Postgres
from jobstore.store.request import Appended

MEMO_AFTER: Final = 200  # events; a fold longer than this is worth a row
LEAST: Final = 1000  # bytes that a kept view takes, besides four times what it shows

WHERE = f"""
SELECT account_id, job, last.version, last.position, {GONE.format("last.type", "wanted.account_id", "wanted.job")}
FROM unnest($1::integer[], $2::bigint[]) AS wanted (account_id, job), LATERAL (
    SELECT version, position, type FROM events
    WHERE events.account_id = wanted.account_id AND events.job = wanted.job ORDER BY version DESC LIMIT 1
) AS last
"""
NEWER = """
SELECT wanted.account_id, wanted.job, wanted.after, found.*
FROM unnest($1::integer[], $2::bigint[], $3::integer[]) AS wanted (account_id, job, after), LATERAL (
    SELECT position, job, version, type, at, data, by, trace FROM events
    WHERE events.account_id = wanted.account_id AND events.job = wanted.job AND events.version > wanted.after
    ORDER BY version LIMIT $4
) AS found
"""
_ERASED: Final = codec.NAMES[JobErased]

log = logging.getLogger(__name__)

T = TypeVar("T")

Job = tuple[int, int]  # account_id, number


class Where(NamedTuple):
    """Where a job stands: at its last event, which after a removal stays the removal."""

    version: int
    position: int
    removed: bool


@dataclass(slots=True)
class Shown:
    """A job as a format shows it, and the version and position that the view is of.

    It is for one audience, and for the second from `since` where it changes as time goes by. `head` is for whoever
    serves it: what goes before the body and is the same each time.
    """

    version: int
    position: int
    body: bytes
    audience: Audience = ANYBODY
    since: datetime | None = None
    head: bytes | None = None


class _Folded:
    """A view in memory: what it shows is rendered when first asked for, and kept for whoever asked last."""

    __slots__ = ("position", "shown", "size", "version", "view")

    def __init__(self, version: int, position: int, view: Any) -> None:
        self.version = version
        self.position = position
        self.view = view
        self.shown: Shown | None = None
        self.size = LEAST


class Views:
    """Shows jobs. `memory` bounds the views kept, in bytes of what they show. Methods raise Unavailable."""

    def __init__(
        self,
        postgres: Postgres,
        history: History,
        *,
        memory: int = 64 * 2**20,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._history = history
        self._memory = memory
        self._size = 0
        self._folded: OrderedDict[Slot, _Folded] = OrderedDict()
        self._folding: dict[Slot, asyncio.Task[_Folded]] = {}
        self._memos = Memos(postgres)
        self._writing: set[asyncio.Task[None]] = set()
        self._line = postgres.line()
        self._places: Coalescer[Job, Where] = Coalescer(self._load_places, self._line.rest)
        self._news: Coalescer[tuple[int, int, int], list[Entry]] = Coalescer(self._load_news)

    def where(self, account_id: int, number: int) -> Awaitable[Where | None]:
        """Where a job stands now, or None when there is no such job. Exact: the answer is younger than the question."""
        return self._places.ask((account_id, number))

    async def show(
        self, account_id: int, number: int, where: Where, projection: Projection[Any], audience: Audience = ANYBODY
    ) -> Shown:
        """The job at `where` or, if it has moved on since, later."""
        slot = (account_id, number, projection.name)
        folded = self._folded.get(slot)
        if folded is None or folded.version < where.version:
            folded = await self._bring(slot, where, projection)
        else:
            self._folded.move_to_end(slot)
        return self._render(slot, folded, projection, audience)

    async def show_exactly(
        self,
        account_id: int,
        number: int,
        where: Where,
        projection: Projection[Any],
        audience: Audience = ANYBODY,
    ) -> Shown:
        """The job at `where`, neither earlier nor later, if it stood there just now."""
        slot = (account_id, number, projection.name)
        return self._render(slot, await self._exactly(slot, where, projection), projection, audience)

    async def look(
        self, account_id: int, number: int, where: Where, projection: Projection[V], of: Callable[[V, datetime], T]
    ) -> tuple[int, T]:
        """What `of` makes of the view at `where`, or later, and of the present moment; and the version that it saw.

        It must neither keep nor change the view.
        """
        slot = (account_id, number, projection.name)
        folded = self._folded.get(slot)
        if folded is None or folded.version < where.version:
            folded = await self._bring(slot, where, projection)
        return folded.version, of(folded.view, tick(self._clock()))

    async def look_exactly(
        self, account_id: int, number: int, where: Where, projection: Projection[V], of: Callable[[V, datetime], T]
    ) -> T:
        """Like `look`, at `where` and not later."""
        folded = await self._exactly((account_id, number, projection.name), where, projection)
        return of(folded.view, tick(self._clock()))

    def take_in(self, account_id: int, appended: Appended, projection: Projection[Any]) -> Where:
        """Where an append of this process left its job; what was just recorded need not be read back."""
        number = appended.job
        slot = (account_id, number, projection.name)
        if appended.events and slot not in self._folding:
            folded = self._folded.get(slot)
            if folded is None and appended.first_version == 1:
                self._keep(slot, _Folded(appended.version, appended.position, projection.fold(appended.events)))
            elif folded is not None and folded.version == appended.first_version - 1:
                folded.view = projection.fold(appended.events, folded.view)
                folded.version, folded.position, folded.shown = appended.version, appended.position, None
        return Where(appended.version, appended.position, False)

    async def show_after(
        self, account_id: int, appended: Appended, projection: Projection[Any], audience: Audience = ANYBODY
    ) -> Shown:
        """The job as an append of this process left it."""
        where = self.take_in(account_id, appended, projection)
        if appended.repeated and await self.where(account_id, appended.job) != where:
            # What is kept of that version may be from before an erasure.
            view = await self._history.view(account_id, appended.job, where.version, projection)
            slot = (account_id, appended.job, projection.name)
            return self._render(slot, _Folded(where.version, where.position, view), projection, audience)
        return await self.show_exactly(account_id, appended.job, where, projection, audience)

    async def close(self) -> None:
        """Wait for memos under way."""
        if self._writing:
            await asyncio.wait(self._writing)

    # -- How it is done -------------------------------------------------------------------------------------------

    async def _load_places(self, jobs: list[Job]) -> dict[Job, Where]:
        accounts, numbers = zip(*jobs, strict=True)
        rows = await self._postgres.read(lambda connection: connection.fetch(WHERE, accounts, numbers), self._line)
        return {(row[0], row[1]): Where(row[2], row[3], row[4]) for row in rows}

    async def _load_news(self, wanted: list[tuple[int, int, int]]) -> dict[tuple[int, int, int], list[Entry]]:
        accounts, numbers, after = zip(*wanted, strict=True)
        rows = await self._postgres.read(lambda connection: connection.fetch(NEWER, accounts, numbers, after, PAGE))
        found: dict[tuple[int, int, int], list[Entry]] = {}
        for row in rows:
            account_id, number, since, *entry = row
            found.setdefault((account_id, number, since), []).append(Entry(*entry))
        return found

    async def _bring(self, slot: Slot, where: Where, projection: Projection[Any]) -> _Folded:
        """The view at `where` or later. To be used before anything else is waited for: it may change then."""
        while True:
            task = self._folding.get(slot)
            if task is None:
                task = self._folding[slot] = asyncio.create_task(self._fold(slot, where, projection))
            folded = await asyncio.shield(task)
            if folded.version >= where.version:
                return folded

    async def _exactly(self, slot: Slot, where: Where, projection: Projection[Any]) -> _Folded:
        """The view at `where`, neither earlier nor later. Like `_bring` to be used at once."""
        folded = self._folded.get(slot)
        if folded is None or folded.version < where.version:
            folded = await self._bring(slot, where, projection)
        if folded.version == where.version:
            return folded
        view = await self._history.view(*slot[:2], where.version, projection)
        return _Folded(where.version, where.position, view)

    async def _fold(self, slot: Slot, where: Where, projection: Projection[Any]) -> _Folded:
        """Bring the view up to `where`. While a view changes nobody else sees it: it is not among the folded ones.

        Where something was erased since its first events were read, it is folded anew: they are others now.
        """
        erased = 0  # the version of the last erasure that the fold began after
        try:
            folded = self._take(slot)
            if folded is None and where.version > MEMO_AFTER:
                memo = await self._memos.recall(slot, projection)
                folded = None if memo is None else _Folded(*memo)
            if folded is None:
                folded = _Folded(0, 0, projection.fold(()))
            since = folded.version
            while folded.version < where.version:
                page = await self._news.ask((*slot[:2], folded.version))
                if not page:
                    raise LookupError(f"job {slot[1]} has no version {folded.version + 1}")
                latest = max((entry.version for entry in page if entry.type == _ERASED), default=0)
                if folded.version and latest > erased:
                    folded, since, erased = _Folded(0, 0, projection.fold(())), 0, latest
                    continue
                folded.view = projection.fold((entry.recorded() for entry in page), folded.view)
                folded.version, folded.position, folded.shown = page[-1].version, page[-1].position, None
            self._keep(slot, folded)
            if folded.version - since > MEMO_AFTER:
                self._memorise(slot, projection, folded)
            return folded
        finally:
            del self._folding[slot]

    def _take(self, slot: Slot) -> _Folded | None:
        folded = self._folded.pop(slot, None)
        if folded is not None:
            self._size -= folded.size
        return folded

    def _keep(self, slot: Slot, folded: _Folded) -> None:
        """Keep a view, and let go of those that nobody has asked for the longest."""
        self._folded[slot] = folded
        self._size += folded.size
        while self._size > self._memory and len(self._folded) > 1:
            self._size -= self._folded.popitem(last=False)[1].size

    def _render(self, slot: Slot, folded: _Folded, projection: Projection[Any], audience: Audience) -> Shown:
        """Show a view; what it shows says how much memory it takes, if it is kept."""
        shown = folded.shown
        if (
            shown is not None
            and shown.audience == audience
            and (shown.since is None or shown.since <= self._clock() < shown.since + TICK)
        ):
            return shown
        at = tick(self._clock())
        since = at if projection.runs(folded.view) else None
        body = projection.show(folded.view, audience, at)
        folded.shown = shown = Shown(folded.version, folded.position, body, audience, since)
        size = LEAST + 4 * len(body)
        if self._folded.get(slot) is folded:
            self._size += size - folded.size
        folded.size = size
        return shown

    def _memorise(self, slot: Slot, projection: Projection[Any], folded: _Folded) -> None:
        """Write a memo, while others go on: it is of the view as it is now."""
        memo = Memo(folded.version, folded.position, projection.freeze(folded.view))

        async def write() -> None:
            try:
                await self._memos.keep(slot, projection, memo)
            except Exception as error:
                log.warning("a memo was not written, a later reader will: %s", error)

        task = asyncio.create_task(write())
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
