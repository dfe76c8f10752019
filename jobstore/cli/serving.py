"""Knows `jobstore serve` and `jobstore demo`: what they take, and what they print."""

import contextlib
import logging
import re
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import uvloop

from jobstore.cli.place import Place, checked_url, place_options
from jobstore.cli.server import Site, address, bound, run
from jobstore.cli.workers import run_workers
from jobstore.store import Store
from jobstore.web.hub import LIFE

F = TypeVar("F", bound=Callable[..., Any])


def _checked_origins(context: click.Context, option: click.Parameter, origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
            raise click.BadParameter("an origin such as https://app.example.com, or *", context, option)
    return origins


def server_options(command: F) -> F:
    """--host, --port, --workers, and what a site is like: --url, --cors, --feed-life."""
    for option in (
        click.option("--feed-life", type=click.FloatRange(1, 86400), default=LIFE, show_default=True, metavar="SECONDS",
                     envvar="JOBSTORE_FEED_LIFE", show_envvar=True,
                     help="How long a feed goes on at most, before its reader has to come back."),
        click.option("--cors", "origins", multiple=True, metavar="ORIGIN", envvar="JOBSTORE_CORS", show_envvar=True,
                     callback=_checked_origins, help="Pages of this origin may read; * for any. Can be repeated."),
        click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, envvar="JOBSTORE_WORKERS",
                     show_envvar=True, help="Processes that serve."),
        click.option("--url", metavar="URL", envvar="JOBSTORE_URL", show_envvar=True, callback=checked_url,
                     help="Where clients reach the server, if not where it listens: links in answers begin so."),
        click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, envvar="JOBSTORE_PORT",
                     show_envvar=True, help="0 takes a free one."),
        click.option("--host", default="127.0.0.1", show_default=True, envvar="JOBSTORE_HOST", show_envvar=True,
                     help="The address to listen on."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@place_options
@server_options
def serve(place: Place, host: str, port: int, workers: int, **site: Any) -> None:
    """Serve jobs over HTTP.

    The first start makes the account `default` and prints one admin key, once. SIGTERM ends the server when what is
    under way is answered.
    """
    _serve(place, host, port, workers, demo=False, **site)


@click.command()
@place_options
@server_options
def demo(place: Place, host: str, port: int, workers: int, **site: Any) -> None:
    """Serve, and simulate jobs, so that there is something to see.

    The jobs are in the account `default`. Every start prints a key that lists them; a key that an earlier demo printed
    is then no longer good.
    """
    _serve(place, host, port, workers, demo=True, **site)


def _serve(place: Place, host: str, port: int, workers: int, *, demo: bool, **like: Any) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as stack:
        with bound(host, port, shared=False) as alone:
            port = alone.getsockname()[1]
        listener = stack.enter_context(bound(host, port, shared=workers > 1))
        server = None if place.dsn is not None else stack.enter_context(place.embedded())
        dsn = place.dsn if server is None else server.dsn
        assert dsn is not None
        key = uvloop.run(_first_start(dsn, demo=demo))
        where = address(host, listener.getsockname()[1])
        if key is not None:
            _say(f"key: {key}")
        site = Site(dsn, visit=(where, key) if demo and key is not None else None, **like)

        def announce() -> None:
            _say(f"jobstore is at {where}")
            if site.visit is not None:
                _say(f"try: curl -s -H 'Authorization: Bearer {key}' {where}/jobs")

        try:
            if workers == 1:
                uvloop.run(run(site, listener, server, announce))
            else:
                run_workers(site, host, listener, workers, server, announce)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)


async def _first_start(dsn: str, *, demo: bool) -> str | None:
    async with Store(dsn, connections=1) as store:
        key = await store.accounts.first_start()
        if key is None and demo:
            if not any(account.name == "default" for account in await store.accounts.all()):
                await store.accounts.create("default")
            key = await store.accounts.replace_key("default", "admin", "demo")
        return key


def _say(line: str) -> None:
    """Print a line now: who reads it from a pipe waits for it."""
    click.echo(line)
    sys.stdout.flush()
