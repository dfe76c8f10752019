"""Knows what a feed shows of each event: the event itself, or the job in a format as it was after it.

Views are folded on, event by event, and kept for the jobs that had one last; another's is taken from `Views` when its
next event comes. Must not know who reads the feed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from jobstore.formats import native
from jobstore.job import codec
from jobstore.job.events import JobCancelled, JobCompleted, JobFailed, JobRemoved
from jobstore.job.projection import Audience, Projection
from jobstore.store.history import Entry
from jobstore.store.views import Views, Where
from jobstore.web.frames import frame

MOST: Final = 500  # jobs whose views are kept

ENDS: Final = frozenset(codec.NAMES[kind] for kind in (JobCompleted, JobFailed, JobCancelled))
_LAST: Final = ENDS | {codec.NAMES[JobRemoved]}


class Moment:
    """An event, and the view of its job after it; to be used before the next one is asked for.

    `job` is the native view, where a filter needs it.
    """

    __slots__ = ("_frames", "_projection", "_view", "entry", "job")

    def __init__(self, entry: Entry, projection: Projection[Any] | None, view: Any, job: native.Job | None) -> None:
        self.entry = entry
        self.job = job
        self._projection = projection
        self._view = view
        self._frames: dict[Audience, bytes] = {}

    def frame(self, audience: Audience) -> bytes:
        """The event as `audience` is sent it, encoded once."""
        found = self._frames.get(audience)
        if found is None:
            entry, projection = self.entry, self._projection
            if projection is None:
                data = native.recorded(*entry[:7])
            else:
                data = projection.show(self._view, audience, entry.at)
            found = self._frames[audience] = frame(entry.position, entry.type, data)
        return found


class Folds:
    """Moments of an account, in a format or None for the events themselves; with jobs when a filter looks at them."""

    def __init__(self, views: Views, account_id: int, projection: Projection[Any] | None, *, looks: bool) -> None:
        self._views = views
        self._account_id = account_id
        self._projection = projection
        self._looks = looks
        shown = () if projection is None else (projection,)
        self._projections = {fold.name: fold for fold in (*shown, *((native.PROJECTION,) if looks else ()))}
        self._kept: OrderedDict[int, tuple[int, dict[str, Any]]] = OrderedDict()
        self._over: set[int] = set()

    def missing(self, entries: Sequence[Entry]) -> list[Entry]:
        """The first events of those jobs whose views have to be loaded before the moments can be had."""
        if not self._projections:
            return []
        missing = []
        met: set[int] = set()
        for entry in entries:
            if entry.job not in met:
                met.add(entry.job)
                if entry.version > 1 and entry.job not in self._kept:
                    missing.append(entry)
        return missing

    async def load(self, missing: Sequence[Entry]) -> None:
        """Load the views before these events. Raises Unavailable."""
        before = await asyncio.gather(*map(self._before, missing))
        for entry, views in zip(missing, before, strict=True):
            self._kept[entry.job] = (entry.version - 1, views)

    def moment(self, entry: Entry) -> Moment:
        """The next event: nothing of it may be missing."""
        if not self._projections:
            return Moment(entry, None, None, None)
        version, views = self._kept.pop(entry.job, (0, {}))
        assert version == entry.version - 1, "views are loaded first"
        recorded = entry.recorded()
        for name, projection in self._projections.items():
            views[name] = projection.fold((recorded,), views.get(name))
        self._kept[entry.job] = (entry.version, views)
        if entry.type in _LAST:
            self._over.add(entry.job)
        shown = None if self._projection is None else views[self._projection.name]
        return Moment(entry, self._projection, shown, views[native.PROJECTION.name] if self._looks else None)

    def trim(self) -> None:
        """Let go of the views of jobs that are over, or had no event for the longest."""
        for number in self._over:
            self._kept.pop(number, None)
        self._over.clear()
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)

    async def _before(self, entry: Entry) -> dict[str, Any]:
        """Views of one's own, to be folded on: what `Views` keeps is not for changing."""
        where = Where(entry.version - 1, entry.position - 1, False)
        views = {}
        for name, projection in self._projections.items():
            frozen = await self._views.look_exactly(
                self._account_id, entry.job, where, projection, partial(_frozen, projection)
            )
            views[name] = projection.thaw(frozen)
        return views


def _frozen(projection: Projection[Any], view: Any, _: datetime) -> str:
    return projection.freeze(view)
