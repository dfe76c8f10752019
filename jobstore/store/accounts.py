"""Knows accounts, what they were granted and their keys, and tells who holds a key. A key's secret is never stored."""

import asyncio
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from datetime import datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import asyncpg
import orjson

from jobstore.store.chain import genesis
from jobstore.store.mistaken import Mistaken as Mistaken
from jobstore.store.postgres import Connection, Postgres
from jobstore.store.rates import Rate, parse_rate

Scope = Literal["read", "write", "admin"]
SCOPES: Final[dict[str, int]] = {"read": 1, "write": 2, "admin": 3}

_KEY = re.compile(r"jsk_([0-9a-f]{12})_[0-9a-f]{40}")
_ID: Final = slice(4, 16)
_KEY_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_VALUE = re.compile(r"[a-z0-9][a-z0-9._/-]{0,62}")
_NO_REVISIONS: Final[Mapping[str, str]] = MappingProxyType({})
_FIRST_START = 0x6A736B31  # one process makes the first account


GOOD: Final = "SELECT key_id FROM keys WHERE key_id = ANY($1::text[]) AND revoked_at IS NULL"
KEEP_ONLY: Final = """
UPDATE keys SET revoked_at = now() WHERE account_id = $1 AND job = $2 AND key_id <> $3 AND revoked_at IS NULL
"""


class Account(NamedTuple):
    account_id: int
    name: str
    settings: dict[str, str]
    position: int
    jobs: int
    created_at: datetime


class Key(NamedTuple):
    key_id: str
    account: str
    name: str
    scope: Scope
    created_at: datetime
    revoked_at: datetime | None
    job: int | None = None  # None: the key is for the whole account


class Principal(NamedTuple):
    """Who asks: an account, and the key that speaks for it. `by` is what an event records.

    `revisions` says in which revision the account is served a format, by the format's name; `rate` how often it may
    ask; `job` which of its jobs the key is for, where it is for one only.
    """

    account_id: int
    account: str
    by: str
    scope: Scope
    revisions: Mapping[str, str] = _NO_REVISIONS
    rate: Rate | None = None
    job: int | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the key's scope includes `scope`."""
        return SCOPES[self.scope] >= SCOPES[scope]


class Accounts:
    """Accounts and keys of one database. Methods raise Unavailable when Postgres does not answer."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def create(self, name: str) -> int:
        """Make an account; its id. Raises Mistaken when the name is malformed or taken."""
        async with self._postgres.change() as connection:
            return await _create(connection, name)

    async def all(self) -> list[Account]:
        """Every account, by name."""
        rows = await self._postgres.read(
            lambda connection: connection.fetch(
                "SELECT account_id, name, settings, position, jobs, created_at "
                "FROM accounts JOIN heads USING (account_id) ORDER BY name"
            )
        )
        return [Account(row[0], row[1], orjson.loads(row[2]), *row[3:]) for row in rows]

    async def find(self, name: str) -> Account:
        """The account with this name. Raises Mistaken when there is none."""
        for account in await self.all():
            if account.name == name:
                return account
        raise Mistaken(f"there is no account {name!r}: `jobstore account list` shows what there is")

    async def set(self, name: str, changes: Mapping[str, str | None]) -> Account:
        """Merge `changes` into an account's settings, where None takes one away; the account as it is then.

        Raises Mistaken when there is no such account, or when a name, a value or the rate is malformed.
        """
        for setting, value in changes.items():
            if not _NAME.fullmatch(setting) or not (value is None or _VALUE.fullmatch(value)):
                raise Mistaken(f"{setting}={value} cannot be a setting: 1 to 63 of a-z 0-9 _ - and in its value . /")
            if setting == "rate" and value is not None:
                parse_rate(value)
        found = await self.find(name)
        async with self._postgres.change() as connection:
            settings = await connection.fetchval(
                "UPDATE accounts SET settings = jsonb_strip_nulls(settings || $2::jsonb) WHERE account_id = $1 "
                "RETURNING settings",
                found.account_id,
                orjson.dumps(dict(changes)).decode(),
            )
        return found._replace(settings=orjson.loads(settings))

    async def create_key(self, account: str, scope: Scope, name: str | None = None) -> tuple[Key, str]:
        """Make a key; what is known of it, and the key itself, which nobody can ask for again.

        Raises Mistaken when there is no such account, or a key of that name is in use.
        """
        found = await self.find(account)
        async with self._postgres.change() as connection:
            return await _create_key(connection, found.account_id, account, scope, name)

    async def keys(self, account: str | None = None) -> list[Key]:
        """The keys of an account, or of all, oldest first."""
        rows = await self._postgres.read(
            lambda connection: connection.fetch(
                "SELECT key_id, a.name, k.name, scope, k.created_at, revoked_at, job "
                "FROM keys k JOIN accounts a USING (account_id) "
                "WHERE a.name = $1 OR $1 IS NULL ORDER BY k.created_at, key_id",
                account,
            )
        )
        return [Key(*row) for row in rows]

    async def create_job_key(self, account_id: int, number: int) -> tuple[str, str]:
        """Make a key of scope write for one job; its id, and the key itself.

        Raises Mistaken when there is no such job.
        """
        key_id, key = _draw_key()
        async with self._postgres.change() as connection:
            status = await connection.execute(
                "INSERT INTO keys (key_id, account_id, name, scope, hash, job) "
                "SELECT $3, account_id, $4, 'write', $5, number FROM jobs WHERE account_id = $1 AND number = $2",
                account_id,
                number,
                key_id,
                f"job-{number}-{key_id}",
                sha256(key.encode()).digest(),
            )
        if status == "INSERT 0 0":
            raise Mistaken(f"there is no job {number} for a key to be for")
        return key_id, key

    async def keep_only_job_key(self, account_id: int, number: int, key_id: str) -> None:
        """End every other key of the job, for ever."""
        async with self._postgres.change() as connection:
            await connection.execute(KEEP_ONLY, account_id, number, key_id)

    async def revoke(self, key_id: str) -> None:
        """End a key, for ever. Raises Mistaken when there is no such key in use."""
        async with self._postgres.change() as connection:
            status = await connection.execute(
                "UPDATE keys SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL", key_id
            )
        if status == "UPDATE 0":
            raise Mistaken(f"there is no key {key_id!r} in use: `jobstore key list` shows what there is")

    async def replace_key(self, account: str, scope: Scope, name: str) -> str:
        """A new key under a name, ending the one that had it before."""
        found = await self.find(account)
        async with self._postgres.change() as connection:
            await connection.execute(
                "UPDATE keys SET revoked_at = now() WHERE account_id = $1 AND name = $2 AND revoked_at IS NULL",
                found.account_id,
                name,
            )
            return (await _create_key(connection, found.account_id, account, scope, name))[1]

    async def first_start(self) -> str | None:
        """On an empty database make the account `default` and its admin key, and give the key; else None."""
        async with self._postgres.change() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _FIRST_START)
            if await connection.fetchval("SELECT EXISTS (SELECT FROM accounts)"):
                return None
            account_id = await _create(connection, "default")
            return (await _create_key(connection, account_id, "default", "admin", "admin"))[1]


class Gate:
    """Tells who holds a key, from a short memory: a revoked key is refused `memory` seconds later at the latest."""

    def __init__(self, postgres: Postgres, *, memory: float = 1.0, size: int = 10_000) -> None:
        self._postgres = postgres
        self._memory = memory
        self._size = size
        self._known: OrderedDict[str, tuple[float, bytes, Principal | None]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[tuple[float, bytes, Principal | None]]] = {}

    async def admit(self, key: str) -> Principal | None:
        """Whose key it is, or None."""
        if not _KEY.fullmatch(key):
            return None
        known = self._known.get(key[_ID])
        if known is None or known[0] < time.monotonic():
            known = await self._ask(key[_ID])
        return _holder(key, known)

    def remember(self, key: str) -> Principal | None:
        """Whose key it is, if that was asked a moment ago: what nearly every request needs, without waiting."""
        known = self._known.get(key[_ID])
        return None if known is None or known[0] < time.monotonic() else _holder(key, known)

    async def revoked(self, keys: Collection[str]) -> set[str]:
        """Those of the keys, which were good once, that are no longer: one question, however many there are.

        Raises Unavailable.
        """
        ids = {key: shape[1] for key in keys if (shape := _KEY.fullmatch(key)) is not None}
        rows = await self._postgres.read(lambda connection: connection.fetch(GOOD, list(ids.values())))
        good = {row[0] for row in rows}
        return {key for key in keys if ids.get(key) not in good}

    async def _ask(self, key_id: str) -> tuple[float, bytes, Principal | None]:
        """One question a key at a time, however many wait for its answer."""
        task = self._asking.get(key_id)
        if task is None:
            task = self._asking[key_id] = asyncio.create_task(self._look_up(key_id))
            task.add_done_callback(lambda _: self._asking.pop(key_id, None))
        return await asyncio.shield(task)

    async def _look_up(self, key_id: str) -> tuple[float, bytes, Principal | None]:
        row = await self._postgres.read(
            lambda connection: connection.fetchrow(
                "SELECT account_id, a.name, k.name, scope, hash, settings, job "
                "FROM keys k JOIN accounts a USING (account_id) WHERE key_id = $1 AND revoked_at IS NULL",
                key_id,
            )
        )
        until = time.monotonic() + self._memory
        known: tuple[float, bytes, Principal | None]
        if row is None:
            known = (until, bytes(32), None)
        else:
            account_id, account, name, scope, hash, settings, job = row
            revisions = orjson.loads(settings)
            rate = parse_rate(revisions.pop("rate")) if "rate" in revisions else None
            who = Principal(account_id, account, f"{account}/{name}", scope, revisions, rate, job)
            known = (until, hash, who)
        self._known[key_id] = known
        self._known.move_to_end(key_id)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return known


def _holder(key: str, known: tuple[float, bytes, Principal | None]) -> Principal | None:
    """Who is known under the id of the key, if it is the key. Digests are compared in constant time."""
    digest = sha256(key.encode(errors="surrogateescape")).digest()
    return known[2] if hmac.compare_digest(known[1], digest) else None


def check_name(name: str) -> None:
    """Raises Mistaken when no account can have this name."""
    if not _NAME.fullmatch(name):
        raise Mistaken(
            f"{name!r} cannot be an account's name: 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit"
        )


async def _create(connection: Connection, name: str) -> int:
    check_name(name)
    try:
        account_id: int = await connection.fetchval(
            "INSERT INTO accounts (name) VALUES ($1) RETURNING account_id", name
        )
    except asyncpg.UniqueViolationError:
        raise Mistaken(f"there is an account {name!r} already") from None
    await connection.execute("INSERT INTO heads (account_id, hash) VALUES ($1, $2)", account_id, genesis(name))
    return account_id


async def _create_key(
    connection: Connection, account_id: int, account: str, scope: Scope, name: str | None
) -> tuple[Key, str]:
    if name is not None and not _KEY_NAME.fullmatch(name):
        raise Mistaken(f"{name!r} cannot be a key's name: 1 to 100 characters, none of them a control character")
    key_id, key = _draw_key()
    try:
        created_at = await connection.fetchval(
            "INSERT INTO keys (key_id, account_id, name, scope, hash) VALUES ($1, $2, $3, $4, $5) RETURNING created_at",
            key_id,
            account_id,
            name or key_id,
            scope,
            sha256(key.encode()).digest(),
        )
    except asyncpg.UniqueViolationError:
        raise Mistaken(f"account {account!r} has a key {name!r} already: revoke it, or choose another name") from None
    return Key(key_id, account, name or key_id, scope, created_at, None), key


def _draw_key() -> tuple[str, str]:
    """The id of a new key, and the key."""
    key_id = secrets.token_hex(6)
    return key_id, f"jsk_{key_id}_{secrets.token_hex(20)}"
