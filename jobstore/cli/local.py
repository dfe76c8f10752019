"""Knows how a database is followed, without a server between; must not know how that is shown."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import click

from jobstore.cli.eventstream import Event, Parser
from jobstore.job.projection import ANYBODY, Audience, Projection
from jobstore.store import Store
from jobstore.store.accounts import Mistaken
from jobstore.store.history import Entry
from jobstore.store.postgres import Unavailable
from jobstore.web.filters import Filter
from jobstore.web.folds import ENDS, Folds
from jobstore.web.reading import Reading


class Wanted(NamedTuple):
    """What is followed: the events that `filter` has, above the position `after` or else from now on.

    With `ends` it is over when a job is. With `speed` the past is told at so many times its own pace.
    """

    filter: Filter
    after: int | None = None
    projection: Projection[Any] | None = None
    audience: Audience = ANYBODY
    ends: bool = False
    speed: float | None = None


async def events(store: Store, account_id: int, wanted: Wanted) -> AsyncGenerator[Event]:
    """What the account's feed tells, each event once, in order, whatever becomes of the database meanwhile.

    The tail only says how far the log has come; what is told is read from there. So nothing heaps up here when it is
    told faster than it is taken. Raises Mistaken when the log has not come to where it is asked for; Unavailable when
    the database cannot be reached at first.
    """
    news = asyncio.Event()

    def hear(_: Sequence[Entry]) -> None:
        news.set()

    cursor = await store.tail.follow(account_id, hear)
    try:
        if wanted.after is not None:
            head = await store.history.head(account_id)
            if wanted.after > head:
                raise Mistaken(f"the log ends at position {head}")
            cursor = wanted.after
        past = _Past(store, account_id, wanted, cursor)
        while True:
            news.clear()
            try:
                async for event in past.up_to(store.tail.position(account_id) or 0):
                    yield event
            except Unavailable as error:
                click.echo(f"trying again: {error}", err=True)
                continue
            if past.over:
                return
            await news.wait()
    finally:
        store.tail.unfollow(account_id, hear)


class _Past:
    """Reads a log on from where it was left. `over`: the feed is."""

    def __init__(self, store: Store, account_id: int, wanted: Wanted, cursor: int) -> None:
        self.over = False
        self._wanted = wanted
        self._cursor = cursor
        self._reading = Reading(store.history, asyncio.Semaphore(), account_id)
        self._folds = Folds(store.views, account_id, wanted.projection, looks=wanted.filter.looks)
        self._parser = Parser()
        self._speed = wanted.speed
        self._last: datetime | None = None
        self._ended = False

    async def up_to(self, head: int) -> AsyncGenerator[Event]:
        """What there is above where it was left, up to the position `head`. Raises Unavailable."""
        filter, folds = self._wanted.filter, self._folds
        async for page in self._reading.pages(filter.jobs, self._cursor, head):
            await folds.load(folds.missing(page))
            for entry in page:
                moment = folds.moment(entry)
                if filter.has(entry.job, entry.type, moment.job):
                    await self._pass(entry.at)
                    for event in self._parser.feed(moment.frame(self._wanted.audience)):
                        yield event
                self._cursor = entry.position
                self._ended |= entry.type in ENDS
            folds.trim()
        self._cursor = max(self._cursor, head)
        self._speed = None
        self.over = self._wanted.ends and self._ended

    async def _pass(self, at: datetime) -> None:
        """Let pass what passed before this moment, while the past is told at a pace."""
        if self._speed is not None and self._last is not None:
            await asyncio.sleep((at - self._last).total_seconds() / self._speed)
        self._last = at
