"""Knows `jobstore project`: how the work is shared by processes, and what is shown of it meanwhile."""

import contextlib
import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import asyncpg
import click
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jobstore.cli.place import Place, place_options
from jobstore.formats import PROJECTIONS
from jobstore.store import Store
from jobstore.store.postgres import Unavailable, describe
from jobstore.store.projecting import Step


@click.command()
@click.argument("format_name", metavar="FORMAT", type=click.Choice(list(PROJECTIONS)))
@click.option("--account", metavar="NAME", help="Only this one's jobs. [default: every account's]")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that fold.")
@place_options
def project(format_name: str, account: str | None, workers: int, place: Place) -> None:
    """Fold long jobs into FORMAT ahead of readers, beside a running server if there is one.

    Nobody needs this: a reader folds what is missing. It spares the first ones the wait, say after an upgrade that
    changed a format. Interrupted, it goes on where it was when it is run again.
    """
    with place.database() as dsn:
        accounts, jobs = uvloop.run(_counted(dsn, account))
        written = 0
        with _bar(jobs) as bar, _workers(dsn, format_name, accounts, workers) as heard:
            for step in heard:
                written += step.memos
                bar.advance(bar.task_ids[0], step.jobs)
    click.echo(f"folded: {written} of {jobs} jobs; the others are short, or were folded before")


async def _counted(dsn: str, name: str | None) -> tuple[list[int], int]:
    """The accounts, and how many jobs they have."""
    async with Store(dsn, connections=1) as store:
        accounts = await store.accounts.all() if name is None else [await store.accounts.find(name)]
        ids = [account.account_id for account in accounts]
        return ids, sum([await store.projecting.count(account_id) for account_id in ids])


@contextlib.contextmanager
def _workers(dsn: str, format_name: str, accounts: list[int], workers: int) -> Iterator[Iterator[Step]]:
    """Processes at work, each at a share of every account; what is given are their steps, to the last one's end."""
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    readers: list[Connection] = []
    try:
        for share in range(workers):
            reader, writer = context.Pipe(duplex=False)
            processes.append(context.Process(target=_work, args=(dsn, format_name, accounts, share, workers, writer)))
            processes[-1].start()
            writer.close()
            readers.append(reader)
        yield _heard(readers, processes)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _heard(readers: list[Connection], processes: list[BaseProcess]) -> Iterator[Step]:
    left = list(readers)
    while left:
        for reader in wait(left):
            assert isinstance(reader, Connection)
            try:
                said = reader.recv()
            except EOFError:
                left.remove(reader)
                process = processes[readers.index(reader)]
                process.join()
                if process.exitcode:
                    raise click.ClickException("a worker ended early: run it again, it goes on there") from None
                continue
            if isinstance(said, str):
                raise click.ClickException(said)
            yield said


def _work(dsn: str, format_name: str, accounts: list[int], share: int, shares: int, writer: Connection) -> None:
    async def run() -> None:
        async with Store(dsn, connections=1) as store:
            for account_id in accounts:
                steps = store.projecting.project(account_id, PROJECTIONS[format_name], share=share, shares=shares)
                async for step in steps:
                    writer.send(step)

    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):  # who started it has gone, or is told to
        try:
            uvloop.run(run())
        except (Unavailable, asyncpg.PostgresError) as error:
            writer.send(f"{describe(error)}; run it again, it goes on there")


def _bar(jobs: int) -> Progress:
    """A bar in a terminal, nothing in a pipe."""
    console = Console(stderr=True)
    columns = (TextColumn("folding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
    progress.add_task("folding", total=jobs)
    return progress
