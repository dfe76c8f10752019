"""The same idempotency key twice gives the first answer, whenever and wherever the second one comes."""

import asyncio
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from jobstore.job import commands as c
from jobstore.job.decider import Refused
from jobstore.store import Store
from jobstore.store.request import Append, Appended, Conflict, KeyReused
from tests.store.asking import drafts, holding_heads, new_job, note, notes, outcomes, query, say, submit, until_locked
from tests.store.sound import assert_sound

ONE, OTHER = sha256(b"one").digest(), sha256(b"other").digest()


def keyed(request: Append, key: str = "k", digest: bytes = ONE) -> Append:
    """The request, under a key."""
    request.key, request.digest = key, digest
    return request


@pytest.fixture(params=["the same node", "another node", "after other appends"])
async def again(request: pytest.FixtureRequest, store: Store, account: int, dsn: str) -> Any:
    """The node that hears a request for the second time."""
    if request.param == "another node":
        async with Store(dsn) as node:
            yield node
        return
    if request.param == "after other appends":
        for _ in range(3):
            await store.ledger.append(submit(account))
    yield store


async def test_a_repeated_request_gets_the_first_answer(store: Store, again: Store, account: int, dsn: str) -> None:
    job = await new_job(store, account)
    first = await store.ledger.append(
        keyed(say(account, job, c.Annotate(note="a"), c.Annotate(note="b"), c.Complete()))
    )
    second = await again.ledger.append(
        keyed(say(account, job, c.Annotate(note="a"), c.Annotate(note="b"), c.Complete()))
    )
    assert second == msgspec.structs.replace(first, events=[], repeated=True)
    assert (second.first_version, second.version) == (3, 5)
    assert await notes(dsn, account, job) == ["a", "b"]
    await assert_sound(dsn)


async def test_a_repeated_submission_makes_one_job(store: Store, again: Store, account: int, dsn: str) -> None:
    first = await store.ledger.append(keyed(submit(account, "once")))
    second = await again.ledger.append(keyed(submit(account, "once")))
    assert (second.job, second.version, second.position) == (first.job, first.version, first.position)
    assert second.repeated
    assert len(await query(dsn, "SELECT FROM jobs WHERE kind = 'once'")) == 1
    await assert_sound(dsn)


async def test_a_key_for_another_request_is_refused(store: Store, again: Store, account: int, dsn: str) -> None:
    job = await new_job(store, account)
    await store.ledger.append(keyed(note(account, job, "a")))
    with pytest.raises(KeyReused):
        await again.ledger.append(keyed(note(account, job, "b"), digest=OTHER))
    assert await notes(dsn, account, job) == ["a"]


async def test_a_key_is_kept_of_a_request_that_added_nothing_but_not_of_one_that_was_refused(
    store: Store, again: Store, account: int, dsn: str
) -> None:
    job = await new_job(store, account)
    nothing = await store.ledger.append(keyed(say(account, job, c.Start())))
    assert (nothing.events, nothing.first_version, nothing.version) == ([], 3, 2)
    await store.ledger.append(note(account, job, "between"))
    assert (await again.ledger.append(keyed(say(account, job, c.Start())))) == msgspec.structs.replace(
        nothing, repeated=True
    )
    with pytest.raises(Refused):
        await store.ledger.append(keyed(say(account, job, c.Remove()), "later"))
    await store.ledger.append(say(account, job, c.Complete()))
    assert not (await again.ledger.append(keyed(say(account, job, c.Remove()), "later"))).repeated
    await assert_sound(dsn)


@pytest.mark.parametrize("neighbours", [False, True], ids=["alone", "beside others"])
@pytest.mark.parametrize(
    "request_again",
    [
        lambda account, job: say(account, job, c.ReportProgress(fraction=0.5)),
        lambda account, job: note(account, job, "half", expected=2),
    ],
    ids=["a job that ended meanwhile", "a version that has passed"],
)
async def test_a_repeated_request_gets_the_first_answer_even_where_it_would_be_refused_by_now(
    store: Store, account: int, dsn: str, request_again: Any, neighbours: bool
) -> None:
    job, neighbour = await new_job(store, account), await new_job(store, account)
    first = await store.ledger.append(keyed(request_again(account, job)))
    await store.ledger.append(say(account, job, c.Complete()))
    futures = [store.ledger.append(keyed(request_again(account, job)))]
    if neighbours:
        futures += [store.ledger.append(note(account, neighbour, "beside")), store.ledger.append(submit(account))]
    second, *_ = await outcomes(*futures)
    assert second == msgspec.structs.replace(first, events=[], repeated=True), repr(second)
    await assert_sound(dsn)


async def test_a_key_reused_for_a_request_that_would_be_refused_is_told_so_even_beside_others(
    store: Store, account: int
) -> None:
    job = await new_job(store, account)
    await store.ledger.append(keyed(note(account, job, "a")))
    done = await outcomes(
        store.ledger.append(keyed(note(account, job, "b", expected=1), digest=OTHER)),
        store.ledger.append(submit(account)),
    )
    assert [type(outcome) for outcome in done] == [KeyReused, Appended]


async def test_a_key_twice_in_one_batch_counts_once(store: Store, account: int, dsn: str) -> None:
    job = await new_job(store, account)
    heard = drafts(store)
    first, second, third = await outcomes(
        store.ledger.append(keyed(note(account, job, "a"))),
        store.ledger.append(keyed(note(account, job, "a"))),
        store.ledger.append(keyed(note(account, job, "b"), digest=OTHER)),
    )
    assert isinstance(first, Appended)
    assert second == msgspec.structs.replace(first, events=[], repeated=True)
    assert isinstance(third, KeyReused)
    assert len(heard) == 1
    assert await assert_sound(dsn) == 3


async def test_a_key_of_one_account_is_free_in_another(store: Store, account: int, dsn: str) -> None:
    other = await store.accounts.create("other")
    done = await outcomes(*[store.ledger.append(keyed(submit(a))) for a in (account, other)])
    assert [outcome.repeated for outcome in done if isinstance(outcome, Appended)] == [False, False]
    assert await assert_sound(dsn) == 2


async def test_a_key_that_two_nodes_hear_at_once_counts_once(store: Store, account: int, dsn: str) -> None:
    job = await new_job(store, account)
    async with Store(dsn) as node:
        await node.ledger.append(note(account, job, "the node knows the job"))
        await store.ledger.append(note(account, job, "so does the other"))
        async with holding_heads(dsn, account) as let_go:
            futures = [n.ledger.append(keyed(note(account, job, "once"))) for n in (store, node)]
            await until_locked(dsn, 2)
            await let_go()
            done = [outcome for outcome in await outcomes(*futures) if isinstance(outcome, Appended)]
        for i in range(20):
            futures = [n.ledger.append(keyed(submit(account), f"k{i}")) for n in (store, node, store, node)]
            made = [outcome for outcome in await outcomes(*futures) if isinstance(outcome, Appended)]
            assert sorted(outcome.repeated for outcome in made) == [False, True, True, True]
            assert len({outcome.job for outcome in made}) == 1
    assert sorted(outcome.repeated for outcome in done) == [False, True]
    assert msgspec.structs.replace(done[0], events=done[1].events, repeated=done[1].repeated) == done[1]
    assert (await notes(dsn, account, job)).count("once") == 1
    await assert_sound(dsn)


async def test_a_conflict_or_refusal_uses_no_key_up(store: Store, account: int) -> None:
    job = await new_job(store, account)
    with pytest.raises(Conflict):
        await store.ledger.append(keyed(note(account, job, "a", expected=7)))
    assert not (await asyncio.wait_for(store.ledger.append(keyed(note(account, job, "a", expected=2))), 5)).repeated
