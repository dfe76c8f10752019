"""Whoever follows an account is given each entry of its log, in order, once, whichever way the news come or do not."""

import asyncio
from itertools import pairwise

import pytest

from jobstore.job import commands as c
from jobstore.store import Store, history, tail
from jobstore.store.postgres import Unavailable
from tests.store.asking import holding_heads, new_job, outcomes, query, say, submit, until, until_locked
from tests.store.cutting import relayed
from tests.store.following import (
    KILL_BELLS,
    OFTEN,
    Held,
    Reader,
    append_elsewhere,
    counting,
    listening,
    tailing,
    until_listening,
)


async def test_own_commits_are_delivered_without_being_read_back(
    store: Store, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new_job(store, account)
    async with tailing(store) as tailed:
        reader = await Reader(tailed, account).follow()
        questions = Held(monkeypatch, history.OF_ACCOUNT)
        assert reader.since == tailed.position(account) == 2
        commands: list[c.Command] = [
            c.Annotate(note="é \x1e \u2028", data={"a": [1, None, "ü"]}),
            c.ReportProgress(fraction=0.1),
        ]
        await store.ledger.append(say(account, job, *commands, key="key", digest=bytes(32)))
        await outcomes(*[store.ledger.append(submit(account)) for _ in range(50)])
        await reader.until(54)
        assert questions.count == 0
        questions.go.set()
        await reader.assert_exact(store)
        assert tailed.position(account) == 54


async def test_what_others_commit_comes_when_the_bell_rings(dsn: str, store: Store, account: int) -> None:
    async with Store(dsn) as other, tailing(store, bell=dsn) as tailed:
        reader = await Reader(tailed, account).follow()
        await until_listening(dsn)
        for position in range(1, 30):
            await other.ledger.append(submit(account))
            await reader.until(position)
        await reader.assert_exact(store)


async def test_what_others_commit_comes_although_no_bell_rings(dsn: str, store: Store, account: int) -> None:
    async with Store(dsn) as other, tailing(store, interval=OFTEN) as tailed:
        reader = await Reader(tailed, account).follow()
        for position in range(1, 6):
            await other.ledger.append(submit(account))
            await reader.until(position)
        await reader.assert_exact(store)


async def test_what_is_committed_while_the_line_is_lost_comes_when_it_is_there_again(
    dsn: str, store: Store, account: int
) -> None:
    async with Store(dsn) as other, tailing(store, bell=dsn) as tailed:
        reader = await Reader(tailed, account).follow()
        for position in range(1, 5):
            await until_listening(dsn)
            await query(dsn, KILL_BELLS)
            await other.ledger.append(submit(account))
            await reader.until(position)
        await reader.assert_exact(store)


async def test_what_is_committed_while_an_account_is_being_opened_comes(
    dsn: str, store: Store, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tailing(store) as tailed:
        heads = Held(monkeypatch, tail.HEADS)
        opening = asyncio.create_task(Reader(tailed, account).follow())
        await heads.asked.wait()
        assert tailed.position(account) is None
        await outcomes(*[store.ledger.append(submit(account)) for _ in range(3)])
        heads.go.set()
        reader = await opening
        assert reader.since == 0
        await reader.until(3)
        await reader.assert_exact(store)


async def test_what_others_commit_while_an_account_is_being_opened_comes(
    dsn: str, store: Store, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = await store.accounts.create("quiet")
    async with Store(dsn) as other, tailing(store, bell=dsn) as tailed, listening(dsn) as rung:
        await tailed.follow(quiet, lambda _: None)
        await until_listening(dsn)
        await other.ledger.append(submit(quiet))
        await until(lambda: tailed.position(quiet) == 1)
        heads = Held(monkeypatch, tail.HEADS)
        opening = asyncio.create_task(Reader(tailed, account).follow())
        await heads.asked.wait()
        await other.ledger.append(submit(account))
        await until(lambda: any(payload == f"{account}:1" for _, payload in rung))
        await other.ledger.append(submit(quiet))
        await until(lambda: tailed.position(quiet) == 2)  # so it has heard of the other one too
        heads.go.set()
        reader = await opening
        await reader.until(1)
        await reader.assert_exact(store)


async def test_what_is_not_committed_yet_comes_when_it_is(dsn: str, store: Store, account: int) -> None:
    async with Store(dsn) as other, tailing(store, bell=dsn) as tailed:
        async with holding_heads(dsn, account) as let_go:
            appended = [node.ledger.append(submit(account)) for node in (other, store, other)]
            await until_locked(dsn)
            reader = await Reader(tailed, account).follow()
            assert reader.since == 0
            await let_go()
        await outcomes(*appended)
        await reader.until(3)
        await reader.assert_exact(store)


async def test_own_commits_that_come_while_the_log_is_read_come_once(
    dsn: str, store: Store, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page that is being read has them too, when it was asked for before they were heard of."""
    async with tailing(store, bell=dsn) as tailed:
        reader = await Reader(tailed, account).follow()
        await until_listening(dsn)
        pages = Held(monkeypatch, history.OF_ACCOUNT, before=True)
        await query(dsn, f"NOTIFY jobstore, '{account}:1'")
        await pages.asked.wait()
        await outcomes(*[store.ledger.append(submit(account)) for _ in range(3)])
        await reader.until(3)
        pages.go.set()
        await store.ledger.append(submit(account))
        await reader.until(4)
        assert reader.positions == [1, 2, 3, 4]


async def test_own_commits_that_follow_on_what_is_being_read_come_after_it(
    dsn: str, store: Store, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store(dsn) as other, tailing(store) as tailed:
        reader = await Reader(tailed, account).follow()
        pages = Held(monkeypatch, history.OF_ACCOUNT)
        await other.ledger.append(submit(account))
        await store.ledger.append(submit(account))  # which shows that there is one before it
        await pages.asked.wait()
        await other.ledger.append(submit(account))
        await store.ledger.append(submit(account))
        assert reader.batches == []
        pages.go.set()
        await reader.until(4)
        assert pages.count == 2
        await reader.assert_exact(store)


@pytest.mark.parametrize("said", ["{account}:1000000", "{account}:1", "nonsense", "1:2:3", "", "{account}:-1", "x:1"])
async def test_false_news_harm_nothing(
    dsn: str, store: Store, account: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store(dsn) as other, tailing(store, bell=dsn) as tailed:
        reader = await Reader(tailed, account).follow()
        await until_listening(dsn)
        await other.ledger.append(submit(account))
        await reader.until(1)
        for _ in range(3):
            await query(dsn, f"NOTIFY jobstore, '{said.format(account=account)}'")
        for position in (2, 3):
            await other.ledger.append(submit(account))
            await reader.until(position)
        await until(lambda: tailed._followed[account].reading is None)
        questions = counting(monkeypatch, history.OF_ACCOUNT)
        await query(dsn, f"NOTIFY jobstore, '{account}:2'")
        await other.ledger.append(submit(account))
        await reader.until(4)
        assert len(questions) == 1, "old news are no news, whatever was said before"
        await store.ledger.append(submit(account))
        await reader.until(5)
        await reader.assert_exact(store)


async def test_a_log_far_ahead_is_read_a_page_at_a_time(dsn: str, store: Store, account: int) -> None:
    async with tailing(store) as tailed:
        reader = await Reader(tailed, account).follow()
        await append_elsewhere(dsn, account, 2500)
        await store.ledger.append(submit(account))  # which is the only news
        await reader.until(2503)
        assert max(map(len, reader.batches)) <= history.PAGE
        await reader.assert_exact(store)


async def test_while_the_database_is_away_nobody_begins_to_follow_and_afterwards_all_goes_on(
    dsn: str, store: Store, account: int
) -> None:
    other = await store.accounts.create("other")
    async with relayed(dsn) as (relay, address), Store(address, patience=1) as node:
        node.tail._interval = OFTEN
        reader = await Reader(node.tail, account).follow()
        relay.open.clear()
        relay.cut()
        await store.ledger.append(submit(account))
        with pytest.raises(Unavailable):
            await node.tail.follow(other, reader)
        assert node.tail.position(other) is None
        await outcomes(*[store.ledger.append(submit(account)) for _ in range(5)])
        assert reader.batches == []
        relay.open.set()
        await reader.until(6)
        await reader.assert_exact(store)


async def test_one_question_an_interval_is_asked_about_all_accounts(
    dsn: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    interval = 0.1
    accounts = [await store.accounts.create(f"account-{i}") for i in range(50)]
    async with Store(dsn) as other, tailing(store, interval=interval) as tailed:
        readers = await asyncio.gather(*[Reader(tailed, account).follow() for account in accounts])
        asked = counting(monkeypatch, tail.HEADS)
        while len(asked) < 5:
            done = await asyncio.gather(*[other.ledger.append(submit(account)) for account in accounts])
            await asyncio.gather(*[reader.until(done[0].position) for reader in readers])
        assert {len(arguments[0]) for _, arguments in asked} == {50}
        assert all(after - before > 0.9 * interval for (before, _), (after, _) in pairwise(asked))
        for reader in readers:
            reader.leave()
        await until(lambda: tailed._asking is None)


async def test_where_nobody_follows_nothing_is_asked(store: Store, account: int) -> None:
    await outcomes(*[store.ledger.append(submit(account)) for _ in range(5)])
    assert store.tail._asking is None
    assert store.tail.position(account) is None
