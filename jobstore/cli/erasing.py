"""Knows `jobstore erase`."""

import click

from jobstore.cli.place import Place, place_options
from jobstore.cli.reading import account_option, find
from jobstore.cli.running import account_named, actor, with_store
from jobstore.job.commands import Erase
from jobstore.store import Store
from jobstore.store.accounts import Mistaken
from jobstore.store.erasure import Erased
from jobstore.store.request import NoSuchJob


@click.command()
@click.argument("job")
@click.option("--reason", required=True, metavar="TEXT", help="Why. It is recorded and stays.")
@click.option("--fields", metavar="NAME,...",
              help="Only what was said in these fields of its events, such as args,user. [default: all]")  # fmt: skip
@account_option
@place_options
def erase(job: str, reason: str, fields: str | None, account: str | None, place: Place) -> None:
    """Take out of the log what was said of a job, for ever. JOB is its number or its uid.

    That things happened stays, when, and who said so; of what they said only digests stay, so the log, its checkpoints
    and earlier exports still verify. The erasure is an event of its own. Exports and backups made before are yours to
    look after.
    """
    names = () if fields is None else tuple(sorted({name.strip() for name in fields.split(",")}))

    async def work(store: Store) -> Erased | None:
        account_id = (await account_named(store, account)).account_id
        number = await find(store, account_id, job)
        try:
            return await store.erasure.erase(account_id, number, Erase(reason=reason, fields=names), actor())
        except NoSuchJob:
            raise Mistaken(f"there is no job {job}") from None

    erased = with_store(place, work)
    if erased is None:
        click.echo("nothing to erase")
    else:
        click.echo(f"erased: {erased.payloads} payloads, recorded at position {erased.position}")
