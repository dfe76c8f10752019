"""What a job makes can be claimed: of those who want it for themselves, one gets it until it fails or is cancelled."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from jobstore.job import commands as c
from jobstore.store import Store
from jobstore.store.clock import now, uuid7
from jobstore.store.request import Append, Appended, Claimed
from tests.store.asking import drafts, holding_heads, new_job, outcomes, query, say, submit, until_locked
from tests.store.sound import assert_sound


def claim(account_id: int, claim: str | None = "report", **more: Any) -> Append:
    """A request for a job that makes what no other makes."""
    queued = c.Submit(uid=uuid7(now()), kind="make", claim=claim)
    return Append(account_id, None, (queued,), "acme/tests", **{"exclusive": True, **more})


def answers(done: list[Appended | BaseException]) -> list[int | str]:
    """The number of the job that each made, or who stands in its way."""
    return [
        outcome.job if isinstance(outcome, Appended) else f"claimed by {outcome.number}"
        for outcome in done
        if isinstance(outcome, Appended | Claimed)
    ]


@pytest.fixture(params=["the same node", "another node"])
async def other(request: pytest.FixtureRequest, store: Store, dsn: str) -> Any:
    """The node that hears of the claim later."""
    if request.param == "the same node":
        yield store
        return
    async with Store(dsn) as node:
        yield node


@pytest.mark.parametrize(
    ("end", "free"),
    [
        ((), False),
        ((c.Start(),), False),
        ((c.RequestStop(),), False),
        ((c.Start(), c.Complete()), False),
        ((c.Start(), c.Complete(), c.Remove()), False),
        ((c.Fail(),), True),
        ((c.Cancel(), c.Remove()), True),
    ],
    ids=["queued", "running", "asked to stop", "completed", "completed and removed", "failed", "cancelled and removed"],
)
async def test_a_claim_stands_until_its_job_has_failed_or_was_cancelled(
    store: Store, other: Store, account: int, dsn: str, end: tuple[c.Command, ...], free: bool
) -> None:
    await new_job(store, account)
    await store.ledger.append(claim(account))
    if end:
        await store.ledger.append(say(account, 2, *end))
    done = await outcomes(other.ledger.append(claim(account)), other.ledger.append(submit(account)))
    assert answers(done) == ([3, 4] if free else ["claimed by 2", 3])
    await assert_sound(dsn)


async def test_a_claim_that_is_only_recorded_stands_in_the_way_of_exclusive_ones_alone(
    store: Store, other: Store, account: int, dsn: str
) -> None:
    for number in (1, 2):
        assert (await store.ledger.append(claim(account, exclusive=False))).job == number
    assert answers(await outcomes(other.ledger.append(claim(account)))) == ["claimed by 1"]
    await store.ledger.append(say(account, 1, c.Cancel()))
    assert answers(await outcomes(other.ledger.append(claim(account)))) == ["claimed by 2"]
    await other.ledger.append(say(account, 2, c.Cancel()))
    assert answers(await outcomes(store.ledger.append(claim(account)))) == [3]
    assert [row["claim"] for row in await query(dsn, "SELECT claim FROM jobs")] == ["report"] * 3
    await assert_sound(dsn)


async def test_other_claims_other_accounts_and_no_claim_stand_in_nobodys_way(
    store: Store, other: Store, account: int, dsn: str
) -> None:
    claims = ["report", "Report", "report ", "", "x" * 10_000, "x" * 9_999 + "y", None, None]
    done = await outcomes(*[store.ledger.append(claim(account, text)) for text in claims])
    assert answers(done) == list(range(1, 9))
    done = await outcomes(*[other.ledger.append(claim(account, text)) for text in claims[:6]])
    assert answers(done) == [f"claimed by {number}" for number in range(1, 7)]
    assert (await other.ledger.append(claim(await store.accounts.create("other")))).job == 1
    await assert_sound(dsn)


async def test_claims_of_one_batch_are_settled_in_order(store: Store, account: int, dsn: str) -> None:
    held = [claim(account, exclusive=False) for _ in range(3)]
    await outcomes(*map(store.ledger.append, held))
    heard = drafts(store)
    requests = [
        *(say(account, 1, c.Fail()), claim(account), say(account, 2, c.Fail()), claim(account)),
        *(say(account, 3, c.Fail()), claim(account), claim(account), say(account, 4, c.Fail())),
        *(claim(account, exclusive=False), claim(account), say(account, 5, c.Cancel()), claim(account)),
    ]
    done = await outcomes(*map(store.ledger.append, requests))
    assert answers(done) == [1, "claimed by 2", 2, "claimed by 3", 3, 4, "claimed by 4", 4, 5, "claimed by 5", 5, 6]
    assert len(heard) == 1
    await assert_sound(dsn)


async def test_of_two_nodes_that_claim_the_same_at_once_one_wins(store: Store, account: int, dsn: str) -> None:
    async with Store(dsn) as node:
        for number in range(1, 21):
            async with holding_heads(dsn, account) as let_go:
                futures = [n.ledger.append(claim(account, f"report {number}")) for n in [store, node] * 3]
                await until_locked(dsn, 2)
                await let_go()
                done = await outcomes(*futures)
            assert Counter(answers(done)) == {number: 1, f"claimed by {number}": 5}
    await assert_sound(dsn)


async def test_no_two_ever_hold_a_claim_while_nodes_make_and_end_jobs(store: Store, account: int, dsn: str) -> None:
    async with Store(dsn) as second, Store(dsn) as third:

        async def client(node: Store, text: str) -> int:
            made = 0
            for _ in range(25):
                [outcome] = await outcomes(node.ledger.append(claim(account, text)))
                if isinstance(outcome, Appended):
                    made += 1
                    await node.ledger.append(say(account, outcome.job, c.Fail()))
                else:
                    assert isinstance(outcome, Claimed)
            return made

        made = await asyncio.gather(*[client(n, text) for n in (store, second, third) for text in ("a", "a", "b")])
    events = await query(dsn, "SELECT claim, type FROM events JOIN jobs ON job = number ORDER BY position")
    for text in "ab":
        types = [row["type"] for row in events if row["claim"] == text]
        assert types == ["queued", "failed"] * (len(types) // 2), "one ends before the next one begins"
    assert await assert_sound(dsn) == 2 * sum(made)


async def test_a_claim_under_a_key_gets_the_first_answer_again(store: Store, other: Store, account: int) -> None:
    keyed: dict[str, Any] = {"key": "k", "digest": bytes(32)}
    first = await store.ledger.append(claim(account, **keyed))
    again = await other.ledger.append(claim(account, **keyed))
    assert again == msgspec.structs.replace(first, events=[], repeated=True)
