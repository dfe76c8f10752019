"""Knows `jobstore account` and `jobstore key`."""

from collections.abc import Sequence
from typing import Any, cast

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobstore.cli.place import Place, place_options
from jobstore.cli.running import with_store
from jobstore.store import Store
from jobstore.store.accounts import SCOPES, Scope


@click.group()
def account() -> None:
    """Make and list accounts. An account is a wall: nothing of one is visible from another."""


@account.command("create")
@click.argument("name")
@place_options
def create_account(name: str, place: Place) -> None:
    """Make the account NAME and print its first key, of scope admin, once."""

    async def work(store: Store) -> str:
        await store.accounts.create(name)
        return (await store.accounts.create_key(name, "admin", "admin"))[1]

    secret = with_store(place, work)
    click.echo(f"account: {name}")
    click.echo(f"key: {secret}")


@account.command("list")
@place_options
def list_accounts(place: Place) -> None:
    """Show every account, how many jobs it has and where its log ends."""
    accounts = with_store(place, lambda store: store.accounts.all())
    rows = [
        (a.name, str(a.jobs), str(a.position), _settings(a.settings), f"{a.created_at:%Y-%m-%d %H:%M}")
        for a in accounts
    ]
    _table(
        ("account", "jobs", "position", "settings", "created"), rows, "no account yet: `jobstore account create NAME`"
    )


@account.command("show")
@click.argument("name")
@place_options
def show_account(name: str, place: Place) -> None:
    """Show the account NAME."""
    found = with_store(place, lambda store: store.accounts.find(name))
    for label, value in (
        ("account", found.name),
        ("created", found.created_at.isoformat()),
        ("jobs", found.jobs),
        ("position", found.position),
        ("settings", _settings(found.settings) or "none"),
    ):
        click.echo(f"{label}: {value}")


@click.group()
def key() -> None:
    """Make, list and revoke the keys that speak for an account."""


@key.command("create")
@click.argument("account")
@click.option("--scope", type=click.Choice(list(SCOPES)), default="write", show_default=True, help="What it may do.")
@click.option("--name", help="What events say of who recorded them. [default: the key's id]")
@place_options
def create_key(account: str, scope: str, name: str | None, place: Place) -> None:
    """Make a key for ACCOUNT and print it, once: only its hash is kept."""
    made, secret = with_store(place, lambda store: store.accounts.create_key(account, cast(Scope, scope), name))
    click.echo(f"id: {made.key_id}")
    click.echo(f"key: {secret}")


@key.command("list")
@click.argument("account", required=False)
@place_options
def list_keys(account: str | None, place: Place) -> None:
    """Show the keys of ACCOUNT, or of all accounts."""
    keys = with_store(place, lambda store: store.accounts.keys(account))
    rows = [
        (k.key_id, k.account, k.name, k.scope, f"{k.created_at:%Y-%m-%d %H:%M}",
         "" if k.revoked_at is None else f"{k.revoked_at:%Y-%m-%d %H:%M}")
        for k in keys
    ]  # fmt: skip
    _table(("id", "account", "name", "scope", "created", "revoked"), rows, "no key yet: `jobstore key create ACCOUNT`")


@key.command("revoke")
@click.argument("key_id", metavar="ID")
@place_options
def revoke_key(key_id: str, place: Place) -> None:
    """End the key with this ID, for ever; servers refuse it within a second."""
    with_store(place, lambda store: store.accounts.revoke(key_id))
    click.echo(f"revoked: {key_id}")


def _settings(settings: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]], nothing: str) -> None:
    """A table in a terminal, tab-separated lines in a pipe."""
    console = Console()
    if not console.is_terminal:
        for row in rows:
            click.echo("\t".join(row))
    elif rows:
        table = Table(*titles, box=None, header_style="bold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
    else:
        click.echo(nothing)
