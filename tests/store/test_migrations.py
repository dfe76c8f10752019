"""A database is brought up to the release once, by whoever comes first, and never by a release that is older."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from jobstore.store import Store, migrations
from jobstore.store.chain import genesis
from jobstore.store.migrations import Outdated, files, migrate
from tests.store.asking import SECONDS, holding, new_job, query, submit, until_locked
from tests.store.sound import assert_sound

_FILES = files()
NAMES = [path.stem for path in _FILES.values()]
OBJECTS = """
SELECT 'column', table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
ORDER BY 1, 2, 3
"""


@pytest.fixture
async def empty(server: str) -> AsyncIterator[str]:
    """The address of a database with nothing in it."""
    await query(server, "DROP DATABASE IF EXISTS jobstore_test_empty WITH (FORCE)")
    await query(server, "CREATE DATABASE jobstore_test_empty TEMPLATE template0")
    yield re.sub(r"(?<=/)\w+(?=\?|$)", "jobstore_test_empty", server)
    await query(server, "DROP DATABASE jobstore_test_empty WITH (FORCE)")


def test_migrations_are_numbered_without_gaps_and_open_with_a_sentence_of_prose() -> None:
    found = files()
    assert list(found) == list(range(1, len(found) + 1))
    for number, path in found.items():
        assert re.fullmatch(rf"{number:04d}_[a-z_]+\.sql", path.name)
        assert re.match(r"-- [A-Z][^\n]*[.,:\w]\n", path.read_text(encoding="utf-8")), path.name
    assert len(found) == len(list(next(iter(found.values())).parent.glob("*.sql"))), "every file is one of them"


async def test_migrating_again_changes_nothing(empty: str) -> None:
    connection = await asyncpg.connect(empty)
    assert await migrate(connection) == NAMES
    before = await query(empty, OBJECTS)
    applied = await query(empty, "SELECT * FROM schema_migrations ORDER BY number")
    assert await migrate(connection) == []
    await connection.close()
    assert await query(empty, OBJECTS) == before
    assert await query(empty, "SELECT * FROM schema_migrations ORDER BY number") == applied
    assert [row["name"] for row in applied] == NAMES


async def test_of_several_at_once_one_migrates_and_the_others_wait_for_it(empty: str) -> None:
    async def start() -> list[str]:
        store = Store(empty, connections=1)
        try:
            return await store.open()
        finally:
            await store.close()

    done = await asyncio.gather(*[start() for _ in range(6)])
    assert sorted(done, key=len) == [[], [], [], [], [], NAMES]
    assert len(await query(empty, "SELECT FROM schema_migrations")) == len(NAMES)


async def test_a_migration_that_takes_longer_than_patience_is_waited_for(empty: str) -> None:
    async with holding(empty, "SELECT pg_advisory_xact_lock($1)", migrations._LOCK) as let_go:
        store = Store(empty, connections=1, patience=0.2)
        opening = asyncio.create_task(store.open())
        await until_locked(empty)
        await asyncio.wait([opening], timeout=0.6)
        assert not opening.done()
        await let_go()
        assert await asyncio.wait_for(opening, SECONDS) == NAMES
        await store.close()


async def test_a_migration_that_fails_leaves_nothing_and_can_be_tried_again(
    empty: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "9999_broken.sql"
    broken.write_text("-- Broken.\nCREATE TABLE half (); SELECT 1 / 0;")
    connection = await asyncpg.connect(empty)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "files", lambda: files() | {9999: broken})
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(connection)
    assert await query(empty, OBJECTS) == []
    assert await migrate(connection) == NAMES
    await connection.close()


async def test_a_database_that_lacks_the_last_migrations_gets_those_and_keeps_its_data(
    empty: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with Store(empty) as store:
        job = await new_job(store, await store.accounts.create("acme"))
    number = len(NAMES) + 1
    later = tmp_path / f"{number:04d}_later.sql"
    later.write_text("-- Later.\nCREATE TABLE later ();")
    monkeypatch.setattr(migrations, "files", lambda: files() | {number: later})
    connection = await asyncpg.connect(empty)
    assert await migrate(connection) == [later.stem]
    await connection.close()
    assert job == 1
    assert await assert_sound(empty) == 2


@pytest.fixture
async def before_imports(empty: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Connection]:
    """A database that lacks the sixth migration and what came later, with an account."""
    connection = await asyncpg.connect(empty)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "files", lambda: {n: path for n, path in _FILES.items() if n < 6})
        await migrate(connection)
    await connection.execute("INSERT INTO accounts (name) VALUES ('acme')")
    await connection.execute("INSERT INTO heads (account_id, hash) VALUES (1, $1)", genesis("acme"))
    yield connection
    await connection.close()


async def test_an_account_without_events_that_was_there_before_lives_at_any_time(
    before_imports: asyncpg.Connection, empty: str
) -> None:
    await migrate(before_imports)
    long_ago = datetime(1999, 12, 31, tzinfo=UTC)
    async with Store(empty, clock=lambda: long_ago) as store:
        done = await store.ledger.append(submit(1))
    assert done.events[0].at == long_ago


async def test_claims_that_were_recorded_before_stand(before_imports: asyncpg.Connection) -> None:
    for number, claim in enumerate([', "claim": "a report"', ""], 1):
        uid = f"{number:032x}"
        await before_imports.execute(
            "INSERT INTO jobs (account_id, number, uid, kind, phase, version, state) "
            "VALUES (1, $1, $2, 'x', 'queued', 1, '{}')",
            number,
            uid,
        )
        await before_imports.execute(
            "INSERT INTO events (account_id, position, job, version, type, at, data, by, hash) "
            "VALUES (1, $1, $1, 1, 'queued', now(), $2, 'acme/tests', $3)",
            number,
            f'{{"uid": "{uid}", "kind": "x"{claim}}}',
            bytes(32),
        )
    await migrate(before_imports)
    rows = await before_imports.fetch("SELECT claim FROM jobs ORDER BY number")
    assert [row["claim"] for row in rows] == ["a report", None]


async def test_a_database_ahead_of_the_release_is_not_touched_and_the_failure_says_what_to_do(dsn: str) -> None:
    await query(dsn, "INSERT INTO schema_migrations (number, name) VALUES (9999, '9999_the_future')")
    before = await query(dsn, OBJECTS)
    with pytest.raises(Outdated, match=rf"9999.*{len(NAMES)}.*upgrade"):
        await Store(dsn, connections=1).open()
    assert await query(dsn, OBJECTS) == before


async def test_an_opening_that_fails_leaves_no_connection_behind(dsn: str, until: Any) -> None:
    await query(dsn, "INSERT INTO schema_migrations (number, name) VALUES (9999, '9999_the_future')")
    with pytest.raises(Outdated):
        async with Store(dsn):
            pass

    async def gone() -> bool:
        return not await query(dsn, "SELECT FROM pg_stat_activity WHERE application_name = 'jobstore' AND datname = "
                                    "current_database()")  # fmt: skip

    await until(gone, 2)
