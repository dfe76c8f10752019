"""Knows the native calls about events: report them, read a job's history, read the account's log."""

from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from jobstore.formats import native
from jobstore.job import codec
from jobstore.job.events import Recorded
from jobstore.store.history import PAGE, Entry
from jobstore.store.request import Append, Appended
from jobstore.web import conditions
from jobstore.web.bodies import read_json
from jobstore.web.credentials import principal
from jobstore.web.naming import STORE, number_in
from jobstore.web.problems import Problem, break_off
from jobstore.web.ready import answer

NDJSON: Final = "application/x-ndjson"


async def report(request: web.Request) -> web.StreamResponse:
    """POST /jobs/{id}/events"""
    who = await principal(request, "write", of_job=True)
    number = await number_in(request, who)
    expected = conditions.expected_version(request)
    body, value = await read_json(request)
    commands = native.reports(value)
    key, digest = conditions.idempotency(request, body)
    store = request.app[STORE]
    trace = conditions.trace(request)
    appended = await store.ledger.append(Append(who.account_id, number, commands, who.by, expected, key, digest, trace))
    events = [_of_recorded(event) for event in appended.events]
    headers = {"Jobstore-Position": str(appended.position)}
    if appended.repeated:
        events = [_of_entry(entry) async for entry in _added(request, who.account_id, appended)]
        headers["Idempotency-Replayed"] = "true"
    shown = await store.views.show_after(who.account_id, appended, native.PROJECTION)
    headers["ETag"] = f'"{shown.version}"'
    return answer(request, 200, headers, b'{"events":[' + b",".join(events) + b'],"job":' + shown.body + b"}")


async def history(request: web.Request) -> web.StreamResponse:
    """GET /jobs/{id}/events"""
    who = await principal(request, "read", of_job=True)
    number = await number_in(request, who)
    store = request.app[STORE]
    after = conditions.whole(request, "after", least=0, most=2**31 - 1, default=0)
    if await store.views.where(who.account_id, number) is None:
        raise Problem("not-found", "there is no such job")
    if _wants_lines(request):
        return await _stream(request, store.history.pages_of_job(who.account_id, number, after=after))
    limit = conditions.whole(request, "limit", least=1, most=PAGE, default=100)
    page = await store.history.of_job(who.account_id, number, after=after, limit=limit + 1)
    return _page(request, page, limit, [entry.version for entry in page])


async def log(request: web.Request) -> web.StreamResponse:
    """GET /events"""
    who = await principal(request, "read")
    store = request.app[STORE]
    after = conditions.whole(request, "after", least=0, most=2**63 - 1, default=0)
    if _wants_lines(request):
        return await _stream(request, store.history.pages_of_account(who.account_id, after=after))
    limit = conditions.whole(request, "limit", least=1, most=PAGE, default=100)
    page = await store.history.of_account(who.account_id, after=after, limit=limit + 1)
    return _page(request, page, limit, [entry.position for entry in page])


def _wants_lines(request: web.Request) -> bool:
    return NDJSON in request.headers.get("Accept", "")


def _page(request: web.Request, page: list[Entry], limit: int, ids: list[int]) -> web.Response:
    headers = {}
    following = b"null"
    if len(page) > limit:
        following = b"%d" % ids[limit - 1]
        target = request.rel_url.update_query(after=str(ids[limit - 1]))
        headers["Link"] = f'<{target}>; rel="next"'
    events = b",".join(map(_of_entry, page[:limit]))
    return web.Response(
        body=b'{"events":[' + events + b'],"next":' + following + b"}",
        content_type="application/json",
        headers=headers,
    )


async def _stream(request: web.Request, pages: AsyncIterator[list[Entry]]) -> web.StreamResponse:
    """Lines of events to the end of what there is, or `limit` of them; a page in memory at a time."""
    left = conditions.whole(request, "limit", least=1, most=2**63 - 1, default=2**63 - 1)
    response = web.StreamResponse(headers={"Content-Type": NDJSON})
    await response.prepare(request)
    try:
        async for page in pages:
            page = page[:left]
            await response.write(b"".join(_of_entry(entry) + b"\n" for entry in page))
            left -= len(page)
            if not left:
                break
        await response.write_eof()
    except Exception as error:
        break_off(request, error)
    return response


async def _added(request: web.Request, account_id: int, appended: Appended) -> AsyncIterator[Entry]:
    """The events that the first request of a repeated one had added."""
    if appended.version < appended.first_version:
        return
    after = appended.first_version - 1
    pages = request.app[STORE].history.pages_of_job(account_id, appended.job, after=after)
    async for page in pages:
        for entry in page:
            if entry.version > appended.version:
                return
            yield entry


def _of_entry(entry: Entry) -> bytes:
    return native.recorded(*entry)


def _of_recorded(event: Recorded) -> bytes:
    return native.recorded(
        event.position,
        event.job,
        event.version,
        codec.name(event.event),
        event.at,
        codec.encode(event.event),
        event.by,
        event.trace,
    )
