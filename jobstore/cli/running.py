"""Knows how a command gets its store: the database up, the schema current, and everything let go afterwards."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import psutil
import uvloop

from jobstore.cli.place import Place
from jobstore.store import Store
from jobstore.store.accounts import Account

T = TypeVar("T")


def with_store(place: Place, work: Callable[[Store], Awaitable[T]]) -> T:
    """What `work` gives, done with an open store."""

    async def run(dsn: str) -> T:
        async with Store(dsn, connections=2) as store:
            return await work(store)

    with place.database() as dsn:
        return uvloop.run(run(dsn))


def actor() -> str:
    """What an event records of who said it, when it was said on a command line: whose process it was."""
    return f"command line/{psutil.Process().username()}"


async def account_named(store: Store, name: str | None) -> Account:
    """The account of that name; without one, the only account there is. Raises Mistaken or click.UsageError."""
    if name is not None:
        return await store.accounts.find(name)
    accounts = await store.accounts.all()
    if len(accounts) == 1:
        return accounts[0]
    if not accounts:
        raise click.UsageError("there is no account yet: `jobstore serve` or `jobstore account create NAME` makes one")
    raise click.UsageError(f"say which account with --account: {', '.join(account.name for account in accounts)}")
