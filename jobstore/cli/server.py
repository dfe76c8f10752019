"""Knows how one process serves: on which socket, until which signal, and what it looks after meanwhile."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from aiohttp import web

from jobstore.cli.demo import play
from jobstore.store import Store
from jobstore.store.embedded import Embedded, EmbeddedError
from jobstore.web.app import RUNNER, application, settle
from jobstore.web.hub import LIFE

DRAIN: Final = 5.0  # seconds that requests under way get when the server ends
WATCH: Final = 0.5  # seconds between looks at the embedded server


class Site(NamedTuple):
    """What is served: the database at `dsn`, to clients that reach it at `url` if that is not where it listens. The
    demo visits the address with the key of `visit`. Pages of `origins` may read, and a feed ends after `feed_life`
    seconds."""

    dsn: str
    url: str | None = None
    visit: tuple[str, str] | None = None
    origins: tuple[str, ...] = ()
    feed_life: float = LIFE


log = logging.getLogger("jobstore")


async def run(site: Site, listener: socket.socket, server: Embedded | None, announce: Callable[[], None]) -> None:
    """Serve on `listener` until a signal says to stop; `announce` it once requests are answered."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with Store(site.dsn) as store:
        app = application(store, url=site.url, origins=site.origins, feed_life=site.feed_life)
        runner = web.AppRunner(app, shutdown_timeout=DRAIN, **RUNNER)
        await runner.setup()
        await web.SockSite(runner, listener, backlog=1024).start()
        settle()
        announce()
        companions = []
        if server is not None:
            companions.append(asyncio.create_task(_keep_alive(server)))
        if site.visit is not None:
            companions.append(asyncio.create_task(play(*site.visit)))
        await stop.wait()
        for task in companions:
            task.cancel()
        store.watch.stop()
        await runner.cleanup()
        await asyncio.gather(*companions, return_exceptions=True)


async def _keep_alive(server: Embedded) -> None:
    """Start the embedded server again if it dies."""
    while True:
        await asyncio.sleep(WATCH)
        try:
            if not server.is_running() and await asyncio.to_thread(server.revive):
                log.warning("PostgreSQL had died and was started again")
        except EmbeddedError as error:
            log.error("%s", error)


def answers(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def bound(host: str, port: int, *, shared: bool) -> Iterator[socket.socket]:
    """A socket bound to the address, not listening yet: a port in use is found out before anything is started.

    A `shared` one can be bound again by other processes, so it is the parent's to find out with one that is not.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            bound.bind((host, port))
        except socket.gaierror as error:
            raise OSError(f"{host} is not an address of this machine: {error.strerror}") from error
        except OSError as error:
            raise OSError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port, or stop what uses it"
            ) from error
        yield bound


def address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
