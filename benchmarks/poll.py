"""Poll: exact polls over HTTP against aiohttp answering the same bytes as a constant, 304s, and each vendor's."""

import asyncio
import multiprocessing
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop
from aiohttp import web

from benchmarks.http import rate, request
from benchmarks.measure import compare, hardware, options, postgres
from jobstore.formats import FORMATS, native
from jobstore.job.commands import ReportProgress, Start, Submit
from jobstore.job.projection import Audience
from jobstore.store import Store
from jobstore.store.batch import Append
from jobstore.store.clock import now, uuid7
from jobstore.web.app import RUNNER, application

JOBS = 1_000
POLLS = 15_000  # a round
CONNECTIONS = 100


async def _forever(app: web.Application, listener: socket.socket) -> None:
    runner = web.AppRunner(app, **RUNNER)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=1024).start()
    await asyncio.Event().wait()


def serve_jobs(dsn: str, listener: socket.socket) -> None:
    """The real thing."""

    async def run() -> None:
        async with Store(dsn) as store:
            await _forever(application(store), listener)

    uvloop.run(run())


def serve_constant(body: bytes, listener: socket.socket) -> None:
    """aiohttp with nothing to do."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/jobs/{id}", answer)
    uvloop.run(_forever(app, listener))


@contextmanager
def process(target: Callable[[Any, socket.socket], None], argument: Any) -> Iterator[int]:
    """A server in a process of its own; its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    child = multiprocessing.get_context("fork").Process(target=target, args=(argument, listener))
    child.start()
    try:
        yield listener.getsockname()[1]
    finally:
        child.kill()
        child.join()
        listener.close()


async def fill(dsn: str) -> tuple[str, list[tuple[int, str]], bytes]:
    """A key, the numbers and uids of running jobs, and what one of them looks like."""
    async with Store(dsn) as store:
        account = await store.accounts.create("acme")
        _, key = await store.accounts.create_key("acme", "read")

        async def one() -> tuple[int, str]:
            command = Submit(uid=uuid7(now()), kind="index.build", args={"index": "users"})
            said = (command, Start(stage="load"), ReportProgress(fraction=0.4, message="row 17"))
            return (await store.ledger.append(Append(account, None, said, "acme/bench"))).job, command.uid

        jobs = list(await asyncio.gather(*(one() for _ in range(JOBS))))
        number, _ = jobs[0]
        where = await store.views.where(account, number)
        assert where is not None
        return key, jobs, (await store.views.show(account, number, where, native.PROJECTION)).body


def main(dsn: str, rounds: int) -> None:
    key, jobs, body = uvloop.run(fill(dsn))
    polls = [request(f"/jobs/{number}", key) for number, _ in jobs]
    known = [request(f"/jobs/{number}", key, 'If-None-Match: "3"') for number, _ in jobs]
    spoken = {
        format.name: [request(format.location(*job, Audience("", "acme", format.revisions[0])), key) for job in jobs]
        for format in FORMATS.values()
    }
    with process(serve_jobs, dsn) as ours, process(serve_constant, body) as constant:

        async def run() -> None:
            async def answered() -> float:
                return await rate(constant, polls, count=POLLS, connections=CONNECTIONS)

            async def unchanged() -> float:
                return await rate(ours, known, count=POLLS, connections=CONNECTIONS, status=304)

            async def poll() -> float:
                return await rate(ours, polls, count=POLLS, connections=CONNECTIONS)

            where = "aiohttp answering a constant"
            await compare(f"exact poll / {where}", poll, answered, rounds=rounds, unit="polls/s", goal=">= 0.7")
            await compare(f"304 / {where}", unchanged, answered, rounds=rounds, unit="polls/s", goal="none")
            for name, requests in spoken.items():

                async def told(requests: list[bytes] = requests) -> float:
                    return await rate(ours, requests, count=POLLS, connections=CONNECTIONS)

                what = f"exact poll as {name} / native"
                await compare(what, told, poll, rounds=rounds, unit="polls/s", goal=">= 0.9")

        uvloop.run(run())


if __name__ == "__main__":
    arguments = options(__doc__)
    print(hardware())
    with postgres() as dsn:
        main(dsn, arguments.rounds)
