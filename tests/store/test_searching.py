"""Given an account's jobs, when some are asked for, then those are found in that order, and all are counted."""

import random
from datetime import UTC, datetime
from itertools import product
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from jobstore.job import commands as c
from jobstore.job.search import Search
from jobstore.store import Store
from jobstore.store.clock import now, uuid7
from jobstore.store.jobs import Listed
from jobstore.store.request import Append
from tests.store.asking import note, query, say, submit

KINDS = ["index.build", "Index.Drop", "100%", "a_b", "axb", "back\\slash", "ÉTÉ"]
USERS = [None, "ann", "ANNE", "50% of _all_", "été"]
LIVES: list[tuple[c.Command, ...]] = [
    (), (c.Start(),), (c.Start(), c.Complete()), (c.Start(), c.Fail()), (c.Start(), c.RequestStop()),
    (c.Start(), c.Complete(), c.Remove()),
]  # fmt: skip
TEXTS = [None, "", "index", "INDEX.", "ann", "%", "_", "a_b", "\\", "été", "n o match", "' OR true --"]
PHASES: list[Any] = [None, frozenset(), frozenset({"queued"}), frozenset({"completed", "failed"})]


class Job(NamedTuple):
    """What is known of a job by reading its whole history."""

    listed: Listed
    kind: str
    user: str | None
    phase: str
    removed: bool
    created: datetime
    updated: datetime

    def matches(self, search: Search) -> bool:
        """What `Search` says, word by word."""
        at = self.created if search.order == "created" else self.updated
        texts = [text.lower() for text in (self.kind, self.user) if text is not None]
        return (
            not self.removed
            and (search.phases is None or self.phase in search.phases)
            and (search.text is None or any(search.text.lower() in text for text in texts))
            and (search.since is None or at >= search.since)
        )


async def known(dsn: str, account_id: int) -> list[Job]:
    """Every job of the account."""
    rows = await query(
        dsn,
        "SELECT number, max(e.version), max(position), kind, user_name, phase, removed, min(at), max(at) "
        "FROM jobs j JOIN events e ON e.account_id = j.account_id AND e.job = j.number "
        "WHERE j.account_id = $1 GROUP BY j.account_id, number",
        account_id,
    )
    return [Job(Listed(*row[:3]), *row[3:]) for row in rows]


async def live(store: Store, account_id: int, dice: random.Random, jobs: int) -> None:
    """Give the account jobs at random, and then let some of them say more."""
    for _ in range(jobs):
        command = c.Submit(uid=uuid7(now()), kind=dice.choice(KINDS), user=dice.choice(USERS))
        number = (await store.ledger.append(Append(account_id, None, (command,), "acme/tests"))).job
        if life := dice.choice(LIVES):
            await store.ledger.append(say(account_id, number, *life))
    for job in await known(store.postgres.dsn, account_id):
        if not job.removed and dice.random() < 0.5:
            for i in range(dice.randint(1, 3)):
                await store.ledger.append(note(account_id, job.listed.number, i))


@pytest.mark.parametrize("seed", range(3))
async def test_a_search_finds_what_reading_everything_finds(store: Store, account: int, dsn: str, seed: int) -> None:
    dice = random.Random(seed)
    for owner in (await store.accounts.create("rival"), account):
        await live(store, owner, dice, 25)
    jobs = await known(dsn, account)
    moments = [None, datetime(1970, 1, 1, tzinfo=UTC), now(), *(dice.choice(jobs).created for _ in range(2))]
    moments += [dice.choice(jobs).updated for _ in range(2)]
    orders: list[Any] = ["created", "updated"]
    for order, descending, phases, text, since in product(orders, (True, False), PHASES, TEXTS, moments):
        search = Search(
            phases=phases, text=text, since=since, order=order, descending=descending,
            offset=dice.choice([0, 0, 1, 3, 30]), limit=dice.choice([0, 1, 5, 100]),
        )  # fmt: skip
        matching = sorted(
            (job.listed for job in jobs if job.matches(search)),
            key=lambda listed: listed.number if search.order == "created" else listed.position,
            reverse=descending,
        )
        found = await store.jobs.search(account, search)
        assert found.jobs == matching[search.offset : search.offset + search.limit], search
        assert (found.found, found.total) == (len(matching), sum(not job.removed for job in jobs)), search


async def test_a_search_of_no_jobs_counts_none(store: Store, account: int) -> None:
    assert await store.jobs.search(account, Search(limit=10)) == ([], 0, 0)
    assert await store.jobs.search(account, Search(text="x", order="updated", limit=10)) == ([], 0, 0)


async def test_a_search_from_beyond_all_numbers_finds_an_empty_page(store: Store, account: int) -> None:
    await store.ledger.append(submit(account))
    assert await store.jobs.search(account, Search(offset=2**70, limit=10)) == ([], 1, 1)


async def test_several_jobs_are_found_as_they_are_in_the_order_asked_for(store: Store, account: int) -> None:
    rival = await store.accounts.create("rival")
    for owner in (account, account, account, rival, rival, rival, rival):
        await store.ledger.append(submit(owner))
    await store.ledger.append(note(account, 1, "last"))
    await store.ledger.append(say(account, 2, c.Start(), c.Complete(), c.Remove()))
    assert await store.jobs.latest(account, [3, 4, 2, 1, 99]) == [Listed(3, 1, 3), Listed(1, 2, 4)]
    assert await store.jobs.latest(account, [1, 3, 1]) == [Listed(1, 2, 4), Listed(3, 1, 3), Listed(1, 2, 4)]
    assert await store.jobs.latest(account, []) == []


async def test_numbers_are_found_by_uid_on_any_node(store: Store, account: int, dsn: str) -> None:
    rival = await store.accounts.create("rival")
    for owner in (account, account, rival):
        await store.ledger.append(submit(owner))
    rows = await query(dsn, "SELECT uid::text, account_id, number FROM jobs")
    uids = {UUID(uid).hex: number for uid, owner, number in rows if owner == account}
    others = [*(UUID(uid).hex for uid, owner, _ in rows if owner == rival), uuid4().hex]
    first = next(iter(uids))
    async with Store(dsn) as second:
        for node in (store, second):
            assert await node.jobs.number_of(account, first) == uids[first]
            for _ in range(2):
                assert await node.jobs.numbers_of(account, [*uids, *others]) == uids
                assert await node.jobs.numbers_of(account, others) == {}
            assert await node.jobs.number_of(account, others[0]) is None
            assert await node.jobs.numbers_of(account, []) == {}
