"""Knows the command that reads a job: show."""

from datetime import datetime
from uuid import UUID

import click
import orjson
from rich.console import Console

from jobstore.cli.place import Place, place_options
from jobstore.cli.running import account_named, with_store
from jobstore.formats import FORMATS, PROJECTIONS
from jobstore.job.projection import Audience, tick
from jobstore.store import Store
from jobstore.store.accounts import Mistaken
from jobstore.store.views import Where

account_option = click.option("--account", metavar="NAME", help="Needed only when there is more than one account.")
format_option = click.option(
    "--format", "format_name", type=click.Choice(list(PROJECTIONS)), default="native", show_default=True,
    help="In whose words.",
)  # fmt: skip


@click.command()
@click.argument("job")
@format_option
@click.option(
    "--at", metavar="POSITION|TIME", help="As it was then: a position, or a time such as 2026-01-31T12:00:00Z."
)
@account_option
@place_options
def show(job: str, format_name: str, at: str | None, account: str | None, place: Place) -> None:
    """Show a job: as it is, or as it was. JOB is its number or its uid."""
    moment = None if at is None else _moment(at)

    async def work(store: Store) -> bytes:
        account_id = (await account_named(store, account)).account_id
        number = await find(store, account_id, job)
        where = await _stood(store, account_id, number, moment)
        if where is None:
            raise Mistaken(f"there is no job {job}" + ("" if at is None else f" at {at}"))
        projection, audience = PROJECTIONS[format_name], await audience_of(store, account_id, format_name)
        if moment is None:
            return (await store.views.show_exactly(account_id, number, where, projection, audience)).body
        then = await store.history.time_of(account_id, moment) if isinstance(moment, int) else moment
        view = await store.past.view(account_id, number, where, projection)
        return projection.show(view, audience, tick(then or store.clock()))

    body = with_store(place, work)
    console = Console()
    if console.is_terminal:
        console.print_json(body.decode())
    else:
        click.echo(orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2))


async def find(store: Store, account_id: int, job: str) -> int:
    """The number of the job that is named by its number or its uid. Raises Mistaken or click.UsageError."""
    if job.isascii() and job.isdigit() and len(job) <= 18:
        return int(job)
    try:
        number = await store.jobs.number_of(account_id, UUID(job).hex)
    except ValueError:
        raise click.UsageError(f"{job!r} is neither a job's number nor its uid") from None
    if number is None:
        raise Mistaken(f"there is no job {job}")
    return number


async def audience_of(store: Store, account_id: int, name: str) -> Audience:
    """The account itself, in the wire shape that it has chosen; a command line has no address."""
    account = next(account for account in await store.accounts.all() if account.account_id == account_id)
    default = FORMATS[name].revisions[0] if name in FORMATS else ""
    return Audience("", account.name, account.settings.get(name, default))


async def _stood(store: Store, account_id: int, number: int, moment: int | datetime | None) -> Where | None:
    if moment is None:
        return await store.views.where(account_id, number)
    if isinstance(moment, datetime):
        moment = await store.history.position_at(account_id, moment)
    return await store.past.where(account_id, number, moment)


def _moment(text: str) -> int | datetime:
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("a position, or a time such as 2026-01-31T12:00:00Z", param_hint="--at") from None
    return at.astimezone()
