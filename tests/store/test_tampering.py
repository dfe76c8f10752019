"""Whatever a superuser does to a log past all triggers, `verify` finds, and names the position and what was done."""

import asyncpg
import pytest

from jobstore.job import commands as c
from jobstore.store import Store
from jobstore.store.chain import digest, genesis, link, microseconds
from jobstore.store.checkpoints import Checkpoint
from jobstore.store.sealed import Sealed
from jobstore.store.verifying import Broken, verify
from tests.store.asking import new_job, note, query, say
from tests.store.sound import assert_sound

EVENTS = 24

INSERT = (
    "INSERT INTO events SELECT account_id, 11, 3, 1, 'queued', at, '{{}}', by, NULL, {} FROM events WHERE position = 10"
)
PUT_IN = """
INSERT INTO events (account_id, position, job, version, type, at, by, trace, data, erased, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
END = "UPDATE heads SET position = position + 1"

WAYS: dict[str, tuple[str, int, str]] = {  # what is done, the position and the kind that verify names
    "one byte of a payload": ("UPDATE events SET data = replace(data, 'note 7', 'note 8') WHERE position = 11",
                              11, "changed payload"),
    "one byte of the last payload": ("UPDATE events SET data = replace(data, 'note', 'nota') WHERE position = 24",
                                     24, "changed payload"),
    "a payload that is no JSON any more": ("UPDATE events SET data = 'x' WHERE position = 9", 9, "changed payload"),
    "a payload taken out, unrecorded": (
        "UPDATE events SET erased = sha256(data::bytea), data = '{}' WHERE position = 8", 8, "changed payload"),
    "its type": ("UPDATE events SET type = 'completed' WHERE position = 11", 11, "changed header"),
    "a type that there is not": ("UPDATE events SET type = 'nonsense' WHERE position = 11", 11, "changed header"),
    "its job": ("UPDATE events SET job = 77 WHERE position = 11", 11, "changed header"),
    "its version": ("UPDATE events SET version = version + 50 WHERE position = 12", 12, "changed header"),
    "its job and version": ("UPDATE events SET job = 1, version = 99 WHERE position = 12", 12, "changed header"),
    "its time": ("UPDATE events SET at = at - interval '1 hour' WHERE position = 11", 11, "changed header"),
    "the time of the last": ("UPDATE events SET at = '2001-01-01' WHERE position = 24", 24, "changed header"),
    "who said it": ("UPDATE events SET by = 'acme/somebody' WHERE position = 11", 11, "changed header"),
    "the only one who said it": ("UPDATE events SET by = 'acme/tests' WHERE position = 13", 13, "changed header"),
    "its idempotency key": ("UPDATE events SET trace = 'another' WHERE position = 11", 11, "changed header"),
    "its hash": ("UPDATE events SET hash = sha256('x') WHERE position = 11", 11, "changed hash"),
    "the last hash": ("UPDATE events SET hash = sha256('x') WHERE position = 24", 24, "changed hash"),
    "two neighbours swapped": (
        "UPDATE events SET position = -position WHERE position IN (11, 12); "
        "UPDATE events SET position = 23 + position WHERE position < 0", 11, "reordered"),
    "two far apart swapped": (
        "UPDATE events SET position = -position WHERE position IN (9, 20); "
        "UPDATE events SET position = 29 + position WHERE position < 0", 9, "reordered"),
    "the last two swapped": (
        "UPDATE events SET position = -position WHERE position IN (23, 24); "
        "UPDATE events SET position = 47 + position WHERE position < 0", 23, "reordered"),
    "two swapped, but for their hashes": (
        "UPDATE events a SET data = b.data FROM events b WHERE a.position + b.position = 37 "
        "AND a.position IN (18, 19)", 18, "changed payload"),
    "rows swapped, but for their hashes": (
        "CREATE TEMP TABLE kept AS SELECT position, hash FROM events WHERE position IN (11, 12); "
        "UPDATE events SET position = -position WHERE position IN (11, 12); "
        "UPDATE events SET position = 23 + position WHERE position < 0; "
        "UPDATE events SET hash = kept.hash FROM kept WHERE events.position = kept.position", 11, "reordered"),
    "one moved past the end": ("UPDATE events SET position = 25 WHERE position = 11", 11, "missing"),
    "one moved to the end, the rest moved up": (
        "UPDATE events SET position = 25 WHERE position = 11; "
        "UPDATE events SET position = -position WHERE position > 11; "
        "UPDATE events SET position = -position - 1 WHERE position < 0",
        11,
        "reordered",
    ),
    "one deleted": ("DELETE FROM events WHERE position = 11", 11, "missing"),
    "the first one deleted": ("DELETE FROM events WHERE position = 1", 1, "missing"),
    "several deleted": ("DELETE FROM events WHERE position BETWEEN 11 AND 14", 11, "missing"),
    "one deleted, the rest moved up": (
        "DELETE FROM events WHERE position = 11; UPDATE events SET position = -position WHERE position > 11; "
        "UPDATE events SET position = -position - 1 WHERE position < 0", 11, "missing"),
    "one deleted, the rest and the head moved up": (
        "DELETE FROM events WHERE position = 11; UPDATE events SET position = -position WHERE position > 11; "
        "UPDATE events SET position = -position - 1 WHERE position < 0; "
        "UPDATE heads SET position = position - 1", 11, "missing"),
    "the last but one deleted, the last moved up": (
        "DELETE FROM events WHERE position = 23; UPDATE events SET position = 23 WHERE position = 24", 23, "missing"),
    "the last deleted": ("DELETE FROM events WHERE position = 24", 24, "cut off"),
    "the last five deleted": ("DELETE FROM events WHERE position > 19", 20, "cut off"),
    "truncated": ("TRUNCATE events", 1, "cut off"),
    "the last deleted, the head's position moved": (
        "DELETE FROM events WHERE position = 24; UPDATE heads SET position = 23", 23, "wrong head"),
    "the head's hash": ("UPDATE heads SET hash = sha256('x')", 24, "wrong head"),
    "no head": ("DELETE FROM heads", 25, "cut off"),
    "one put in": (
        "UPDATE events SET position = -position WHERE position > 10; "
        "UPDATE events SET position = 1 - position WHERE position < 0; "
        + INSERT.format("sha256('x')") + f"; {END}", 11, "inserted"),
    "one put in before the last": (
        "UPDATE events SET position = 25 WHERE position = 24; "
        "INSERT INTO events SELECT account_id, 24, 3, 1, 'queued', at, '{}', by, NULL, sha256('x') FROM events "
        f"WHERE position = 10; {END}", 24, "inserted"),
    "one put in at the end": (
        "INSERT INTO events SELECT account_id, 25, 3, 1, 'queued', at, '{}', by, NULL, sha256('x') FROM events "
        "WHERE position = 24", 25, "inserted"),
}  # fmt: skip


@pytest.fixture
async def account(store: Store) -> int:
    """An account whose log has 24 events of two jobs, of which one carries an idempotency key."""
    account = await store.accounts.create("acme")
    await store.accounts.create_key("acme", "admin", "worker")
    jobs = [await new_job(store, account) for _ in range(2)]
    for number in range(6):
        await store.ledger.append(note(account, jobs[number % 2], f"note {number}"))
    await store.ledger.append(note(account, jobs[1], "note 7", key="k", digest=bytes(32)))
    await store.ledger.append(say(account, jobs[1], c.ReportProgress(fraction=0.5)))
    request = say(account, jobs[0], c.ReportProgress(fraction=0.25))
    request.by = "acme/worker"
    await store.ledger.append(request)
    for number in range(8, 19):
        await store.ledger.append(note(account, jobs[number % 2], f"note {number}"))
    return account


async def tamper(dsn: str, *statements: str) -> None:
    """Do what no trigger, constraint or right allows."""
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute("ALTER TABLE events DROP CONSTRAINT IF EXISTS events_position_counts")
        for statement in statements:
            await connection.execute(statement)
    await connection.close()


async def found(store: Store, *checkpoints: Checkpoint) -> tuple[int, str]:
    """The position and the kind of what verify finds."""
    ((_, log),) = await store.logs.all("acme")
    with pytest.raises(Broken) as broken:
        await verify(log, checkpoints)
    assert str(broken.value).startswith(f"position {broken.value.finding.position}: ")
    return broken.value.finding[:2]


async def test_what_nobody_touched_holds(dsn: str, store: Store, account: int) -> None:
    ((_, log),) = await store.logs.all("acme")
    assert await verify(log) == await assert_sound(dsn) == EVENTS


@pytest.mark.parametrize("way", WAYS)
async def test_it_is_found_and_named(dsn: str, store: Store, account: int, way: str) -> None:
    statement, position, kind = WAYS[way]
    await tamper(dsn, statement)
    assert await found(store) == (position, kind)


@pytest.mark.parametrize("count", [1, 3])
async def test_events_put_in_with_proper_hashes_of_their_own_are_named_where_they_begin(
    dsn: str, store: Store, account: int, count: int
) -> None:
    await tamper(dsn, "UPDATE events SET position = -position WHERE position > 10",
                 f"UPDATE events SET position = {count} - position WHERE position < 0",
                 f"UPDATE heads SET position = position + {count}")  # fmt: skip
    ((hash, at),) = await query(dsn, "SELECT hash, at FROM events WHERE position = 10")
    for position in range(11, 11 + count):
        event = Sealed(position, 50, position - 10, "annotated", at, "acme/tests", None, "{}", None, hash)
        hash = event.after(hash)
        await query(dsn, PUT_IN, account, *event[:-1], hash)
    assert await found(store) == (11, "inserted")


async def rechain(dsn: str, account: int) -> None:
    """Compute all hashes anew, and the head's, as somebody would who has read the source."""
    hash = genesis("acme")
    for row in await query(dsn, "SELECT * FROM events WHERE account_id = $1 ORDER BY position", account):
        position, job, version, type = (row[name] for name in ("position", "job", "version", "type"))
        at, payload = microseconds(row["at"]), digest(row["data"])
        hash = link(hash, position, job, version, type, at, row["by"], row["trace"], payload)
        await tamper(dsn, f"UPDATE events SET hash = '\\x{hash.hex()}' WHERE position = {row['position']}")
    await tamper(dsn, f"UPDATE heads SET hash = '\\x{hash.hex()}'")


async def test_a_suffix_that_is_chained_anew_holds_by_itself_and_not_before_an_old_checkpoint(
    dsn: str, store: Store, account: int
) -> None:
    key = await store.checkpoints.verifier(account)
    before = Checkpoint.parse(key.open(await store.checkpoints.now(account)))
    early = before._replace(position=10, hash=(await query(dsn, "SELECT hash FROM events WHERE position = 10"))[0][0])
    await store.ledger.append(note(account, 1, "later"))
    ((_, log),) = await store.logs.all("acme")
    assert await verify(log, [before, early]) == EVENTS + 1
    await tamper(dsn, 'UPDATE events SET data = \'{"note":"never"}\' WHERE position = 11')
    await rechain(dsn, account)
    ((_, log),) = await store.logs.all("acme")
    assert await verify(log) == await verify(log, [early]) == EVENTS + 1
    assert await found(store, before) == await found(store, early, before) == (EVENTS, "rewritten")


async def test_a_log_that_was_cut_off_with_its_head_is_caught_by_a_checkpoint(
    dsn: str, store: Store, account: int
) -> None:
    before = Checkpoint.parse((await store.checkpoints.verifier(account)).open(await store.checkpoints.now(account)))
    move = "UPDATE heads SET position = 20, hash = events.hash FROM events WHERE events.position = 20"
    await tamper(dsn, "DELETE FROM events WHERE position > 20", move)
    ((_, log),) = await store.logs.all("acme")
    assert await verify(log) == 20
    assert await found(store, before) == (21, "cut off")


async def test_a_log_restored_to_another_beginning_is_caught_by_a_checkpoint_of_nothing(dsn: str, store: Store) -> None:
    account = await store.accounts.create("acme")
    empty = Checkpoint.parse((await store.checkpoints.verifier(account)).open(await store.checkpoints.now(account)))
    assert empty.position == 0
    ((_, log),) = await store.logs.all("acme")
    assert await verify(log, [empty]) == 0
    assert await found(store, empty._replace(hash=bytes(32))) == (0, "rewritten")
