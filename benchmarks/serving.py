"""Knows how to run a server in a process of its own: the real one, and aiohttp with next to nothing to do."""

import asyncio
import multiprocessing
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop
from aiohttp import web

from jobstore.store import Store
from jobstore.web.app import RUNNER, application, settle


def serve_jobs(dsn: str, listener: socket.socket) -> None:
    """The real thing."""

    async def run() -> None:
        async with Store(dsn) as store:
            app = application(store)
            settle()
            await _forever(app, listener)

    uvloop.run(run())


def serve_constant(body: bytes, listener: socket.socket) -> None:
    """aiohttp that answers every poll alike."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/jobs/{id}", answer)
    uvloop.run(_forever(app, listener))


def serve_echo(_: None, listener: socket.socket) -> None:
    """aiohttp that answers a report with the report."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), content_type="application/json")

    app = web.Application()
    app.router.add_post("/jobs/{id}/events", answer)
    uvloop.run(_forever(app, listener))


@contextmanager
def process(target: Callable[[Any, socket.socket], None], argument: Any, *, fresh: bool = False) -> Iterator[int]:
    """A server in a process of its own; its port. A `fresh` one is not forked, for who has a loop or threads by now."""
    make = multiprocessing.get_context("spawn").Process if fresh else multiprocessing.get_context("fork").Process
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    child = make(target=target, args=(argument, listener))
    child.start()
    try:
        yield listener.getsockname()[1]
    finally:
        child.kill()
        child.join()
        listener.close()


async def _forever(app: web.Application, listener: socket.socket) -> None:
    runner = web.AppRunner(app, **RUNNER)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=1024).start()
    await asyncio.Event().wait()
