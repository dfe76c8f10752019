"""Knows the native calls that follow what happens: to one job, and to all of an account."""

import math
from typing import Any, Final

from aiohttp import web

from jobstore.job.projection import ANYBODY, Audience, Projection
from jobstore.store.accounts import Principal
from jobstore.web.credentials import principal
from jobstore.web.dialects import audience
from jobstore.web.filters import Filter, asked_jobs, asked_kinds, asked_states, asked_types
from jobstore.web.following import Wanted, follow
from jobstore.web.jobs import format_named
from jobstore.web.naming import STORE, number_in, number_of
from jobstore.web.problems import Problem

SLOWEST: Final = 0.01  # times the job's own pace
FASTEST: Final = 1_000_000


async def account_feed(request: web.Request) -> web.StreamResponse:
    """GET /feed"""
    who = await principal(request, "read")
    named = asked_jobs(request)
    wanted = Filter(None, asked_types(request), asked_kinds(request), asked_states(request))
    if named is not None:
        store = request.app[STORE]
        wanted = wanted._replace(jobs=frozenset([await number_of(store, who, text) for text in sorted(named)]))
    return await follow(request, who, Wanted(wanted, *_shown_as(request, who)))


async def job_feed(request: web.Request) -> web.StreamResponse:
    """GET /jobs/{id}/feed"""
    who = await principal(request, "read", of_job=True)
    number = await number_in(request, who)
    wanted = Filter(jobs=frozenset((number,)))
    return await follow(request, who, Wanted(wanted, *_shown_as(request, who), job=number, speed=_speed(request)))


def _shown_as(request: web.Request, who: Principal) -> tuple[Projection[Any] | None, Audience]:
    """The events themselves, unless the query asks for the job in a format."""
    name = request.query.get("format")
    if name is None:
        return None, ANYBODY
    projection = format_named(name)
    return projection, ANYBODY if name == "native" else audience(request, who, name)


def _speed(request: web.Request) -> float | None:
    text = request.query.get("replay")
    if text is None:
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not SLOWEST <= speed <= FASTEST:
        raise Problem("malformed", f"replay is a speed from {SLOWEST:g} to {FASTEST}, 1 being the job's own")
    return speed
