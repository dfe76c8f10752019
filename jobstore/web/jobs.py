"""Knows the native calls about jobs: submit, poll, list."""

import re
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web

from jobstore.formats import FORMATS, native
from jobstore.job.decider import LEADS_TO
from jobstore.job.projection import Projection
from jobstore.store import Store
from jobstore.store.accounts import Principal
from jobstore.store.batch import Append
from jobstore.store.clock import now, uuid7
from jobstore.store.views import Shown, Where
from jobstore.web import conditions
from jobstore.web.bodies import read_json
from jobstore.web.credentials import principal
from jobstore.web.problems import Problem
from jobstore.web.ready import Ready, head, suits

STORE: Final = web.AppKey("store", Store)

_UID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
NO_SUCH_JOB = "there is no such job"


async def submit(request: web.Request) -> web.Response:
    """POST /jobs"""
    who = await principal(request, "write")
    body, value = await read_json(request)
    wanted = native.submission(value)
    projection = format_named(wanted.format)
    key, digest = conditions.idempotency(request, body)
    store = request.app[STORE]
    command = wanted.command(uuid7(now()))
    appended = await store.ledger.append(Append(who.account_id, None, (command,), who.by, key=key, digest=digest))
    shown = await store.views.show_after(who.account_id, appended, projection)
    headers = {**_headers(shown), "Location": f"/jobs/{appended.job}"}
    if appended.repeated:
        headers["Idempotency-Replayed"] = "true"
    return web.Response(status=202, body=shown.body, content_type="application/json", headers=headers)


async def poll(request: web.Request) -> web.StreamResponse:
    """GET /jobs/{id}"""
    who = await principal(request, "read")
    store = request.app[STORE]
    number = await number_in(request, who)
    query = request.query if request.rel_url.raw_query_string else {}
    projection = format_named(query.get("format", "native"))
    if "at" in query:
        return await _as_of(store, who, number, query["at"], projection)
    wait = conditions.wait_seconds(request) if "Prefer" in request.headers else 0.0
    if "after" in query:
        await _reach(store, who, query["after"], wait)
    where = await store.views.where(who.account_id, number)
    if where is None:
        raise Problem("not-found", NO_SUCH_JOB)
    known = "If-None-Match" in request.headers and conditions.is_known(request, where.version)
    if known and wait and not where.removed and request.headers["If-None-Match"].strip() != "*":
        where = await store.watch.past(who.account_id, number, where.version, wait) or where
        known = conditions.is_known(request, where.version)
    if where.removed:
        raise Problem("gone", f"its history is at /jobs/{number}/events")
    if known:
        return _unchanged(request, where, wait)
    shown = await store.views.show(who.account_id, number, where, projection)
    return _shown(request, shown, wait)


async def index(request: web.Request) -> web.Response:
    """GET /jobs"""
    who = await principal(request, "read")
    store = request.app[STORE]
    query = request.query
    projection = format_named(query.get("format", "native"))
    phase = query.get("state")
    if phase is not None and phase not in LEADS_TO.values():
        raise Problem("malformed", f"state is one of {', '.join(sorted(set(LEADS_TO.values())))}")
    limit = conditions.whole(request, "limit", least=1, most=100, default=20)
    below = conditions.whole(request, "cursor", least=1, most=2**63 - 1, default=2**63 - 1)
    filters = {"phase": phase, "kind": _text(query.get("kind")), "user": _text(query.get("user"))}
    page = await store.jobs.page(who.account_id, **filters, below=below, limit=limit + 1)
    more = len(page) > limit
    bodies = [
        (
            await store.views.show_exactly(
                who.account_id, job.number, Where(job.version, job.position, False), projection
            )
        ).body
        for job in page[:limit]
    ]
    headers = {}
    following = b"null"
    if more:
        cursor = page[limit - 1].number
        following = b'"%d"' % cursor
        kept = {name: value for name, value in query.items() if name != "cursor"}
        headers["Link"] = f'</jobs?{urlencode({**kept, "cursor": cursor})}>; rel="next"'
    body = b'{"jobs":[' + b",".join(bodies) + b'],"next":' + following + b"}"
    return web.Response(body=body, content_type="application/json", headers=headers)


async def number_in(request: web.Request, who: Principal) -> int:
    """The number of the job that the address names. Raises Problem when there can be none."""
    return await number_of(request.app[STORE], who, request.match_info["id"])


async def number_of(store: Store, who: Principal, text: str) -> int:
    """The number of the job that `text` names, by number or uid. Raises Problem when there can be none."""
    if text.isdigit() and text.isascii() and len(text) <= 18 and text[0] != "0":
        return int(text)
    number = await store.jobs.number_of(who.account_id, UUID(text)) if _UID.fullmatch(text) else None
    if number is None:
        raise Problem("not-found", NO_SUCH_JOB)
    return number


def format_named(name: str) -> Projection[Any]:
    """The format of that name. Raises Problem when there is none."""
    projection = FORMATS.get(name)
    if projection is None:
        raise Problem("malformed", f"format is one of {', '.join(FORMATS)}")
    return projection


async def _as_of(store: Store, who: Principal, number: int, text: str, projection: Projection[Any]) -> web.Response:
    at = conditions.moment(text)
    if isinstance(at, int):
        head = await store.history.head(who.account_id)
        if at > head:
            raise Problem("not-reached", f"the log ends at position {head}", position=head)
        position = at
    elif at > now():
        raise Problem("malformed", "at is in the future")
    else:
        position = await store.history.position_at(who.account_id, at)
    where = await store.views.as_of(who.account_id, number, position)
    if where is None:
        raise Problem("not-found", f"there was no such job at position {position}")
    if where.removed:
        raise Problem("gone", f"its history is at /jobs/{number}/events")
    shown = await store.views.show_exactly(who.account_id, number, where, projection)
    return web.Response(body=shown.body, content_type="application/json", headers=_headers(shown))


async def _reach(store: Store, who: Principal, text: str, wait: float) -> None:
    """Answer nothing from before that position. What is committed is always seen, so it is there or in the future."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Problem("malformed", "after is a position")
    head = await store.watch.reached(who.account_id, int(text), wait)
    if head < int(text):
        raise Problem("not-reached", f"the log ends at position {head}", position=head)


def _headers(shown: Shown) -> dict[str, str]:
    return {"ETag": f'"{shown.version}"', "Jobstore-Position": str(shown.position)}


def _shown(request: web.Request, shown: Shown, wait: float) -> web.StreamResponse:
    if wait or not suits(request):
        headers = {**_headers(shown), **_applied(wait)}
        return web.Response(body=shown.body, content_type="application/json", headers=headers)
    if shown.head is None:
        headers = {"Content-Type": "application/json", **_headers(shown)}
        shown.head = head(200, headers, len(shown.body))
    return Ready(200, shown.head, shown.body)


def _unchanged(request: web.Request, where: Where, wait: float) -> web.StreamResponse:
    headers = {"ETag": f'"{where.version}"', "Jobstore-Position": str(where.position), **_applied(wait)}
    if not suits(request):
        return web.Response(status=304, headers=headers)
    return Ready(304, head(304, headers, None), b"")


def _applied(wait: float) -> dict[str, str]:
    return {"Preference-Applied": f"wait={int(wait)}"} if wait else {}


def _text(value: str | None) -> str | None:
    if value is not None and "\0" in value:
        raise Problem("malformed", "a text contains the character NUL")
    return value
