"""Knows the commands that follow what happens: tail, and replay."""

import logging
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from urllib.parse import quote

import click
import msgspec

from jobstore.cli import local, remote
from jobstore.cli.eventstream import Event
from jobstore.cli.lines import entry_of, lived, told
from jobstore.cli.output import Output
from jobstore.cli.place import Place
from jobstore.cli.reading import audience_of, find
from jobstore.cli.running import account_named
from jobstore.cli.source import server_asked, source_options
from jobstore.cli.stopping import Stopping
from jobstore.formats import PROJECTIONS, native
from jobstore.store import Store, bell
from jobstore.store.accounts import Mistaken
from jobstore.web.filters import STATES, TYPES, Filter

Feed = AsyncGenerator[Event]
Show = Callable[[Event], bytes]

view_option = click.option(
    "--format", "format_name", type=click.Choice(list(PROJECTIONS)),
    help="Print the whole job after each event, as a line of JSON in these words.",
)  # fmt: skip


@click.command()
@click.option("--after", type=click.IntRange(min=0), metavar="POSITION",
              help="Begin after this position of the log; 0 tells everything. [default: from now on]")  # fmt: skip
@click.option("jobs", "--job", multiple=True, metavar="JOB", help="Only this job, by number or uid.")
@click.option("kinds", "--kind", multiple=True, metavar="KIND", help="Only jobs of this kind.")
@click.option("states", "--state", multiple=True, type=click.Choice(STATES), metavar="STATE",
              help=f"Only events after which the job is {', '.join(STATES)}.")  # fmt: skip
@click.option("types", "--type", multiple=True, type=click.Choice(TYPES), metavar="TYPE",
              help=f"Only events of this type: {', '.join(TYPES)}.")  # fmt: skip
@view_option
@click.option("--json", "as_json", is_flag=True, help="A line of JSON an event.")
@source_options
def tail(
    after: int | None,
    jobs: tuple[str, ...],
    kinds: tuple[str, ...],
    states: tuple[str, ...],
    types: tuple[str, ...],
    format_name: str | None,
    as_json: bool,
    account: str | None,
    place: Place,
    server: str | None,
    key: str | None,
) -> None:
    """Show what happens in an account, a line an event, until Ctrl-C.

    A line has the time (UTC), the position in the account's log, the job, the type of the event and what it says; in a
    pipe there are tabs between them. --job, --kind, --state and --type can be given again, for one or the other.

    It reads the database, or with --server and --key asks a server. Either may go away and come back: nothing is
    missed, nothing comes twice. To go on another day, say --after with the last position that was seen.
    """
    asked = server_asked(server, key, account)

    def show(output: Output) -> Show:
        if format_name is not None or as_json:
            return lambda event: event.data
        return lambda event: told(entry_of(event.data), coloured=output.is_terminal).encode()

    if asked is not None:
        query = [
            *(("job", _named(job)) for job in jobs),
            *(("kind", kind) for kind in kinds),
            *(("state", state) for state in states),
            *(("type", type) for type in types),
            *_in_format(format_name),
        ]
        _follow_server(lambda: remote.events(asked, "/feed", query, after), show)
        return

    async def feed(store: Store, account_id: int) -> Feed:
        filter = Filter(
            frozenset([await find(store, account_id, job) for job in jobs]) or None,
            frozenset(types) or None,
            frozenset(kinds) or None,
            frozenset(states) or None,
        )
        return local.events(
            store, account_id, await _shown(store, account_id, local.Wanted(filter, after), format_name)
        )

    _follow_database(place, account, feed, show)


@click.command()
@click.argument("job")
@view_option
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, metavar="X",
              help="Times the job's own pace; inf does not wait.")  # fmt: skip
@source_options
def replay(
    job: str,
    format_name: str | None,
    speed: float,
    account: str | None,
    place: Place,
    server: str | None,
    key: str | None,
) -> None:
    """Live the life of a job again, event by event. JOB is its number or its uid.

    What has happened so far is told at the speed that is asked for; a job that goes on is then followed to its end.
    """
    if speed != speed:
        raise click.BadParameter("a number above 0, or inf", param_hint="--speed")
    asked = server_asked(server, key, account)

    def show(_: Output) -> Show:
        return _Life().line if format_name is None else lambda event: event.data

    if asked is not None:
        query = [*_in_format(format_name), *(() if speed == math.inf else (("replay", repr(speed)),))]
        path = f"/jobs/{quote(_named(job))}/feed"
        _follow_server(lambda: remote.events(asked, path, query, 0), show)
        return

    async def feed(store: Store, account_id: int) -> Feed:
        number = await find(store, account_id, job)
        if await store.views.where(account_id, number) is None:
            raise Mistaken(f"there is no job {job}")
        wanted = local.Wanted(Filter(frozenset((number,))), 0, ends=True, speed=speed)
        return local.events(store, account_id, await _shown(store, account_id, wanted, format_name))

    _follow_database(place, account, feed, show)


class _Life:
    """A job's life as it is told, from its first event."""

    def __init__(self) -> None:
        self._begin: datetime | None = None
        self._job = native.Job()

    def line(self, event: Event) -> bytes:
        """The next event, and how the job is after it."""
        entry = entry_of(event.data)
        self._begin = self._begin or entry.at
        self._job = native.PROJECTION.fold((entry.recorded(),), self._job)
        return lived(entry, self._begin, self._job).encode()


# -- How it is done -----------------------------------------------------------------------------------------------


def _follow_server(open: Callable[[], Feed], show: Callable[[Output], Show]) -> None:
    async def work(output: Output) -> None:
        await _tell(open(), show(output), output)

    with Stopping() as stopping:
        stopping.run(work)


def _follow_database(
    place: Place,
    account: str | None,
    open: Callable[[Store, int], Awaitable[Feed]],
    show: Callable[[Output], Show],
) -> None:
    # That there is no doorbell is for those who run a server: here it makes events come a second later, no more.
    logging.getLogger(bell.__name__).setLevel(logging.ERROR)

    with Stopping() as stopping, place.database() as dsn:

        async def work(output: Output) -> None:
            async with Store(dsn, connections=2) as store:
                account_id = (await account_named(store, account)).account_id
                await _tell(await open(store, account_id), show(output), output)

        stopping.run(work)


async def _tell(feed: Feed, show: Show, output: Output) -> None:
    async with aclosing(feed):
        async for event in feed:
            try:
                line = show(event)
            except (KeyError, msgspec.DecodeError) as error:
                raise Mistaken(f"this release does not know what it is told: {error}; is there a newer one?") from error
            await output.line(line)


async def _shown(store: Store, account_id: int, wanted: local.Wanted, name: str | None) -> local.Wanted:
    if name is None:
        return wanted
    return wanted._replace(projection=PROJECTIONS[name], audience=await audience_of(store, account_id, name))


def _in_format(name: str | None) -> list[tuple[str, str]]:
    return [] if name is None else [("format", name)]


def _named(job: str) -> str:
    """The job as it may stand in an address. Raises click.UsageError."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", job):
        raise click.UsageError(f"{job!r} is neither a job's number nor its uid")
    return job
