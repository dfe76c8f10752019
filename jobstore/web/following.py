"""Knows how a request becomes a feed: what is refused before it begins, how it begins, and how it ends."""

import asyncio
from typing import Any, Final, NamedTuple

from aiohttp import HttpVersion11, hdrs, web

from jobstore.formats import native
from jobstore.job.decider import TERMINAL
from jobstore.job.projection import ANYBODY, Audience, Projection
from jobstore.store.accounts import Principal
from jobstore.web import frames
from jobstore.web.catching import STALLED, Catching
from jobstore.web.channel import Channel, Reader, Wish
from jobstore.web.credentials import key_in
from jobstore.web.filters import Filter
from jobstore.web.folds import Folds
from jobstore.web.hub import HUB, Hub
from jobstore.web.naming import NO_SUCH_JOB, STORE
from jobstore.web.problems import Problem, break_off
from jobstore.web.reading import Reading
from jobstore.web.resuming import KEPT_FROM, Beginning, asked_from, begin

RETRY: Final = 2000  # milliseconds

_HEADERS: Final = {
    hdrs.CONTENT_TYPE: frames.MEDIA_TYPE,
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events to itself
}


class Wanted(NamedTuple):
    """A feed that was asked for. `job` is its only job, with which it ends; `speed` is that of the past replayed."""

    filter: Filter
    projection: Projection[Any] | None = None
    audience: Audience = ANYBODY
    job: int | None = None
    speed: float | None = None


async def follow(request: web.Request, who: Principal, wanted: Wanted) -> web.StreamResponse:
    """Answer with a feed, until it ends. Raises Problem or Unavailable before it begins."""
    hub = request.app[HUB]
    asked = asked_from(request)
    if asked is None and wanted.speed is not None:
        asked = 0
    async with hub.channel(who.account_id, wanted.projection, looks=wanted.filter.looks) as channel:
        head = channel.position
        if asked is not None and asked > head:
            head = await request.app[STORE].history.head(who.account_id)
        beginning = begin(asked, head, KEPT_FROM)
        over = None if wanted.job is None else await _over(request, who, wanted.job)
        if over is not None and over <= beginning.after:
            return web.Response(status=204)
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=_HEADERS)
        return await _answer(request, who, wanted, hub, channel, beginning, over)


async def _answer(
    request: web.Request,
    who: Principal,
    wanted: Wanted,
    hub: Hub,
    channel: Channel,
    beginning: Beginning,
    over: int | None,
) -> web.StreamResponse:
    response = web.StreamResponse(headers=_HEADERS)
    response.force_close()  # who comes back may come to another node
    if request.transport is None:
        return response  # the client has gone
    wish = Wish(wanted.filter, wanted.audience, wanted.job is not None, request.version >= HttpVersion11)
    reader = Reader(request.transport, wish, key_in(request.headers[hdrs.AUTHORIZATION]) or "")
    try:
        await response.prepare(request)
        hub.enter(reader, channel)
        await response.write(_opening(beginning))
        await Catching(
            reader,
            channel,
            Reading(request.app[STORE].history, hub.reading, who.account_id),
            Folds(request.app[STORE].views, who.account_id, wanted.projection, looks=wanted.filter.looks),
            response,
            cursor=beginning.after,
            over=over,
            speed=wanted.speed,
        ).up()
        await reader.ended
        async with asyncio.timeout(STALLED):
            await response.write_eof()
    except Exception as error:
        break_off(request, error)
    finally:
        hub.leave(reader)
    return response


def _opening(beginning: Beginning) -> bytes:
    """What comes first. The mark is for who came without a position and goes before the first event."""
    opening = frames.retry(RETRY) + frames.mark(beginning.after)
    return opening if beginning.gap is None else opening + frames.gap(*beginning.gap)


async def _over(request: web.Request, who: Principal, number: int) -> int | None:
    """The last position of a job that has ended; None while it goes on. Raises Problem when there is no such job."""
    views = request.app[STORE].views
    where = await views.where(who.account_id, number)
    if where is None:
        raise Problem("not-found", NO_SUCH_JOB)
    _, last = await views.look(
        who.account_id, number, where, native.PROJECTION, lambda job, _: job.position if job.state in TERMINAL else None
    )
    return last
