"""Knows what a command may be told about where its feed comes from: a database, or a server that is running."""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from jobstore.cli.place import checked_url, place_options
from jobstore.cli.reading import account_option
from jobstore.cli.remote import Server

F = TypeVar("F", bound=Callable[..., Any])

_DATABASE: Final = ("data", "place")  # what --data and --dsn become


def _checked_server(context: click.Context, option: click.Parameter, url: str | None) -> str | None:
    url = checked_url(context, option, url)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.username is None and parts.port != 0:
            return url.rstrip("/")
    except ValueError:
        pass
    raise click.BadParameter("an address such as https://jobs.example.com, without a key in it", context, option)


def _checked_key(context: click.Context, option: click.Parameter, key: str | None) -> str | None:
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise click.BadParameter("a key is of letters, digits and underscores, and begins with jsk_", context, option)
    return key


def source_options(command: F) -> F:
    """Give a command --server and --key, for `server_asked`, and the options that say which database."""
    for option in (
        click.option("--key", envvar="JOBSTORE_KEY", show_envvar=True, metavar="KEY", callback=_checked_key,
                     help="With --server: a key of the account, of scope read. Safer in the environment than here."),
        click.option("--server", envvar="JOBSTORE_SERVER", show_envvar=True, metavar="URL", callback=_checked_server,
                     help="Ask the server that runs there, over HTTP, and not a database."),
    ):  # fmt: skip
        command = option(command)
    return account_option(place_options(command))


def server_asked(url: str | None, key: str | None, account: str | None) -> Server | None:
    """The server that is to be asked, or None for a database: what is said by a flag goes before the environment.

    Raises click.UsageError when both are said, or when something is missing.
    """
    if url is None:
        return None
    context = click.get_current_context()
    database = any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in _DATABASE)
    if database and context.get_parameter_source("server") is not ParameterSource.COMMANDLINE:
        return None
    if database:
        raise click.UsageError("--server asks a server, --data and --dsn a database: say one of them")
    if account is not None:
        raise click.UsageError("a server knows the account by the key: leave --account out")
    if key is None:
        raise click.UsageError("say --key too, or JOBSTORE_KEY: `jobstore key create ACCOUNT` makes one")
    return Server(url, key)
