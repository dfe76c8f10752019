"""Knows how the command line begins and how it fails: one line on stderr that says what to do, never a traceback."""

import sys

import asyncpg
import click

from jobstore.cli import cli
from jobstore.store.accounts import Mistaken
from jobstore.store.embedded import EmbeddedError
from jobstore.store.migrations import Outdated
from jobstore.store.notes import Unproven
from jobstore.store.postgres import Unavailable, describe


def main() -> None:
    """Run the command line. Exit codes: 0 well, 1 failed, 2 wrong use."""
    try:
        cli(prog_name="jobstore")
    except (EmbeddedError, Mistaken, Outdated, Unavailable, Unproven) as error:
        fail(str(error))
    except asyncpg.PostgresError as error:
        fail(f"Postgres says: {describe(error)}")
    except OSError as error:
        fail(str(error))


def fail(text: str) -> None:
    """End with exit code 1 and one line about why."""
    click.echo(f"Error: {text}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
