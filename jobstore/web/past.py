"""Knows how a moment of the past is asked for: `?at=`, with any call that reads jobs; must not know what is read."""

from datetime import datetime
from typing import NamedTuple

from aiohttp import web

from jobstore.job.projection import tick
from jobstore.store import Store
from jobstore.store.accounts import Principal
from jobstore.web import conditions
from jobstore.web.naming import STORE
from jobstore.web.problems import Problem


class Moment(NamedTuple):
    """A moment of an account's log: where that ended, and what time it was, which says how long a job had run."""

    position: int
    at: datetime


async def moment(request: web.Request, who: Principal) -> Moment | None:
    """The moment that is asked for; None for the present. Raises Problem for one that has not come yet."""
    text = request.query.get("at")
    return None if text is None else await find(request.app[STORE], who.account_id, text)


async def find(store: Store, account_id: int, text: str) -> Moment:
    """The moment that `text` says: a position, or a time with its offset. Raises Problem."""
    at = conditions.moment(text)
    if isinstance(at, int):
        head = await store.history.head(account_id)
        if at > head:
            raise Problem("not-reached", f"the log ends at position {head}", position=head)
        return Moment(at, tick(await store.history.time_of(account_id, at) or store.clock()))
    if at > store.clock():
        raise Problem("malformed", "at is in the future")
    return Moment(await store.history.position_at(account_id, at), tick(at))
