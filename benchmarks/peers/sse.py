"""sse-starlette under uvicorn: a feed as its documentation shows it, a queue and a generator for each reader."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import uvicorn
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.serving import process


@contextmanager
def sse_starlette() -> Iterator[int]:
    """Its port; POST /pub, GET /sub."""
    with process(_serve, None) as port:
        yield port


def _serve(_: None, listener: socket.socket) -> None:
    readers: set[asyncio.Queue[str]] = set()

    async def publish(request: Request) -> Response:
        message = (await request.body()).decode()
        for queue in readers:
            queue.put_nowait(message)
        return Response(status_code=202)

    async def told(queue: asyncio.Queue[str]) -> AsyncIterator[dict[str, str]]:
        readers.add(queue)
        try:
            while True:
                yield {"data": await queue.get()}
        finally:
            readers.discard(queue)

    async def subscribe(_: Request) -> EventSourceResponse:
        return EventSourceResponse(told(asyncio.Queue()), sep="\n", ping=60)

    app = Starlette(routes=[Route("/pub", publish, methods=["POST"]), Route("/sub", subscribe)])
    uvicorn.Server(uvicorn.Config(app, log_level="error", loop="uvloop")).run(sockets=[listener])
