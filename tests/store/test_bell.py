"""The bell rings after a commit and beside it; whoever hears it knows where to look, and nothing depends on it."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobstore.job import commands as c
from jobstore.store import Store, bell
from jobstore.store.bell import MOST, NAME, Bell, heads, payload
from jobstore.store.embedded import Embedded
from jobstore.store.postgres import Unavailable
from jobstore.store.request import Appended
from tests.store.asking import drafts, new_job, note, outcomes, query, say, submit, until
from tests.store.following import KILL_BELLS, LISTENING, NEVER, NOWHERE, Reader, listening, until_listening
from tests.store.sound import assert_sound

SESSIONS = "SELECT pid, application_name, query FROM pg_stat_activity WHERE datname = current_database()"


async def bells(dsn: str) -> list[Any]:
    """The sessions of bells."""
    return [row for row in await query(dsn, SESSIONS) if row["application_name"] == NAME]


async def until_rung(rung: list[tuple[int, str]], reached: dict[int, int]) -> None:
    """Wait until the last ring said so."""
    await until(lambda: rung and heads(rung[-1][1]) == reached)


async def test_it_never_rings_in_the_transaction_of_an_append(dsn: str, store: Store, account: int) -> None:
    """Postgres itself says which backend a ring came from; its transaction is another one than the append's."""
    async with Store(dsn) as other, listening(dsn) as rung:
        job = await new_job(store, account)
        for i in range(20):
            await outcomes(*[node.ledger.append(note(account, job, (i, k))) for node in (store, other) for k in (1, 2)])
        await until(lambda: max([position for _, said in rung for position in heads(said).values()], default=0) == 82)
        sessions = {row["pid"]: row["application_name"] for row in await query(dsn, SESSIONS)}
        assert {sessions[pid] for pid, _ in rung} == {NAME}
        assert len({pid for pid, _ in rung}) == 2


async def test_what_it_says_is_committed_already(dsn: str, store: Store, account: int) -> None:
    async with listening(dsn) as rung:
        for position in range(1, 30):
            await store.ledger.append(submit(account))
            await until(lambda: rung)
            _, said = rung.pop(0)
            assert heads(said) == {account: position}
            assert await store.history.head(account) == position


async def test_of_what_is_refused_or_already_so_nothing_rings(dsn: str, store: Store, account: int) -> None:
    other = await store.accounts.create("other")
    async with listening(dsn) as rung:
        job = await new_job(store, account)
        await until_rung(rung, {account: 2})
        rung.clear()
        await outcomes(
            store.ledger.append(note(account, job, "too early", expected=9)),
            store.ledger.append(say(account, job, c.Start(), key="key", digest=bytes(32))),
            store.ledger.append(submit(other)),
        )
        await until(lambda: rung)
        assert [heads(said) for _, said in rung] == [{other: 1}]


async def test_a_burst_of_commits_rings_few_times(
    dsn: str, store: Store, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is committed while a ring is under way goes with the next one, in one line an account."""
    accounts = [account, *[await store.accounts.create(f"account-{i}") for i in range(3)]]
    under_way, go = asyncio.Event(), asyncio.Event()
    execute = asyncpg.Connection.execute

    async def slow(self: Any, statement: str, *arguments: Any, **more: Any) -> Any:
        if statement.startswith("NOTIFY"):
            under_way.set()
            await go.wait()
        return await execute(self, statement, *arguments, **more)

    monkeypatch.setattr(asyncpg.Connection, "execute", slow)
    committed = drafts(store)
    async with listening(dsn) as rung:
        await store.ledger.append(submit(account))
        await under_way.wait()
        tasks = len(asyncio.all_tasks())
        for _ in range(50):
            for a in accounts:
                await store.ledger.append(submit(a))
        await until(lambda: len(asyncio.all_tasks()) <= tasks)  # no commit leaves a task behind
        go.set()
        await until(lambda: len(rung) >= 2)
        await store.ledger.append(submit(account))
        await until(lambda: len(rung) >= 3)
    assert len(committed) == 202
    assert [heads(said) for _, said in rung] == [
        {account: 1},
        {account: 51, **dict.fromkeys(accounts[1:], 50)},
        {account: 52},
    ]


async def test_a_ring_that_was_lost_is_rung_again(dsn: str, store: Store, account: int) -> None:
    async with listening(dsn) as rung:
        for position in range(1, 6):
            await store.ledger.append(submit(account))
            await until_rung(rung, {account: position})
            await query(dsn, KILL_BELLS)


async def test_nothing_is_connected_before_somebody_commits_or_follows_and_nothing_afterwards(
    dsn: str, store: Store, account: int
) -> None:
    async with Store(dsn) as node:
        assert await node.history.head(account) == 0
        assert await bells(dsn) == []
        await node.ledger.append(submit(account))

        async def ringing() -> bool:
            return [row["query"] for row in await bells(dsn)] == [f"NOTIFY jobstore, '{account}:1'"]

        await until(ringing)
        await Reader(node.tail, account).follow()
        await until_listening(dsn)
        assert len(await bells(dsn)) == 2

    async def gone() -> bool:
        return not await bells(dsn)

    await until(gone)


async def test_a_bell_that_cannot_be_rung_harms_no_append(dsn: str, store: Store, account: int) -> None:
    dumb = Bell(NOWHERE)
    store.ledger.listen(dumb.ring)
    done = await outcomes(*[store.ledger.append(submit(account)) for _ in range(300)])
    assert all(isinstance(outcome, Appended) for outcome in done)
    assert dumb._due == {account: 300}
    await dumb.close()
    assert await assert_sound(dsn) == 300


@example(dict.fromkeys(range(2**31 - 600, 2**31), 2**62))
@given(st.dictionaries(st.integers(1, 2**31 - 1), st.integers(1, 2**63 - 1), min_size=1, max_size=600))
def test_what_is_said_is_understood_and_fits(reached: dict[int, int]) -> None:
    said = payload(reached)
    assert len(said.encode()) <= MOST < 8000
    assert heads(said) == (reached if said else {})
    assert said or len(reached) > 200


@given(st.text() | st.from_regex(r"[0-9:, -]*"))
def test_whatever_is_heard_is_positions_or_nothing(said: str) -> None:
    assert all(isinstance(number, int) for pair in heads(said).items() for number in pair)


async def test_a_line_that_is_dead_without_a_word_is_found_out_and_so_is_a_server_that_was_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell, "CHECK", 0.05)
    server = Embedded(folder / "data")
    server.open()
    stopped: list[int] = []

    def go_on() -> None:
        while stopped:
            with suppress(ProcessLookupError):
                os.kill(stopped.pop(), signal.SIGCONT)

    try:
        async with Store(server.dsn, patience=0.5) as node, Store(server.dsn) as other:
            account = await node.accounts.create("acme")
            node.tail._interval = NEVER
            reader = await Reader(node.tail, account).follow()
            await until_listening(server.dsn)
            stopped = [row["pid"] for row in await query(server.dsn, LISTENING)]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            await other.ledger.append(submit(account))
            await reader.until(1)
            go_on()

            server.close()
            appended = other.ledger.append(submit(account))
            with pytest.raises(Unavailable):
                await node.history.head(account)
            server.open()
            await outcomes(appended)
            await reader.until(2)
            await other.ledger.append(submit(account))
            await reader.until(3)
            await reader.assert_exact(node)
    finally:
        go_on()
        server.close()
