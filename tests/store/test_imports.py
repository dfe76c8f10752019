"""A job may keep the id that it had elsewhere; whoever comes second to it is told, and the counter goes around it."""

import asyncio
from collections import Counter
from random import Random
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from jobstore.job import commands as c
from jobstore.store import Store, taken
from jobstore.store.request import Append, Appended, IdTaken
from tests.store.asking import drafts, holding_heads, note, outcomes, query, submit, until_locked
from tests.store.sound import assert_sound


def keep(account_id: int, number: int | None = None, uid: str | None = None, **more: Any) -> Append:
    """A request for a job with an id from elsewhere."""
    queued = c.Submit(uid=uid or uuid4().hex, kind="import")
    return Append(account_id, None, (queued,), "acme/tests", number=number, imported=True, **more)


@pytest.fixture(params=["the same node", "another node", "a node that knows how it was before"])
async def other(request: pytest.FixtureRequest, store: Store, account: int, dsn: str) -> Any:
    """The node that hears of the account later."""
    if request.param == "the same node":
        yield store
        return
    async with Store(dsn) as node:
        if "before" in request.param:
            await node.ledger.append(submit(await store.accounts.create("other")))
            await node.ledger.append(note(account, (await store.ledger.append(keep(account, 2**40))).job, "known"))
        yield node


def numbers(done: list[Appended | BaseException]) -> list[int | type]:
    """The number that each got, or why not."""
    return [outcome.job if isinstance(outcome, Appended) else type(outcome) for outcome in done]


async def test_an_imported_job_keeps_its_number_and_the_counter_goes_around_it(
    store: Store, other: Store, account: int, dsn: str
) -> None:
    for number in (2, 3, 5, 2**53):
        assert (await store.ledger.append(keep(account, number))).job == number
    assert [(await other.ledger.append(submit(account))).job for _ in range(3)] == [1, 4, 6]
    assert (await store.ledger.append(submit(account))).job == 7
    assert await query(dsn, "SELECT FROM heads WHERE account_id = $1 AND jobs = 7", account)
    assert (await other.ledger.append(note(account, 5, "an imported job is like any other"))).version == 2
    await assert_sound(dsn)


async def test_an_imported_job_keeps_its_uid_and_gets_the_next_number(store: Store, account: int, dsn: str) -> None:
    uid = uuid4()
    await store.ledger.append(submit(account))
    assert (await store.ledger.append(keep(account, uid=uid.hex))).job == 2
    assert await store.jobs.number_of(account, uid.hex) == 2
    await assert_sound(dsn)


async def test_an_id_that_is_taken_is_refused_and_nobody_else(
    store: Store, other: Store, account: int, dsn: str
) -> None:
    uid, another = uuid4().hex, uuid4().hex
    await store.ledger.append(submit(account))
    await store.ledger.append(keep(account, 7, uid))
    done = await outcomes(
        *map(
            other.ledger.append,
            [
                keep(account, 7),
                keep(account, 1),
                keep(account, 8, uid),
                keep(account, uid=uid.upper()),
                keep(account, 8, another),
                submit(account),
                keep(await store.accounts.create("apart"), 7, uid),
            ],
        )
    )
    assert numbers(done) == [IdTaken, IdTaken, IdTaken, IdTaken, 8, 2, 7]
    await assert_sound(dsn)


async def test_an_id_twice_in_one_batch_is_given_once(store: Store, account: int, dsn: str) -> None:
    uid = uuid4().hex
    heard = drafts(store)
    requests = [
        *(keep(account, 1), submit(account), keep(account, 1), note(account, 1, "at once"), keep(account, 2)),
        *(keep(account, uid=uid), keep(account, 4), keep(account, 9, uid), submit(account), keep(account, 5)),
    ]
    done = await outcomes(*map(store.ledger.append, requests))
    assert numbers(done) == [1, 2, IdTaken, 1, IdTaken, 3, 4, IdTaken, 5, IdTaken]
    assert len(heard) == 1
    await assert_sound(dsn)


async def test_whether_an_id_is_taken_is_never_answered_from_memory(store: Store, account: int) -> None:
    await store.ledger.append(submit(account))
    assert store.ledger.writer.prepare([submit(account)]) is not None
    assert store.ledger.writer.prepare([submit(account), keep(account, 9)]) is None


@pytest.mark.parametrize("window", [taken.WINDOW, 3])
async def test_a_thousand_numbers_in_a_row_are_skipped(
    store: Store, other: Store, account: int, dsn: str, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(taken, "WINDOW", window)
    holes = {1, 400, 1003}
    run = [number for number in range(1, 1200) if number not in holes]
    assert numbers(await outcomes(*[store.ledger.append(keep(account, number)) for number in run])) == run
    done = await outcomes(*[other.ledger.append(submit(account)) for _ in range(50)])
    assert numbers(done) == [*sorted(holes), *range(1200, 1247)]
    await assert_sound(dsn)


async def test_chosen_numbers_of_a_batch_are_not_given_to_those_who_only_want_the_next(
    store: Store, account: int, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taken, "WINDOW", 1)
    requests = [request for n in range(1, 16) for request in (keep(account, 2 * n), submit(account))]
    await store.ledger.append(keep(account, 21))
    heard = drafts(store)
    done = await outcomes(*map(store.ledger.append, requests))
    chosen, counted = numbers(done)[::2], numbers(done)[1::2]
    assert chosen == [2 * n for n in range(1, 16)]
    assert counted == [n for n in range(1, 32, 2) if n != 21]
    assert len(heard) == 1
    await assert_sound(dsn)


@pytest.mark.parametrize("same", ["number", "uid"])
async def test_of_two_nodes_that_import_the_same_at_once_one_wins(
    store: Store, account: int, dsn: str, same: str
) -> None:
    async with Store(dsn) as node:
        for i in range(1, 21):
            uid = uuid4().hex
            async with holding_heads(dsn, account) as let_go:
                asked = [keep(account, 100 * i) if same == "number" else keep(account, uid=uid) for _ in range(6)]
                futures = [n.ledger.append(request) for n, request in zip([store, node] * 3, asked, strict=True)]
                await until_locked(dsn, 2)
                await let_go()
                done = await outcomes(*futures)
            assert Counter(map(type, done)) == {Appended: 1, IdTaken: 5}
            assert numbers(await outcomes(store.ledger.append(submit(account)))) == [i if same == "number" else 2 * i]
    await assert_sound(dsn)


async def test_numbers_chosen_and_counted_by_several_nodes_at_once(store: Store, account: int, dsn: str) -> None:
    random = Random(1)
    async with Store(dsn) as second, Store(dsn) as third:

        async def client(node: Store) -> list[tuple[int | None, int | type]]:
            seen: list[tuple[int | None, int | type]] = []
            for _ in range(60):
                number = random.choice([None, None, random.randint(1, 300)])
                request = submit(account) if number is None else keep(account, number)
                [outcome] = numbers(await outcomes(node.ledger.append(request)))
                seen.append((number, outcome))
            return seen

        clients = await asyncio.gather(*map(client, [store, second, third] * 4))
    seen = [answer for answers in clients for answer in answers]
    given = [outcome for _, outcome in seen if isinstance(outcome, int)]
    assert len(set(given)) == len(given)
    assert all(outcome in (number, IdTaken) for number, outcome in seen if number is not None)
    assert not [outcome for number, outcome in seen if number is None and not isinstance(outcome, int)]
    assert await assert_sound(dsn) == len(given)


async def test_an_import_under_a_key_is_made_once_and_a_refused_one_uses_no_key_up(
    store: Store, other: Store, account: int, dsn: str
) -> None:
    uid = uuid4().hex
    first = await store.ledger.append(keep(account, 5, uid, key="k", digest=bytes(32)))
    done = await outcomes(
        other.ledger.append(keep(account, 5, uid, key="k", digest=bytes(32))),
        other.ledger.append(keep(account, 5, key="l", digest=bytes(32))),
        other.ledger.append(keep(account, 6, key="l", digest=bytes(32))),
    )
    assert done[0] == msgspec.structs.replace(first, events=[], repeated=True)
    assert numbers(done) == [5, IdTaken, 6]
    await assert_sound(dsn)
