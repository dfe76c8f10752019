"""Knows how the calls of a vendor's API are carried out, whichever vendor it is: formats say what, this does it."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import hdrs, web

from jobstore.formats import FORMATS
from jobstore.formats.contract import (
    Act,
    Asked,
    Call,
    Failure,
    Format,
    Index,
    Limits,
    Page,
    Poll,
    Quota,
    Reply,
    Several,
    Starter,
    Sweep,
)  # fmt: skip
from jobstore.job.commands import Command, Remove
from jobstore.job.decider import Refused
from jobstore.job.projection import Audience
from jobstore.store.accounts import Mistaken, Principal, Scope
from jobstore.store.clock import now, uuid7
from jobstore.store.jobs import Listed
from jobstore.store.request import Append, Conflict
from jobstore.store.views import Shown, Where
from jobstore.web import forms
from jobstore.web.bodies import read_any
from jobstore.web.conditions import trace
from jobstore.web.credentials import principal
from jobstore.web.filters import Filter
from jobstore.web.following import Wanted, follow
from jobstore.web.frames import MEDIA_TYPE
from jobstore.web.naming import NO_SUCH_JOB, STORE, number_in
from jobstore.web.past import Moment, moment
from jobstore.web.problems import Problem
from jobstore.web.ready import Ready, head, suits
from jobstore.web.telling import ALLOWANCE, respond

URL: Final = web.AppKey("url", str)

TURNS: Final = 20  # times that an act is decided anew because the job moved meanwhile
SWEPT: Final = 500  # jobs that a sweep looks for at a time

_HOST: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")

C = TypeVar("C", bound=Command)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes() -> Iterator[web.RouteDef]:
    """Every call of every format."""
    for format in FORMATS.values():
        # Addresses that begin alike are tried in turn, and polls are asked for most.
        for call in sorted(format.calls, key=lambda call: not isinstance(call, Poll)):
            handler = _carried_out(format, call)
            for path in call.paths:
                yield web.get(path, handler) if call.method == "GET" else web.route(call.method, path, handler)


def audience(request: web.Request, who: Principal, name: str) -> Audience:
    """To whom the format of that name shows jobs here. Raises Problem when the Host field cannot be one."""
    format = FORMATS.get(name)
    revision = "" if format is None else who.revisions.get(name, format.revisions[0])
    return _audience(request.app[URL], request.scheme, request.host, who.account, revision)


@lru_cache(maxsize=1000)
def _audience(url: str, scheme: str, host: str, account: str, revision: str) -> Audience:
    if not url and not _HOST.fullmatch(host):
        raise Problem("bad-request", "the Host field is not a host's name")
    return Audience(url or f"{scheme}://{host}", account, revision)


def _carried_out(format: Format[Any], call: Call[Any]) -> Handler:
    match call:
        case Poll():
            return partial(_poll, format, call)
        case Index():
            return partial(_index, format, call)
        case Several():
            return partial(_several, format, call)
        case Starter():
            return partial(_start, format, call)
        case Act():
            return partial(_act, format, call)
        case Sweep():
            return partial(_sweep, format, call)
        case Limits():
            return partial(_limits, format, call)
        case _:
            raise TypeError(f"{format.name}: nobody knows how to carry out {call}")


# -- Calls --------------------------------------------------------------------------------------------------------


async def _poll(format: Format[Any], call: Poll[Any], request: web.Request) -> web.StreamResponse:
    who = await principal(request, "read", of_job=True)
    to = _told_to(request, who, format)
    number = await number_in(request, who, format)
    store = request.app[STORE]
    # Polls are many, and mostly ask for nothing.
    if request.rel_url.raw_query_string and (then := await moment(request, who)) is not None:
        return await _poll_past(format, call, request, who, to, number, then)
    where = await store.views.where(who.account_id, number)
    if where is None or where.removed:
        raise Problem("not-found", NO_SUCH_JOB)
    reply = call.reply
    if reply is None and _wants_feed(request):
        wanted = Filter(jobs=frozenset((number,)))
        return await follow(request, who, Wanted(wanted, format.projection, to, job=number))
    if reply is None:
        return _shown(request, await store.views.show(who.account_id, number, where, format.projection, to), format)
    asked = await _asked(request)
    _, told = await store.views.look(
        who.account_id, number, where, format.projection, lambda view, at: reply(view, asked, to, at)
    )
    return respond(told)


async def _poll_past(
    format: Format[Any], call: Poll[Any], request: web.Request, who: Principal, to: Audience, number: int, then: Moment
) -> web.Response:
    past = request.app[STORE].past
    where = await past.where(who.account_id, number, then.position)
    if where is None or where.removed:
        raise Problem("not-found", NO_SUCH_JOB)
    view = await past.view(who.account_id, number, where, format.projection)
    if call.reply is None:
        return respond(Reply(200, format.projection.show(view, to, then.at)))
    return respond(call.reply(view, await _asked(request), to, then.at))


async def _index(format: Format[Any], call: Index[Any], request: web.Request) -> web.StreamResponse:
    who, to = await _who(request, "read", format)
    asked = await _asked(request)
    search = call.read(asked)
    store = request.app[STORE]
    then = await moment(request, who)
    if then is None:
        found = await store.jobs.search(who.account_id, search)
    else:
        found = await store.past.search(who.account_id, then.position, search)
    items = await _items(format, call.item, request, who, to, found.jobs, then)
    return respond(call.reply(Page(items, search, found.found, found.total), asked, to))


async def _several(format: Format[Any], call: Several[Any], request: web.Request) -> web.StreamResponse:
    who, to = await _who(request, "read", format)
    asked = await _asked(request)
    store = request.app[STORE]
    named = [format.identify(text) for text in call.read(asked)]
    uids = await store.jobs.numbers_of(who.account_id, [name for name in named if isinstance(name, str)])
    numbers = [uids.get(name) if isinstance(name, str) else name for name in named]
    known = [number for number in numbers if number is not None]
    then = await moment(request, who)
    if then is None:
        jobs = await store.jobs.latest(who.account_id, known)
    else:
        jobs = await store.past.latest(who.account_id, then.position, known)
    return respond(call.reply(await _items(format, call.item, request, who, to, jobs, then), asked, to))


async def _start(format: Format[Any], call: Starter[Any], request: web.Request) -> web.StreamResponse:
    who, to = await _who(request, "write", format)
    new = call.read(await _asked(request), to)
    store = request.app[STORE]
    command = _checked(new.command(uuid7(now())))
    appended = await store.ledger.append(
        Append(
            who.account_id,
            None,
            (command,),
            who.by,
            trace=trace(request),
            exclusive=new.exclusive and new.claim is not None,
        )
    )
    where = store.views.take_in(who.account_id, appended, format.projection)
    told = await store.views.look_exactly(
        who.account_id, appended.job, where, format.projection, lambda view, at: call.reply(view, to, at)
    )
    return respond(told)


async def _act(format: Format[Any], call: Act[Any], request: web.Request) -> web.StreamResponse:
    who, to = await _who(request, "write", format, of_job=call.for_worker)
    number = await number_in(request, who, format)
    asked = await _asked(request)
    store = request.app[STORE]
    projection = format.projection
    for _ in range(TURNS):
        where = await _where(request, who, number)
        version, said = await store.views.look(
            who.account_id, number, where, projection, lambda view, _: call.read(asked, view)
        )
        if not said:
            told = await store.views.look(who.account_id, number, where, projection, partial(_of, call.reply, to))
            return respond(told[1])
        commands = tuple(_checked(command) for command in said)
        # The key is there before the event that it belongs to: a job without one would be nobody's.
        key = None if call.opens is None else await store.accounts.create_job_key(who.account_id, number)
        try:
            appended = await store.ledger.append(
                Append(who.account_id, number, commands, who.by, version, trace=trace(request))
            )
        except (Conflict, Refused) as error:
            if key is not None:
                with suppress(Mistaken):  # whoever acquired the job meanwhile has ended every key but theirs
                    await store.accounts.revoke(key[0])
            if isinstance(error, Refused):
                raise call.refused(error) from None
            continue
        of = partial(_of, call.reply, to)
        if call.opens is not None and key is not None:
            await store.accounts.keep_only_job_key(who.account_id, number, key[0])
            of = partial(_opened, call.opens, to, key[1])
        where = store.views.take_in(who.account_id, appended, projection)
        return respond(await store.views.look_exactly(who.account_id, number, where, projection, of))
    raise Failure("unavailable", "the job moves too fast; try again in a moment")


async def _sweep(format: Format[Any], call: Sweep[Any], request: web.Request) -> web.StreamResponse:
    who, to = await _who(request, "write", format)
    search = msgspec.structs.replace(call.read(await _asked(request)), limit=SWEPT)
    store = request.app[STORE]
    gone: list[Any] = []
    while page := (await store.jobs.search(who.account_id, search)).jobs:
        removed = await asyncio.gather(*(_removed(request, who, job) for job in page))
        swept = [job for job, done in zip(page, removed, strict=True) if done]
        gone += await _items(format, call.item, request, who, to, swept)
        search = msgspec.structs.replace(search, offset=search.offset + len(page) - len(swept))
    return respond(call.reply(gone))


async def _limits(format: Format[Any], call: Limits[Any], request: web.Request) -> web.StreamResponse:
    await _who(request, "read", format, free=True)
    allowance = request.get(ALLOWANCE)
    quota = None if allowance is None else Quota(allowance.limit, allowance.remaining, allowance.reset)
    return respond(call.reply(quota))


# -- How it is done -----------------------------------------------------------------------------------------------


async def _who(
    request: web.Request, scope: Scope, format: Format[Any], *, of_job: bool = False, free: bool = False
) -> tuple[Principal, Audience]:
    """Who asks, and how jobs are shown to them."""
    who = await principal(request, scope, of_job=of_job, free=free)
    return who, _told_to(request, who, format)


def _told_to(request: web.Request, who: Principal, format: Format[Any]) -> Audience:
    """How jobs are shown to who asks. Another account's address is nowhere."""
    if request.match_info.get("account", who.account) != who.account:
        raise Problem("not-found", "there is nothing at this address")
    return audience(request, who, format.name)


async def _asked(request: web.Request) -> Asked:
    body = await read_any(request) if request.body_exists else None
    path = dict(request.match_info)
    query = list(request.query.items())
    forms.check(*path.values(), *(text for pair in query for text in pair))
    if body is None and query and request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
        body = forms.nest(query)
    return Asked(path=path, query=query, body=body, address=request.path)


async def _where(request: web.Request, who: Principal, number: int) -> Where:
    where = await request.app[STORE].views.where(who.account_id, number)
    if where is None or where.removed:
        raise Problem("not-found", NO_SUCH_JOB)
    return where


async def _items(
    format: Format[Any],
    item: Callable[[Any, Audience, datetime], Any],
    request: web.Request,
    who: Principal,
    to: Audience,
    jobs: Sequence[Listed],
    then: Moment | None = None,
) -> list[Any]:
    """The jobs of a list, each as it was when the list was made, or at the moment that the list is of."""
    views, past = request.app[STORE].views, request.app[STORE].past
    of = partial(_of, item, to)

    async def one(job: Listed) -> Any:
        if then is not None:
            return item(await past.view(who.account_id, job.number, job, format.projection), to, then.at)
        where = Where(job.version, job.position, False)
        return await views.look_exactly(who.account_id, job.number, where, format.projection, of)

    return await asyncio.gather(*map(one, jobs))


async def _removed(request: web.Request, who: Principal, job: Listed) -> bool:
    try:
        asked = Append(who.account_id, job.number, (Remove(),), who.by, trace=trace(request))
        done = await request.app[STORE].ledger.append(asked)
    except Refused:
        return False
    return bool(done.events)


def _wants_feed(request: web.Request) -> bool:
    return request.method == hdrs.METH_GET and MEDIA_TYPE in request.headers.get(hdrs.ACCEPT, "")


def _of(show: Callable[[Any, Audience, datetime], Any], to: Audience, view: Any, at: datetime) -> Any:
    return show(view, to, at)


def _opened(
    show: Callable[[Any, Audience, datetime, str], Reply], to: Audience, key: str, view: Any, at: datetime
) -> Reply:
    return show(view, to, at, key)


def _checked(command: C) -> C:
    """The command, if it keeps to the bounds of its fields. Raises msgspec.ValidationError."""
    return msgspec.convert(msgspec.to_builtins(command), type(command))


def _shown(request: web.Request, shown: Shown, format: Format[Any]) -> web.StreamResponse:
    if not suits(request):
        return respond(Reply(200, shown.body))
    if shown.head is None:
        shown.head = head(200, {"Content-Type": "application/json", **format.limits(None)}, len(shown.body))
    return Ready(200, shown.head, shown.body)
