"""Knows how several processes serve as one: started, watched, started again, and ended together."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import uvloop

from jobstore.cli.server import DRAIN, WATCH, Site, answers, bound, run
from jobstore.store.embedded import Embedded, EmbeddedError

log = logging.getLogger("jobstore")


def run_workers(
    site: Site,
    host: str,
    listener: socket.socket,
    workers: int,
    server: Embedded | None,
    announce: Callable[[], None],
) -> None:
    """Keep `workers` processes serving until a signal says to stop. They share the port, not the socket."""
    context = multiprocessing.get_context("spawn")
    port = listener.getsockname()[1]

    def start(index: int) -> BaseProcess:
        process = context.Process(
            target=_work,
            args=(site if index == 0 else site._replace(visit=None), host, port, os.getpid()),
            name=f"jobstore-{index}",
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
        if not announced and answers(host, port):
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


def _work(site: Site, host: str, port: int, parent: int) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    async def serve() -> None:
        watch = asyncio.create_task(_end_with(parent))
        await run(site, listener, None, lambda: None)
        watch.cancel()

    with bound(host, port, shared=True) as listener:
        uvloop.run(serve())


async def _end_with(parent: int) -> None:
    """A worker whose parent was killed ends too."""
    while os.getppid() == parent:  # noqa: ASYNC110 (the kernel tells nobody)
        await asyncio.sleep(WATCH)
    os.kill(os.getpid(), signal.SIGTERM)
