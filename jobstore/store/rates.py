"""Knows how often an account may ask and how often it has; must not know who grants a rate or how a refusal looks.

Requests are counted in Postgres, for all processes together, in windows that begin at whole multiples of their length
since the epoch. A process takes a share of the window at a time and grants requests from that without asking. What it
does not use of it is not granted, so there are never more than the limit.
"""

import asyncio
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from jobstore.store.mistaken import Mistaken
from jobstore.store.postgres import Postgres

SHARES: Final = 100  # of a window; a process takes one at a time

_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_RATE: Final = re.compile(rf"([1-9][0-9]{{0,8}})/({'|'.join(_SECONDS)})")

# A window never gives way to an earlier one: a process whose clock is behind counts in the later one. Of a window that
# is used up there is no row.
_LEASE = """
INSERT INTO quotas AS old (account_id, window_start, used) VALUES ($1, $2, $3)
ON CONFLICT (account_id) DO UPDATE SET
    window_start = greatest(old.window_start, excluded.window_start),
    used = CASE WHEN old.window_start < excluded.window_start THEN 0 ELSE old.used END + excluded.used
WHERE old.window_start < excluded.window_start OR old.used < $4
RETURNING used
"""


class Rate(NamedTuple):
    """At most `limit` requests in a window of so many seconds."""

    limit: int
    seconds: int


class Allowance(NamedTuple):
    """Whether a request is `granted`, and what is left: `remaining` requests in a window that ends in `reset` seconds.

    `limit` and `seconds` are the rate's. What other processes grant shows in `remaining` with the next share.
    """

    limit: int
    seconds: int
    remaining: int
    reset: int
    granted: bool


class Asker(Protocol):
    """Who asks, as far as it matters here: a Principal."""

    @property
    def account_id(self) -> int: ...

    @property
    def rate(self) -> Rate | None: ...


@dataclass(slots=True)
class _Share:
    """What this process may still grant of a window, and what nobody had taken of it when this share was."""

    rate: Rate
    start: int
    mine: int
    others: int


class Rates:
    """Counts the requests of accounts that have a rate. `clock` gives the seconds since the epoch."""

    def __init__(self, postgres: Postgres, *, clock: Callable[[], float] = time.time) -> None:
        self._postgres = postgres
        self._clock = clock
        self._shares: dict[int, _Share] = {}
        self._leasing: dict[int, asyncio.Task[None]] = {}

    async def take(self, who: Asker, *, free: bool = False) -> Allowance | None:
        """Count one request, or only look if it is `free`; None when the account has no rate.

        Raises Unavailable when Postgres does not answer.
        """
        rate = who.rate
        if rate is None:
            return None
        now = self._clock()
        start = int(now // rate.seconds) * rate.seconds
        while True:
            share = self._shares.get(who.account_id)
            if share is not None and share.rate == rate and share.start >= start and (share.mine or not share.others):
                break
            await self._lease(who.account_id, rate, start)
        granted = free or share.mine > 0
        share.mine -= granted and not free
        reset = max(1, math.ceil(share.start + rate.seconds - now))
        return Allowance(*rate, share.mine + share.others, reset, granted)

    async def _lease(self, account_id: int, rate: Rate, start: int) -> None:
        """One question an account at a time, however many wait for its answer."""
        task = self._leasing.get(account_id)
        if task is None:
            task = self._leasing[account_id] = asyncio.create_task(self._take_share(account_id, rate, start))
            task.add_done_callback(lambda _: self._leasing.pop(account_id, None))
        await asyncio.shield(task)

    async def _take_share(self, account_id: int, rate: Rate, start: int) -> None:
        size = max(1, rate.limit // SHARES)
        # One that is asked for again, because the answer was lost, is lost: nobody grants it.
        used = await self._postgres.read(
            lambda connection: connection.fetchval(_LEASE, account_id, start, size, rate.limit)
        )
        if used is None:
            self._shares[account_id] = _Share(rate, start, 0, 0)
        else:
            mine = min(size, rate.limit - (used - size))
            self._shares[account_id] = _Share(rate, start, mine, max(0, rate.limit - used))


def parse_rate(text: str) -> Rate:
    """The rate that a text such as 5000/hour says. Raises Mistaken for any other text."""
    said = _RATE.fullmatch(text)
    if said is None:
        raise Mistaken(
            f"{text!r} is not a rate: a whole number above 0, then /second, /minute, /hour or /day: 5000/hour"
        )
    return Rate(int(said[1]), _SECONDS[said[2]])
