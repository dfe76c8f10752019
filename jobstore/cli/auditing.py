"""Knows the commands that prove what was recorded: verify, checkpoint, export, import."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jobstore.cli.place import Place, place_options
from jobstore.cli.running import account_named, with_store
from jobstore.store import Store
from jobstore.store.checkpoints import Checkpoint, unverified
from jobstore.store.exports import Export, exported, read
from jobstore.store.notes import Unproven, Verifier
from jobstore.store.restoring import restore
from jobstore.store.sealed import Log
from jobstore.store.verifying import verify as verify_log

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_position = click.IntRange(1, 2**63 - 1)


def _verifier(context: click.Context, option: click.Parameter, text: str | None) -> Verifier | None:
    try:
        return None if text is None else Verifier.parse(text)
    except Unproven as error:
        raise click.BadParameter(str(error), context, option) from None


public_key_option = click.option(
    "--public-key", metavar="KEY", callback=_verifier,
    help="The key that checkpoints must be signed with, as `jobstore checkpoint --public-key` prints it.",
)  # fmt: skip


@click.command()
@click.argument("what", required=False, metavar="[ACCOUNT | FILE]")
@click.option("checkpoints", "--checkpoint", type=_file, multiple=True, metavar="FILE",
              help="A checkpoint that the log must extend. May be given again.")  # fmt: skip
@public_key_option
@place_options
def verify(what: str | None, checkpoints: tuple[Path, ...], public_key: Verifier | None, place: Place) -> None:
    """Recompute the chain of hashes, and name the first position that does not hold.

    Of the log of ACCOUNT, of all accounts, or of an export: a name with a dot or a slash is a FILE, and needs no
    database. Without --public-key a log's checkpoints must be signed with the key that the database has, and those of a
    file are compared but not proved.
    """
    if what is not None and re.search(r"[./]", what):
        _verify_file(Path(what), [_text(path) for path in checkpoints], public_key)
        return

    async def work(store: Store) -> bool:
        logs = await store.logs.all(what)
        if checkpoints and len(logs) != 1:
            raise click.UsageError("say which account the checkpoints are of")
        whole = True
        for account_id, log in logs:
            key = public_key or (await store.checkpoints.verifier(account_id) if checkpoints else None)
            known = [_opened(_text(path), key) for path in checkpoints]
            whole &= await _verify(log, known, f"{log.name}: {{}} events hold{_since(known)}")
        return whole

    if not with_store(place, work):
        sys.exit(1)


@click.command()
@click.argument("account", required=False)
@click.option("--public-key", is_flag=True, help="Print the key that the account's checkpoints are verified with.")
@place_options
def checkpoint(account: str | None, public_key: bool, place: Place) -> None:
    """Print a signed checkpoint of where the log of ACCOUNT ends, to be kept elsewhere.

    It is a signed note (c2sp.org/signed-note, c2sp.org/tlog-checkpoint). A log that was cut off or rewritten later does
    not extend it: `jobstore verify ACCOUNT --checkpoint FILE`.
    """

    async def work(store: Store) -> str:
        account_id = (await account_named(store, account)).account_id
        if public_key:
            return f"{await store.checkpoints.verifier(account_id)}\n"
        return await store.checkpoints.now(account_id)

    click.echo(with_store(place, work), nl=False)


@click.command()
@click.argument("account")
@click.option("first", "--from", type=_position, default=1, show_default=True, metavar="P", help="The first position.")
@click.option("last", "--to", type=_position, metavar="P", help="The last position. [default: where the log ends]")
@click.option("target", "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write to FILE, which is there once it is whole.")  # fmt: skip
@place_options
def export(account: str, first: int, last: int | None, target: Path | None, place: Place) -> None:
    """Write the log of ACCOUNT as lines of JSON, with the hashes and a signed checkpoint at the end.

    The log is verified on the way: where it does not hold the export ends, without a checkpoint.
    """

    async def work(store: Store, write: Callable[[bytes], object]) -> None:
        account_id, began_as, log = await store.logs.part(account, first, last)
        with _progress(log) as progress:
            async for position, lines in exported(
                began_as, log, lambda end: store.checkpoints.sign(account_id, account, *end)
            ):
                write(lines)
                progress(position)

    if target is None:
        with_store(place, lambda store: work(store, sys.stdout.buffer.write))
        return
    unfinished = target.with_name(f"{target.name}.unfinished")
    with unfinished.open("wb") as file:
        with_store(place, lambda store: work(store, file.write))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(target)


@click.command("import")
@click.argument("file", type=_file)
@click.option("--account", metavar="NAME", help="Another name than the account had.")
@public_key_option
@place_options
def import_(file: Path, account: str | None, public_key: Verifier | None, place: Place) -> None:
    """Restore the account whose whole log is in FILE, with the same positions and hashes.

    The account must be new. It appears when all of it is there; after an interruption run the same again. Keys,
    settings and idempotency keys are not part of a log: make keys with `jobstore key create`.
    """
    export = read(file)
    if public_key is not None:
        _signed(export, public_key)

    async def work(store: Store) -> str:
        name = account or export.account
        with _progress(export.log) as progress:
            made = await restore(store.postgres, export, name, progress)
        return f"{name}: {export.log.end.position if export.log.end else 0} events" + (
            " restored" if made else ", which it has already"
        )

    click.echo(with_store(place, work))


def _verify_file(path: Path, notes: Sequence[str], public_key: Verifier | None) -> None:
    if not path.is_file():
        raise click.UsageError(f"there is no file {path}")
    export = read(path)
    by = ", but who signed that is not known without --public-key"
    if public_key is not None:
        _signed(export, public_key)
        by = f", as {public_key.name} has signed"
    known = [_opened(note, public_key) for note in notes]
    if not uvloop.run(_verify(export.log, known, f"{path}: {{}} events of {export.account} hold{_since(known)}{by}")):
        sys.exit(1)


def _signed(export: Export, key: Verifier) -> None:
    """Raises Unproven when the export is closed by somebody else."""
    if export.note is not None:
        key.open(export.note)


def _opened(note: str, key: Verifier | None) -> Checkpoint:
    return unverified(note) if key is None else Checkpoint.parse(key.open(note))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Unproven(f"{path} is not a checkpoint: it is not UTF-8") from None


def _since(known: Sequence[Checkpoint]) -> str:
    return "".join(f", and extend the checkpoint of {c.at:%Y-%m-%d %H:%M:%S} at {c.position}" for c in known)


async def _verify(log: Log, checkpoints: Sequence[Checkpoint], said: str) -> bool:
    """Say whether the log holds, and how many events it has, or what is wrong."""
    try:
        with _progress(log) as progress:
            count = await verify_log(log, checkpoints, progress)
    except Unproven as error:
        click.echo(f"Error: {log.name} does not hold: {error}", err=True)
        return False
    click.echo(said.format(count))
    return True


@contextlib.contextmanager
def _progress(log: Log) -> Iterator[Callable[[int], object]]:
    """A bar in a terminal; what is given moves it to a position."""
    console = Console(stderr=True)
    total = None if log.end is None else log.end.position - log.begin.position
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(log.name, total=total)
        yield lambda position: bar.update(task, completed=position - log.begin.position)
