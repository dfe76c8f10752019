"""What was recorded stays recorded: table by table, statement by statement, even for a superuser."""

from typing import Any

import asyncpg
import pytest

from jobstore.job import commands as c
from jobstore.store import Store
from tests.store.asking import new_job, note, query, say, submit
from tests.store.sound import assert_sound

ROLE = "jobstore_test_ordinary"

REFUSED = {
    "events": [
        "UPDATE events SET data = '{}'",
        "UPDATE events SET hash = hash WHERE false",
        "DELETE FROM events",
        "DELETE FROM events WHERE position = 3",
        "TRUNCATE events",
        "INSERT INTO events SELECT * FROM events ON CONFLICT ON CONSTRAINT events_pkey DO UPDATE SET data = '{}'",
        "MERGE INTO events USING heads ON events.account_id = heads.account_id WHEN MATCHED THEN DELETE",
        "WITH gone AS (DELETE FROM events RETURNING *) SELECT * FROM gone",
    ],
    "idempotency": [
        "UPDATE idempotency SET digest = digest",
        "DELETE FROM idempotency",
        "TRUNCATE idempotency",
    ],
    "accounts": ["DELETE FROM accounts WHERE name = 'empty'", "TRUNCATE accounts CASCADE"],
    "heads": ["DELETE FROM heads", "TRUNCATE heads"],
    "keys": ["DELETE FROM keys", "TRUNCATE keys"],
    "jobs": ["DELETE FROM jobs", "TRUNCATE jobs"],
}
GO_BACK = [
    "UPDATE heads SET position = position - 1",
    "UPDATE heads SET jobs = jobs - 1",
    "UPDATE heads SET at = at - interval '1 microsecond'",
    "UPDATE heads SET position = position - 1, jobs = jobs + 5, at = now() + interval '1 day'",
]


@pytest.fixture
async def recorded(store: Store, account: int) -> int:
    """A job of four events, one of which came with a key; a key to the account; another account, empty."""
    job = await new_job(store, account)
    await store.ledger.append(note(account, job, "a", key="k", digest=bytes(32)))
    await store.ledger.append(say(account, job, c.Complete()))
    await store.accounts.create_key("acme", "admin")
    await store.accounts.create("empty")
    return job


async def _everything(dsn: str) -> list[Any]:
    tables = ("events", "idempotency", "accounts", "heads", "keys", "jobs")
    return [await query(dsn, f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]


@pytest.mark.parametrize("table", REFUSED)
async def test_a_superuser_is_refused_by_name(dsn: str, recorded: int, table: str) -> None:
    before = await _everything(dsn)
    for statement in REFUSED[table]:
        with pytest.raises(asyncpg.RestrictViolationError, match=r"jobstore: \w+ is append-only") as refusal:
            await query(dsn, statement)
        assert f" {table} " in str(refusal.value) or "CASCADE" in statement
    assert await _everything(dsn) == before
    assert await assert_sound(dsn) == 4


async def test_the_end_of_a_log_never_goes_back(dsn: str, recorded: int) -> None:
    before = await _everything(dsn)
    for statement in GO_BACK:
        with pytest.raises(asyncpg.RestrictViolationError, match="cannot go back"):
            await query(dsn, f"{statement} WHERE position > 0")
    assert await _everything(dsn) == before


async def _ordinary(dsn: str, *grants: str) -> Any:
    """A connection of a role without any right but these."""
    connection = await asyncpg.connect(dsn)
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", ROLE):
        await connection.execute(f"CREATE ROLE {ROLE} LOGIN")
    for grant in grants:
        await connection.execute(f"{grant} TO {ROLE}")
    await connection.execute(f"SET ROLE {ROLE}")
    return connection


@pytest.mark.parametrize("table", REFUSED)
async def test_a_role_that_was_granted_everything_is_refused_all_the_same(dsn: str, recorded: int, table: str) -> None:
    before = await _everything(dsn)
    role = await _ordinary(dsn, "GRANT ALL ON ALL TABLES IN SCHEMA public", "GRANT USAGE ON SCHEMA public")
    for statement in REFUSED[table]:
        with pytest.raises((asyncpg.RestrictViolationError, asyncpg.InsufficientPrivilegeError)):
            await role.execute(statement)
    await role.close()
    assert await _everything(dsn) == before


async def test_the_owner_of_the_tables_has_no_right_to_change_the_log(dsn: str) -> None:
    async with _owned(dsn) as role:
        for statement in (*REFUSED["events"], *REFUSED["idempotency"]):
            if "SET data" not in statement:  # which the trigger refuses: an erasure needs that right
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await role.execute(statement)


async def test_a_node_works_as_an_ordinary_role_that_owns_its_schema(dsn: str) -> None:
    async with _owned(dsn) as role:
        name = await role.fetchval("SELECT current_database()")
        own = dsn.replace("postgres@", f"{ROLE}@")
        assert name in own
        async with Store(own) as store:
            account = await store.accounts.create("acme")
            job = (await store.ledger.append(submit(account, key="k", digest=bytes(32)))).job
            await store.ledger.append(say(account, job, c.Start(), c.Complete()))
            assert (await store.ledger.append(submit(account, key="k", digest=bytes(32)))).repeated
            where = await store.views.where(account, job)
            assert where is not None
            assert where.version == 3


class _owned:  # noqa: N801 (reads as a function)
    """A connection of an ordinary role, to a database whose schema it made itself."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def __aenter__(self) -> Any:
        await (await _ordinary(self._dsn)).close()
        await query(self._dsn, "DROP SCHEMA public CASCADE")
        await query(self._dsn, f"CREATE SCHEMA public AUTHORIZATION {ROLE}")
        async with Store(self._dsn.replace("postgres@", f"{ROLE}@"), connections=1):
            pass
        self._connection = await _ordinary(self._dsn)
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()
