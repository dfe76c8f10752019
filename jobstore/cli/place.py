"""Knows what a command may be told about where its data is: by flag, by environment, or not at all."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from jobstore.store.embedded import Embedded, default_folder

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Place:
    """Where the data is: in a Postgres of the user's, or in a folder that gets one of ours."""

    data: Path
    dsn: str | None

    @contextmanager
    def database(self) -> Iterator[str]:
        """The address of the database, for as long as it is used. Raises EmbeddedError."""
        if self.dsn is not None:
            yield self.dsn
            return
        with self.embedded() as server:
            yield server.dsn

    @contextmanager
    def embedded(self) -> Iterator[Embedded]:
        """The folder's own server, running."""
        server = Embedded(self.data)
        server.open()
        try:
            yield server
        finally:
            server.close()


def place_options(command: F) -> F:
    """Give a command --data and --dsn, as one argument `place`."""

    def collect(context: click.Context, _: click.Parameter, dsn: str | None) -> Place:
        data = context.params.pop("data", None)
        return Place(data or default_folder(), dsn)

    decorated = click.option(
        "--dsn",
        "place",
        envvar="JOBSTORE_DSN",
        metavar="URL",
        callback=collect,
        help="A PostgreSQL of yours, 15 or later: postgresql://user:password@host/database. [env: JOBSTORE_DSN]",
    )(command)
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        is_eager=True,
        envvar="JOBSTORE_DATA",
        metavar="DIR",
        help=f"Without --dsn: the folder of its own PostgreSQL. [env: JOBSTORE_DATA; default: {default_folder()}]",
    )(decorated)


def checked_url(context: click.Context, option: click.Parameter, url: str | None) -> str | None:
    """The callback of an option that takes a server's address."""
    if url is not None and not re.fullmatch(r"https?://[^/\s]+(/[^\s?#]*)?", url):
        raise click.BadParameter("an address such as https://jobs.example.com", context, option)
    return url
