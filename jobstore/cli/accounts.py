"""Knows `jobstore account` and `jobstore key`."""

from collections.abc import Mapping, Sequence
from typing import cast

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobstore.cli.place import Place, place_options
from jobstore.cli.running import with_store
from jobstore.formats import REVISIONS
from jobstore.store import Store
from jobstore.store.accounts import SCOPES, Mistaken, Scope
from jobstore.store.rates import parse_rate

_REVISIONS = ", ".join(f"{name}=REVISION" for name in REVISIONS)


def _revision(text: str) -> tuple[str, str | None]:
    """FORMAT=REVISION as a pair."""
    name, equals, chosen = text.partition("=")
    if not equals or name not in REVISIONS:
        raise click.BadParameter(f"{text!r} is none of {_REVISIONS}")
    if chosen not in REVISIONS[name]:
        raise click.BadParameter(f"{name} has the revisions {' and '.join(REVISIONS[name])}, not {chosen!r}")
    return name, chosen


def _setting(text: str) -> tuple[str, str | None]:
    """SETTING=VALUE as a pair; None takes the setting away."""
    name, equals, value = text.partition("=")
    if not equals or name not in ("rate", *REVISIONS):
        raise click.BadParameter(f"{text!r} is none of rate=RATE, {_REVISIONS}")
    if not value or text == "rate=off":
        return name, None
    if name != "rate":
        return _revision(text)
    try:
        parse_rate(value)
    except Mistaken as error:
        raise click.BadParameter(str(error)) from None
    return name, value


@click.group()
def account() -> None:
    """Make, list and set up accounts. An account is a wall: nothing of one is visible from another."""


@account.command("create")
@click.argument("name")
@click.option("revisions", "--revision", type=_revision, multiple=True, metavar="FORMAT=REVISION",
              help="Serve it this revision of a format, such as zendesk=current. May be given again.")  # fmt: skip
@place_options
def create_account(name: str, revisions: tuple[tuple[str, str | None], ...], place: Place) -> None:
    """Make the account NAME and print its first key, of scope admin, once."""

    async def work(store: Store) -> str:
        await store.accounts.create(name)
        await store.accounts.set(name, dict(revisions))
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


@account.command("set")
@click.argument("name")
@click.argument("settings", type=_setting, nargs=-1, required=True, metavar="SETTING=VALUE...")
@place_options
def set_account(name: str, settings: tuple[tuple[str, str | None], ...], place: Place) -> None:
    """Change settings of the account NAME; servers follow within a second.

    rate=5000/hour bounds how often it may ask, per second, minute, hour or day; rate=off does not. zendesk=current or
    virtool=5.0 chooses the revision of a format that it is served; zendesk= goes back to the first one.
    """
    changed = with_store(place, lambda store: store.accounts.set(name, dict(settings)))
    click.echo(f"settings: {_settings(changed.settings) or 'none'}")


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
         "" if k.revoked_at is None else f"{k.revoked_at:%Y-%m-%d %H:%M}", "" if k.job is None else str(k.job))
        for k in keys
    ]  # fmt: skip
    titles = ("id", "account", "name", "scope", "created", "revoked", "job")
    _table(titles, rows, "no key yet: `jobstore key create ACCOUNT`")


@key.command("revoke")
@click.argument("key_id", metavar="ID")
@place_options
def revoke_key(key_id: str, place: Place) -> None:
    """End the key with this ID, for ever; servers refuse it within a second."""
    with_store(place, lambda store: store.accounts.revoke(key_id))
    click.echo(f"revoked: {key_id}")


def _settings(settings: Mapping[str, str]) -> str:
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
