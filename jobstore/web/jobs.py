"""Knows the native calls about jobs: submit, poll, list."""

from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from jobstore.formats import FORMATS, PROJECTIONS, native
from jobstore.formats.contract import Format
from jobstore.formats.contract import number as plain_number
from jobstore.formats.contract import uid as plain_uid
from jobstore.job.decider import LEADS_TO
from jobstore.job.projection import ANYBODY, Audience, Projection
from jobstore.store import Store
from jobstore.store.accounts import Principal
from jobstore.store.clock import now, uuid7
from jobstore.store.jobs import Listed
from jobstore.store.request import Append, Appended
from jobstore.store.views import Shown, Where
from jobstore.web import conditions
from jobstore.web.bodies import read_json
from jobstore.web.credentials import principal
from jobstore.web.dialects import audience
from jobstore.web.naming import NO_SUCH_JOB, STORE, number_in
from jobstore.web.past import Moment, find, moment
from jobstore.web.problems import Problem
from jobstore.web.ready import Ready, answer, head, suits

LARGEST: Final = 2**53  # of the numbers that a job can bring along; every JSON reader has it exactly


async def submit(request: web.Request) -> web.StreamResponse:
    """POST /jobs"""
    who = await principal(request, "write")
    body, value = await read_json(request)
    wanted = native.submission(value)
    projection, to = _shown_as(request, who, wanted.format)
    key, digest = conditions.idempotency(request, body)
    store = request.app[STORE]
    kept = _kept(wanted)
    command = wanted.command(kept if isinstance(kept, str) else uuid7(now()))
    appended = await store.ledger.append(
        Append(
            who.account_id,
            None,
            (command,),
            who.by,
            key=key,
            digest=digest,
            trace=conditions.trace(request),
            number=kept if isinstance(kept, int) else None,
            imported=kept is not None,
        )
    )
    shown = await store.views.show_after(who.account_id, appended, projection, to)
    headers = {**_headers(shown), "Location": await _location(store, who, appended, wanted.format, to)}
    if appended.repeated:
        headers["Idempotency-Replayed"] = "true"
    return answer(request, 202, headers, shown.body)


async def poll(request: web.Request) -> web.StreamResponse:
    """GET /jobs/{id}"""
    who = await principal(request, "read", of_job=True)
    store = request.app[STORE]
    number = await number_in(request, who)
    query = request.query if request.rel_url.raw_query_string else {}
    projection, to = _shown_as(request, who, query.get("format", "native"))
    if "at" in query:
        return await _as_of(store, who, number, await find(store, who.account_id, query["at"]), projection, to)
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
    shown = await store.views.show(who.account_id, number, where, projection, to)
    return _shown(request, shown, wait, kept=projection is native.PROJECTION)


async def index(request: web.Request) -> web.Response:
    """GET /jobs"""
    who = await principal(request, "read")
    store = request.app[STORE]
    query = request.query
    projection, to = _shown_as(request, who, query.get("format", "native"))
    phase = query.get("state")
    if phase is not None and phase not in LEADS_TO.values():
        raise Problem("malformed", f"state is one of {', '.join(sorted(set(LEADS_TO.values())))}")
    limit = conditions.whole(request, "limit", least=1, most=100, default=20)
    below = conditions.whole(request, "cursor", least=1, most=2**63 - 1, default=2**63 - 1)
    filters = {"phase": phase, "kind": _text(query.get("kind")), "user": _text(query.get("user"))}
    then = await moment(request, who)
    if then is None:
        page = await store.jobs.page(who.account_id, **filters, below=below, limit=limit + 1)
    else:
        page = await store.past.page(who.account_id, then.position, **filters, below=below, limit=limit + 1)
    more = len(page) > limit
    bodies = [await _listed(store, who, job, then, projection, to) for job in page[:limit]]
    headers = {}
    following = b"null"
    if more:
        cursor = page[limit - 1].number
        following = b'"%d"' % cursor
        kept = {name: value for name, value in query.items() if name != "cursor"}
        headers["Link"] = f'</jobs?{urlencode({**kept, "cursor": cursor})}>; rel="next"'
    body = b'{"jobs":[' + b",".join(bodies) + b'],"next":' + following + b"}"
    return web.Response(body=body, content_type="application/json", headers=headers)


async def _listed(
    store: Store, who: Principal, job: Listed, then: Moment | None, projection: Projection[Any], to: Audience
) -> bytes:
    """One of a list, as it was when the list was made, or at the moment that the list is of."""
    if then is not None:
        view = await store.past.view(who.account_id, job.number, job, projection)
        return projection.show(view, to, then.at)
    where = Where(job.version, job.position, False)
    return (await store.views.show_exactly(who.account_id, job.number, where, projection, to)).body


def format_named(name: str) -> Projection[Any]:
    """The format of that name. Raises Problem when there is none."""
    projection = PROJECTIONS.get(name)
    if projection is None:
        raise Problem("malformed", f"format is one of {', '.join(PROJECTIONS)}")
    return projection


def _shown_as(request: web.Request, who: Principal, name: str) -> tuple[Projection[Any], Audience]:
    if name == "native":
        return native.PROJECTION, ANYBODY
    return format_named(name), audience(request, who, name)


def _kept(wanted: native.Submission) -> int | str | None:
    """The number or uid that an imported job keeps. Raises Problem."""
    if wanted.id is None:
        return None
    text = str(wanted.id)
    format = FORMATS.get(wanted.format)
    kept = plain_number(text) or plain_uid(text) if format is None else format.identify(text)
    if kept is None or (isinstance(kept, int) and kept > LARGEST):
        raise Problem("malformed", f"{text} cannot be the id of a job in the format {wanted.format}")
    return kept


async def _location(store: Store, who: Principal, appended: Appended, name: str, to: Audience) -> str:
    """The job's address in a format."""
    format: Format[Any] | None = FORMATS.get(name)
    if format is None:
        return f"/jobs/{appended.job}"
    where = Where(appended.version, appended.position, False)
    uid = await store.views.look_exactly(who.account_id, appended.job, where, native.PROJECTION, lambda job, _: job.uid)
    return format.location(appended.job, uid, to)


async def _as_of(
    store: Store, who: Principal, number: int, then: Moment, projection: Projection[Any], to: Audience
) -> web.Response:
    where = await store.past.where(who.account_id, number, then.position)
    if where is None:
        raise Problem("not-found", f"there was no such job at position {then.position}")
    if where.removed:
        raise Problem("gone", f"its history is at /jobs/{number}/events")
    view = await store.past.view(who.account_id, number, where, projection)
    body = projection.show(view, to, then.at)
    headers = _headers(Shown(where.version, where.position, body))
    return web.Response(body=body, content_type="application/json", headers=headers)


async def _reach(store: Store, who: Principal, text: str, wait: float) -> None:
    """Answer nothing from before that position. What is committed is always seen, so it is there or in the future."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Problem("malformed", "after is a position")
    head = await store.watch.reached(who.account_id, int(text), wait)
    if head < int(text):
        raise Problem("not-reached", f"the log ends at position {head}", position=head)


def _headers(shown: Shown) -> dict[str, str]:
    return {"ETag": f'"{shown.version}"', "Jobstore-Position": str(shown.position)}


def _shown(request: web.Request, shown: Shown, wait: float, *, kept: bool) -> web.StreamResponse:
    """The answer. The head is `kept` with the native view only: with a vendor's it is that of the vendor's own poll."""
    if wait or not kept or not suits(request):
        headers = {**_headers(shown), **_applied(wait)}
        return web.Response(body=shown.body, content_type="application/json", headers=headers)
    if shown.head is None:
        headers = {"Content-Type": "application/json", **_headers(shown)}
        shown.head = head(200, headers, len(shown.body))
    return Ready(200, shown.head, shown.body)


def _unchanged(request: web.Request, where: Where, wait: float) -> web.StreamResponse:
    if wait or not suits(request):
        headers = {"ETag": f'"{where.version}"', "Jobstore-Position": str(where.position), **_applied(wait)}
        return web.Response(status=304, headers=headers)
    return Ready(304, _unchanged_head(where.version, where.position), b"")


@lru_cache(maxsize=10_000)
def _unchanged_head(version: int, position: int) -> bytes:
    return head(304, {"ETag": f'"{version}"', "Jobstore-Position": str(position)}, None)


def _applied(wait: float) -> dict[str, str]:
    return {"Preference-Applied": f"wait={int(wait)}"} if wait else {}


def _text(value: str | None) -> str | None:
    if value is not None and "\0" in value:
        raise Problem("malformed", "a text contains the character NUL")
    return value
