"""Knows `jobstore serve` and `jobstore demo`: how servers start, are watched over, and end."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any, Final, TypeVar

import click
import uvloop
from aiohttp import web

from jobstore.cli.demo import play
from jobstore.cli.place import Place, place_options
from jobstore.store import Store
from jobstore.store.embedded import Embedded, EmbeddedError
from jobstore.web.app import application

DRAIN: Final = 5.0  # seconds that requests under way get when the server ends
WATCH: Final = 0.5  # seconds between looks at the embedded server and the workers

log = logging.getLogger("jobstore")

F = TypeVar("F", bound=Callable[..., Any])


def server_options(command: F) -> F:
    """--host, --port, --workers."""
    for option in (
        click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, envvar="JOBSTORE_WORKERS",
                     show_envvar=True, help="Processes that serve."),
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
def serve(place: Place, host: str, port: int, workers: int) -> None:
    """Serve jobs over HTTP.

    The first start makes the account `default` and prints one admin key, once. SIGTERM ends the server when what is
    under way is answered.
    """
    _serve(place, host, port, workers, demo=False)


@click.command()
@place_options
@server_options
def demo(place: Place, host: str, port: int, workers: int) -> None:
    """Serve, and simulate jobs, so that there is something to see.

    The jobs are in the account `default`. Every start prints a key that lists them; a key that an earlier demo printed
    is then no longer good.
    """
    _serve(place, host, port, workers, demo=True)


def _serve(place: Place, host: str, port: int, workers: int, *, demo: bool) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_bound(host, port, shared=workers > 1))
        server = None if place.dsn is not None else stack.enter_context(place.embedded())
        dsn = place.dsn if server is None else server.dsn
        assert dsn is not None
        key = uvloop.run(_first_start(dsn, demo=demo))
        address = _address(host, listener.getsockname()[1])
        if key is not None:
            _say(f"key: {key}")
        visit = (address, key) if demo and key is not None else None

        def announce() -> None:
            _say(f"jobstore is at {address}")
            if visit is not None:
                _say(f"try: curl -s -H 'Authorization: Bearer {key}' {address}/jobs")

        try:
            if workers == 1:
                uvloop.run(_run(dsn, listener, server, visit, announce))
            else:
                _run_workers(dsn, host, listener, workers, server, visit, announce)
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


async def _run(
    dsn: str,
    listener: socket.socket,
    server: Embedded | None,
    visit: tuple[str, str] | None,
    announce: Callable[[], None],
) -> None:
    """Serve on `listener` until a signal says to stop; `announce` it once requests are answered."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with Store(dsn) as store:
        runner = web.AppRunner(application(store), access_log=None, shutdown_timeout=DRAIN)
        await runner.setup()
        await web.SockSite(runner, listener, backlog=1024).start()
        announce()
        companions = []
        if server is not None:
            companions.append(asyncio.create_task(_keep_alive(server)))
        if visit is not None:
            companions.append(asyncio.create_task(play(*visit)))
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


# -- More than one process ----------------------------------------------------------------------------------------


def _run_workers(
    dsn: str,
    host: str,
    listener: socket.socket,
    workers: int,
    server: Embedded | None,
    visit: tuple[str, str] | None,
    announce: Callable[[], None],
) -> None:
    """Keep `workers` processes serving until a signal says to stop. They share the port, not the socket."""
    context = multiprocessing.get_context("spawn")
    port = listener.getsockname()[1]

    def start(index: int) -> BaseProcess:
        process = context.Process(
            target=_work, args=(dsn, host, port, os.getpid(), visit if index == 0 else None), name=f"jobstore-{index}"
        )
        process.start()
        return process

    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    processes = [start(index) for index in range(workers)]
    announced = False
    while not stopping:
        time.sleep(WATCH)
        if not announced and _answers(host, port):
            announce()
            announced = True
        for index, process in enumerate(processes):
            if not process.is_alive() and not stopping:
                log.warning("worker %s ended with %s and is started again", process.name, process.exitcode)
                processes[index] = start(index)
        if server is not None:
            with contextlib.suppress(EmbeddedError):
                server.revive()
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + DRAIN + 10
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()


def _work(dsn: str, host: str, port: int, parent: int, visit: tuple[str, str] | None) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    async def run() -> None:
        watch = asyncio.create_task(_end_with(parent))
        await _run(dsn, listener, None, visit, lambda: None)
        watch.cancel()

    with _bound(host, port, shared=True) as listener:
        uvloop.run(run())


async def _end_with(parent: int) -> None:
    """A worker whose parent was killed ends too."""
    while os.getppid() == parent:  # noqa: ASYNC110 (the kernel tells nobody)
        await asyncio.sleep(WATCH)
    os.kill(os.getpid(), signal.SIGTERM)


def _answers(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _bound(host: str, port: int, *, shared: bool) -> Iterator[socket.socket]:
    """A socket bound to the address, not listening yet: a port in use is found out before anything is started."""
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


def _say(line: str) -> None:
    """Print a line now: who reads it from a pipe waits for it."""
    click.echo(line)
    sys.stdout.flush()


def _address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
