"""Knows which job is meant: by its number, its uid, or the id that it goes by in a vendor's dialect."""

from typing import Any, Final

from aiohttp import web

from jobstore.formats import FORMATS
from jobstore.formats.contract import Format, number, uid
from jobstore.store import Store
from jobstore.store.accounts import Principal
from jobstore.web.problems import Problem

STORE: Final = web.AppKey("store", Store)

NO_SUCH_JOB: Final = "there is no such job"


async def number_in(request: web.Request, who: Principal, format: Format[Any] | None = None) -> int:
    """The number of the job that the address names, in `format`'s way or else in any.

    Raises Problem when there can be none, or when the key is for another job.
    """
    text = request.match_info["id"]
    named = number(text) if format is None else format.identify(text)
    if isinstance(named, str):
        found = await request.app[STORE].jobs.number_of(who.account_id, named)
    elif named is None and format is None:
        found = await _find(request.app[STORE], who, text)
    else:
        found = named
    if who.job is not None and found != who.job:
        raise Problem("forbidden", "this key is for another job")
    if found is None:
        raise Problem("not-found", NO_SUCH_JOB)
    return found


async def number_of(store: Store, who: Principal, text: str) -> int:
    """The number of the job that `text` names: by its number, its uid, or in the way of any format.

    Raises Problem when there can be none.
    """
    found = await _find(store, who, text)
    if found is None:
        raise Problem("not-found", NO_SUCH_JOB)
    return found


async def _find(store: Store, who: Principal, text: str) -> int | None:
    plain = number(text)
    if plain is not None:
        return plain
    known = uid(text)
    if known is not None:
        return await store.jobs.number_of(who.account_id, known)
    for format in FORMATS.values():
        named = format.identify(text)
        if named is not None:
            return await store.jobs.number_of(who.account_id, named) if isinstance(named, str) else named
    return None
