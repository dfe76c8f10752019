"""Knows `jobstore migrate`."""

import click
import uvloop

from jobstore.cli.place import Place, place_options
from jobstore.store import Store


@click.command()
@place_options
def migrate(place: Place) -> None:
    """Bring the database's schema up to this release. `serve` does the same at its start."""

    async def run(dsn: str) -> list[str]:
        store = Store(dsn, connections=1)
        try:
            return await store.open()
        finally:
            await store.close()

    with place.database() as dsn:
        applied = uvloop.run(run(dsn))
    for name in applied:
        click.echo(f"applied: {name}")
    if not applied:
        click.echo("up to date")
