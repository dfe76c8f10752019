"""Given an account with a rate, when it asks, then no more is granted in a window, by all processes together."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from jobstore.store import Store
from jobstore.store.accounts import Principal
from jobstore.store.postgres import Unavailable
from jobstore.store.rates import Allowance, Rate, Rates
from tests.store.asking import SECONDS, holding, query, until_locked

HELD = "LOCK TABLE quotas"


class Clock:
    """Stands until it is set."""

    def __init__(self, now: float = 7200.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Counted(Rates):
    """Counts how often Postgres is asked."""

    asked = 0

    async def _take_share(self, account_id: int, rate: Rate, start: int) -> None:
        self.asked += 1
        await super()._take_share(account_id, rate, start)


def asker(account_id: int, limit: int, seconds: int = 3600) -> Principal:
    """Somebody of an account that has this rate."""
    return Principal(account_id, "acme", "acme/tests", "read", rate=Rate(limit, seconds))


async def take(rates: Rates, who: Principal) -> Allowance:
    """What becomes of a request, in bounded time."""
    async with asyncio.timeout(SECONDS):
        allowance = await rates.take(who)
    assert allowance is not None
    return allowance


async def drain(rates: Rates, who: Principal) -> int:
    """How many requests are granted, one after the other, until one is not."""
    granted = 0
    while (await take(rates, who)).granted:
        granted += 1
    return granted


async def test_who_has_no_rate_is_not_counted(store: Store, account: int, dsn: str) -> None:
    assert await store.rates.take(Principal(account, "acme", "acme/tests", "read")) is None
    assert await query(dsn, "SELECT FROM quotas") == []


@pytest.mark.parametrize("limit", [1, 2, 99, 205, 1050])
async def test_a_window_grants_its_limit_and_counts_down_to_nothing(store: Store, account: int, limit: int) -> None:
    clock = Clock()
    rates, who = Rates(store.postgres, clock=clock), asker(account, limit)
    for _ in range(2):
        for left in range(limit - 1, -1, -1):
            assert await take(rates, who) == (limit, 3600, left, 3600, True)
        for _ in range(3):
            assert await take(rates, who) == (limit, 3600, 0, 3600, False)
        clock.now += 3600


async def test_to_look_takes_nothing_and_is_always_granted(store: Store, account: int) -> None:
    rates, who = Rates(store.postgres, clock=Clock()), asker(account, 3)
    for left in (3, 2, 1, 0):
        for _ in range(5):
            assert await rates.take(who, free=True) == (3, 3600, left, 3600, True)
        assert (await take(rates, who)).granted == (left > 0)


@pytest.mark.parametrize(
    ("seconds", "now", "reset"),
    [
        (3600, 7200.0, 3600), (3600, 7200.5, 3600), (3600, 7201.0, 3599), (3600, 10799.999, 1), (3600, 10799.0, 1),
        (1, 5.0, 1), (1, 5.999999, 1), (60, 59.5, 1), (86_400, 1_700_000_000.25, 6400),
    ],
)  # fmt: skip
async def test_windows_begin_at_multiples_of_their_length(
    store: Store, account: int, seconds: int, now: float, reset: int
) -> None:
    clock = Clock(now)
    rates, who = Rates(store.postgres, clock=clock), asker(account, 1, seconds)
    assert await take(rates, who) == (1, seconds, 0, reset, True)
    assert not (await take(rates, who)).granted
    clock.now = now // seconds * seconds + seconds
    assert await take(rates, who) == (1, seconds, 0, seconds, True)


@pytest.mark.parametrize("limit", [1, 7, 250, 1999])
async def test_processes_that_are_asked_at_once_grant_the_limit_together(dsn: str, account: int, limit: int) -> None:
    clock = Clock()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(Store(dsn, connections=2)) for _ in range(3)]
        each = [Rates(node.postgres, clock=clock) for node in nodes]
        for _ in range(2):
            askers = [drain(rates, asker(account, limit)) for rates in each for _ in range(5)]
            assert sum(await asyncio.gather(*askers)) == limit
            clock.now += 3600


async def test_what_a_process_leaves_of_its_share_nobody_else_grants(store: Store, account: int) -> None:
    clock, who = Clock(), asker(account, 500)
    idle, busy = Rates(store.postgres, clock=clock), Rates(store.postgres, clock=clock)
    assert (await take(idle, who)).remaining == 499
    assert await drain(busy, who) == 495
    assert await drain(idle, who) == 4


async def test_most_requests_ask_nobody(store: Store, account: int) -> None:
    rates, who = Counted(store.postgres, clock=Clock()), asker(account, 5000)
    for _ in range(500):
        await take(rates, who)
    assert rates.asked == 10
    assert await drain(rates, who) == 4500
    assert rates.asked == 100, "that the window is used up is remembered"


async def test_requests_at_once_share_one_question(store: Store, account: int) -> None:
    rates, who = Counted(store.postgres, clock=Clock()), asker(account, 5000)
    taken = await asyncio.gather(*[take(rates, who) for _ in range(50)])
    assert rates.asked == 1
    assert sorted(allowance.remaining for allowance in taken) == list(range(4950, 5000))


async def test_a_process_whose_clock_is_behind_does_not_open_a_window_again(store: Store, account: int) -> None:
    who = asker(account, 10, 60)
    behind, ahead = Rates(store.postgres, clock=Clock(119.9)), Rates(store.postgres, clock=Clock(120.1))
    granted = 0
    for rates in (ahead, behind, ahead, behind):
        for _ in range(3):
            granted += (await take(rates, who)).granted
    granted += await drain(ahead, who) + await drain(behind, who)
    assert granted == 10
    assert [tuple(row) for row in await query(store.postgres.dsn, "SELECT window_start FROM quotas")] == [(120,)]


@pytest.mark.parametrize("seed", range(4))
async def test_no_more_is_granted_than_all_windows_hold(store: Store, account: int, seed: int) -> None:
    dice = random.Random(seed)
    limit = dice.choice([3, 40, 350])
    who = asker(account, limit, 10)
    clocks = [Clock() for _ in range(3)]
    skews = [dice.uniform(-3, 3) for _ in clocks]
    each = [Rates(store.postgres, clock=clock) for clock in clocks]
    now, granted, windows = 1000.0, 0, set()
    for _ in range(40):
        now += dice.choice([0.0, 0.5, 4.0])
        for clock, skew in zip(clocks, skews, strict=True):
            clock.now = now + skew
            windows.add(clock.now // 10)
        taken = await asyncio.gather(*[take(dice.choice(each), who) for _ in range(dice.randint(1, 60))])
        granted += sum(allowance.granted for allowance in taken)
    assert 0 < granted <= len(windows) * limit


async def test_an_account_is_not_charged_for_another(store: Store, account: int) -> None:
    rates, rival = Rates(store.postgres, clock=Clock()), await store.accounts.create("rival")
    assert await drain(rates, asker(account, 5)) == 5
    assert await drain(rates, asker(rival, 3)) == 3


async def test_a_changed_rate_holds_at_once_and_what_was_granted_counts(store: Store, account: int, dsn: str) -> None:
    clock = Clock(3700.0)
    rates = Rates(store.postgres, clock=clock)
    assert await drain(rates, asker(account, 5)) == 5
    assert await drain(rates, asker(account, 8)) == 3
    assert not (await take(rates, asker(account, 2))).granted
    assert await drain(rates, asker(account, 4, 60)) == 4, "a window that began later"
    assert await drain(rates, asker(account, 6)) == 2, "the hour goes on with what the minute has used"
    clock.now += 3600
    assert await drain(rates, asker(account, 6)) == 6
    assert len(await query(dsn, "SELECT FROM quotas")) == 1


async def test_who_waits_in_vain_hears_so_and_is_granted_later(store: Store, dsn: str, account: int) -> None:
    who = asker(account, 5000)
    async with Store(dsn, patience=0.2) as node:
        rates = Counted(node.postgres, clock=Clock())
        async with holding(dsn, HELD):
            taken = await asyncio.gather(*[rates.take(who) for _ in range(5)], return_exceptions=True)
        assert [type(outcome) for outcome in taken] == [Unavailable] * 5
        assert rates.asked == 1
        assert (await take(rates, who)).granted


async def test_who_leaves_while_others_wait_takes_nothing_from_them(store: Store, dsn: str, account: int) -> None:
    rates, who = Counted(store.postgres, clock=Clock()), asker(account, 500)
    async with holding(dsn, HELD) as let_go:
        first, second = (asyncio.create_task(take(rates, who)) for _ in range(2))
        await until_locked(dsn)
        first.cancel()
        await let_go()
        assert (await second).remaining == 499
    assert first.cancelled()
    assert rates.asked == 1
