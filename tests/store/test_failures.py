"""Whatever fails, and whenever: what was acknowledged is there once, and nobody waits for ever."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy

from jobstore.job import commands as c
from jobstore.store import Store
from jobstore.store.postgres import Unavailable
from jobstore.store.request import Appended
from tests.store.asking import (
    SECONDS,
    drafts,
    holding_heads,
    new_job,
    note,
    notes,
    outcomes,
    query,
    say,
    until,
    until_locked,
)
from tests.store.cutting import Relay, relayed
from tests.store.sound import assert_sound

COMMITTED = {"in memory": b"UPDATE 1\0", "not in memory": b"COMMIT\0"}  # what Postgres says when it is done


@pytest.fixture
async def job(store: Store, account: int) -> int:
    """A job that runs, at version 2."""
    return await new_job(store, account)


@pytest.fixture
async def relay(dsn: str) -> AsyncIterator[tuple[Relay, str]]:
    """A relay to the database, and its address."""
    async with relayed(dsn) as pair:
        yield pair


@pytest.fixture(params=COMMITTED)
async def node(request: pytest.FixtureRequest, relay: tuple[Relay, str], account: int, job: int) -> Any:
    """A node behind the relay, and what Postgres tells it after a commit."""
    async with Store(relay[1], patience=5) as node:
        if request.param == "in memory":
            await node.ledger.append(note(account, job, "known"))
        yield node, COMMITTED[request.param]


async def test_a_commit_whose_answer_was_lost_is_recorded_once_and_told_as_recorded(
    node: tuple[Store, bytes], relay: tuple[Relay, str], account: int, job: int, dsn: str
) -> None:
    relay[0].lose = node[1]
    done = await outcomes(*[node[0].ledger.append(note(account, job, i)) for i in range(5)])
    assert relay[0].cuts == 1, "this test shows nothing"
    assert [type(outcome) for outcome in done] == [Appended] * 5
    assert [text for text in await notes(dsn, account, job) if text != "known"] == list("01234")
    assert (await node[0].ledger.append(note(account, job, "next"))).version == await assert_sound(dsn)


async def test_a_commit_that_never_arrived_is_written_again(
    node: tuple[Store, bytes], relay: tuple[Relay, str], account: int, job: int, dsn: str
) -> None:
    relay[0].drop = b"lost on the way" if node[1] == COMMITTED["in memory"] else b"COMMIT;"
    done = await outcomes(*[node[0].ledger.append(note(account, job, ("lost on the way", i))) for i in range(5)])
    assert relay[0].cuts == 1, "this test shows nothing"
    assert [type(outcome) for outcome in done] == [Appended] * 5
    assert len([text for text in await notes(dsn, account, job) if text != "known"]) == 5
    assert (await node[0].ledger.append(note(account, job, "next"))).version == await assert_sound(dsn)


@pytest.mark.parametrize("committed", [True, False])
async def test_another_node_may_append_before_it_is_known_what_became_of_a_commit(
    node: tuple[Store, bytes], relay: tuple[Relay, str], store: Store, account: int, job: int, dsn: str, committed: bool
) -> None:
    if committed:
        relay[0].lose = node[1]
    else:
        relay[0].drop = b"mine" if node[1] == COMMITTED["in memory"] else b"COMMIT;"
    futures = [node[0].ledger.append(note(account, job, ("mine", i))) for i in range(3)]
    relay[0].open.clear()
    await until(lambda: relay[0].cuts)
    for i in range(3):
        await store.ledger.append(note(account, job, ("theirs", i)))
    relay[0].open.set()
    done = [outcome for outcome in await outcomes(*futures) if isinstance(outcome, Appended)]
    assert len(done) == 3
    texts = [text for text in await notes(dsn, account, job) if text != "known"]
    mine, theirs = [str(("mine", i)) for i in range(3)], [str(("theirs", i)) for i in range(3)]
    assert texts == (mine + theirs if committed else theirs + mine)
    await assert_sound(dsn)


async def test_what_was_committed_is_not_written_again_when_the_next_attempt_meets_another_failure(
    node: tuple[Store, bytes],
    relay: tuple[Relay, str],
    account: int,
    job: int,
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetch, failures = PoolConnectionProxy.fetch, [asyncpg.DiskFullError("no space left on device")]

    async def fail_once(self: Any, statement: str, *arguments: Any, **more: Any) -> Any:
        if relay[0].cuts and failures and "FOR UPDATE" in statement:
            raise failures.pop()
        return await fetch(self, statement, *arguments, **more)

    monkeypatch.setattr(PoolConnectionProxy, "fetch", fail_once)
    relay[0].lose = node[1]
    heard = drafts(node[0])
    await outcomes(*[node[0].ledger.append(note(account, job, i)) for i in range(3)])
    assert not failures, "this test shows nothing"
    assert [len(draft.events) for draft in heard] == [3], "listeners hear of it once"
    assert [text for text in await notes(dsn, account, job) if text != "known"] == list("012")
    await assert_sound(dsn)


async def test_a_database_that_is_read_only_for_a_moment_is_waited_for(
    store: Store, account: int, job: int, dsn: str
) -> None:
    name = (await query(dsn, "SELECT current_database()"))[0][0]
    await query(dsn, f"ALTER DATABASE {name} SET default_transaction_read_only = on")  # as a standby is, in a failover
    await query(dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jobstore'")
    futures = [store.ledger.append(note(account, job, i)) for i in range(3)]
    await asyncio.wait(futures, timeout=0.3)
    await _admin(dsn, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await query(dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jobstore'")
    assert [type(outcome) for outcome in await outcomes(*futures)] == [Appended] * 3
    await assert_sound(dsn)


async def _admin(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, server_settings={"default_transaction_read_only": "off"})
    await connection.execute(statement)
    await connection.close()


async def test_a_backend_that_was_ended_between_two_appends_is_not_noticed(
    store: Store, account: int, job: int, dsn: str
) -> None:
    for i in range(3):
        await query(dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jobstore'")
        assert (await store.ledger.append(note(account, job, i))).version == 3 + i
        await query(dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jobstore'")
        where = await store.views.where(account, job)
        assert where is not None
        assert where.version == 3 + i
    await assert_sound(dsn)


async def test_a_backend_that_is_ended_while_it_waits_for_the_head_is_replaced(
    store: Store, account: int, job: int, dsn: str
) -> None:
    async with holding_heads(dsn, account) as let_go:
        futures = [store.ledger.append(note(account, job, i)) for i in range(3)]
        for _ in range(3):
            [pid] = await until_locked(dsn)
            await query(dsn, "SELECT pg_terminate_backend($1)", pid)

            async def another_waits(ended: int = pid) -> bool:
                return ended not in await until_locked(dsn)

            await until(another_waits)
        await let_go()
        assert [type(outcome) for outcome in await outcomes(*futures)] == [Appended] * 3
    assert await notes(dsn, account, job) == list("012")
    await assert_sound(dsn)


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03", "57014"])
@pytest.mark.parametrize("known", ["in memory", "not in memory"])
async def test_a_passing_failure_is_tried_again(
    store: Store, account: int, job: int, dsn: str, code: str, known: str
) -> None:
    await _admin(
        dsn,
        f"""
        CREATE SEQUENCE attempts;
        CREATE FUNCTION fail_at_first() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('attempts') <= 3 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'; END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER fail_at_first AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION fail_at_first();
        """,
    )
    async with Store(dsn) as fresh:
        node = store if known == "in memory" else fresh
        futures = [node.ledger.append(note(account, job, i)) for i in range(3)]
        assert [type(outcome) for outcome in await outcomes(*futures)] == [Appended] * 3
    assert await notes(dsn, account, job) == list("012")
    await assert_sound(dsn)


async def test_a_write_that_takes_longer_than_patience_is_given_up_and_recorded_at_most_once(
    dsn: str, store: Store, account: int, job: int
) -> None:
    await _admin(
        dsn,
        """
        CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
        CREATE TRIGGER be_slow AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION be_slow();
        """,
    )
    async with Store(dsn, patience=0.5) as node:
        begin = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(node.ledger.append(say(account, job, c.Complete())), SECONDS)
        assert asyncio.get_running_loop().time() - begin < 3
        await _admin(dsn, "DROP TRIGGER be_slow ON events")
        assert (await node.ledger.append(note(account, job, "after"))).version == 3
    assert await assert_sound(dsn) == 3
