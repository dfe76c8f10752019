"""Knows `jobstore history`: who said what of a job, when, and what that changed for those who look at it."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobstore.cli.lines import clock, printable, said
from jobstore.cli.place import Place, place_options
from jobstore.cli.reading import account_option, audience_of, find
from jobstore.cli.running import account_named, with_store
from jobstore.formats import PROJECTIONS, native
from jobstore.job import codec
from jobstore.job.events import JobRemoved
from jobstore.job.projection import tick
from jobstore.store import Store
from jobstore.store.accounts import Mistaken
from jobstore.store.history import Entry

_TITLES: Final = ("version", "position", "at", "by", "event", "said", "changed")
_OF_EVERY_EVENT: Final = frozenset(("version", "position", "updated_at"))
_REMOVED: Final = codec.NAMES[JobRemoved]


class Moment(NamedTuple):
    """An event, and how the job looked from then on."""

    entry: Entry
    body: bytes


@click.command()
@click.argument("job")
@click.option("--format", "format_name", type=click.Choice(list(PROJECTIONS)),
              help="In whose words to tell what changed. [default: native]")  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True, help="A line of JSON an event; with --format it has the view after it."
)
@account_option
@place_options
def history(job: str, format_name: str | None, as_json: bool, account: str | None, place: Place) -> None:
    """Tell the life of a job: when, who said what, and what that changed in the view. JOB is its number or its uid."""
    moments = with_store(place, lambda store: _moments(store, account, job, format_name or "native"))
    console = Console()
    if as_json:
        for moment in moments:
            line = native.recorded(*moment.entry)
            click.echo(line if format_name is None else line[:-1] + b',"view":' + moment.body + b"}")
        return
    rows = list(_rows(moments))
    if console.is_terminal:
        table = Table(*_TITLES, box=None, header_style="bold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
    else:
        for row in rows:
            click.echo("\t".join(row))


async def _moments(store: Store, account: str | None, job: str, format_name: str) -> list[Moment]:
    account_id = (await account_named(store, account)).account_id
    number = await find(store, account_id, job)
    projection, audience = PROJECTIONS[format_name], await audience_of(store, account_id, format_name)
    view = projection.fold(())
    moments = []
    async for page in store.history.pages_of_job(account_id, number):
        for entry in page:
            view = projection.fold((entry.recorded(),), view)
            moments.append(Moment(entry, projection.show(view, audience, tick(entry.at))))
    if not moments:
        raise Mistaken(f"there is no job {job}")
    return moments


def _rows(moments: list[Moment]) -> Iterator[tuple[str, ...]]:
    """A row an event, a column a title."""
    before: dict[str, Any] = {}
    for entry, body in moments:
        after = dict(_leaves(orjson.loads(body)))
        changed = "gone from every view" if entry.type == _REMOVED else ", ".join(_changes(before, after))
        row = (entry.version, entry.position, clock(entry.at), entry.by, entry.type, said(entry), changed)
        yield tuple(printable(str(column)) for column in row)
        before = after


def _leaves(shown: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What a view says, by place: an object's members each by themselves, an array as a whole."""
    if isinstance(shown, dict) and shown:
        for name, value in shown.items():
            if path or name not in _OF_EVERY_EVENT:
                yield from _leaves(value, f"{path}.{name}" if path else name)
    else:
        yield path, shown


def _changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for path in dict.fromkeys((*before, *after)):
        old, new = before.get(path), after.get(path)
        if old == new or (not before and new in (None, "", [], {})):
            continue
        if not before:
            yield f"{path}: {_text(new)}"
        elif isinstance(old, list) and isinstance(new, list) and new[: len(old)] == old:
            yield f"{path}: + {', '.join(map(_text, new[len(old) :]))}"
        else:
            yield f"{path}: {_text(old)} → {_text(new)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
