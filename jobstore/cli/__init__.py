"""What can be asked for on a command line; a module a subject."""

import click

from jobstore import __version__
from jobstore.cli.accounts import account, key
from jobstore.cli.auditing import checkpoint, export, import_, verify
from jobstore.cli.erasing import erase
from jobstore.cli.projecting import project
from jobstore.cli.reading import replay, show
from jobstore.cli.serving import demo, serve
from jobstore.cli.timeline import history
from jobstore.cli.upkeep import migrate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="jobstore")
def cli() -> None:
    """An event-sourced job store: append events, poll views, replay the past.

    Start with `jobstore demo`: it needs nothing and shows moving jobs. Without --dsn every command uses a PostgreSQL of
    its own, in a folder, and starts it when it is not running.
    """


for command in (
    serve, demo, migrate, account, key, show, history, replay,
    verify, checkpoint, export, import_, erase, project,
):  # fmt: skip
    cli.add_command(command)
