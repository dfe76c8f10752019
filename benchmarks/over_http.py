"""Append over HTTP: an event a request against aiohttp echoing it, and lines against the ledger in process."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from functools import partial

import orjson
import uvloop

from benchmarks.append import CALLERS
from benchmarks.load import post, rate
from benchmarks.measure import Report, alone, postgres
from benchmarks.peers.best import best
from benchmarks.serving import process, serve_echo, serve_jobs
from jobstore.job.commands import ReportProgress, Start, Submit
from jobstore.store import Store
from jobstore.store.clock import now, uuid7
from jobstore.store.request import Append

JOBS = 1_000
CONNECTIONS = 200  # as many as callers in process
ARRAY = 100  # events a request
STREAMS = 4  # requests at once that carry lines

_RECORDED = b'"status":200'


async def fill(dsn: str) -> tuple[str, int]:
    """A key of an account, and the id of another one, with as many running jobs each. A process that wrote an account's
    log alone remembers where its jobs stand, so the two that are compared do not share one."""
    async with Store(dsn) as store:

        async def one(account: int) -> None:
            said = (Submit(uid=uuid7(now()), kind="index.build", args={"index": "users"}), Start(stage="load"))
            await store.ledger.append(Append(account, None, said, "acme/bench"))

        for name in ("acme", "other"):
            account = await store.accounts.create(name)
            await asyncio.gather(*(one(account) for _ in range(JOBS)))
        return (await store.accounts.create_key("acme", "write"))[1], account


class Said:
    """What workers say, never the same twice in a row: as an object, as arrays and as lines."""

    def __init__(self) -> None:
        self._jobs = itertools.cycle(range(1, JOBS + 1))
        self._steps = itertools.count(1)

    def event(self) -> dict[str, object]:
        step = next(self._steps)
        return {"type": "progressed", "fraction": step % 9973 / 9973, "stage": "load", "message": f"row {step}"}

    def requests(self, key: str, count: int, events: int = 1) -> list[bytes]:
        """So many requests, each of so many events."""
        said = (self.event() if events == 1 else [self.event() for _ in range(events)] for _ in range(count))
        return [post(f"/jobs/{next(self._jobs)}/events", orjson.dumps(value), key) for value in said]

    def lines(self, key: str, count: int) -> bytes:
        """One request of so many lines."""
        lines: Iterator[bytes] = (orjson.dumps({"job": next(self._jobs), **self.event()}) for _ in range(count))
        return post("/events", b"\n".join(lines) + b"\n", key, type="application/x-ndjson")


async def streamed(port: int, requests: list[bytes], count: int) -> float:
    """Lines answered a second; each request on a connection of its own, sent and answered at the same time."""

    async def one(request: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        answered, rest = 0, b""
        while answered < count:
            data = await reader.read(2**18)
            if not data:
                raise RuntimeError(head.decode())
            answered += (rest + data).count(_RECORDED)
            rest = data[1 - len(_RECORDED) :]
        writer.close()

    begin = time.perf_counter()
    await asyncio.gather(*map(one, requests))
    return count * len(requests) / (time.perf_counter() - begin)


async def _compare(report: Report, dsn: str, key: str, account: int, ours: int, echo: int) -> None:
    said = Said()
    count = 4_000 if report.quick else 10_000

    async def single() -> float:
        return await rate(ours, said.requests(key, count), count=count, connections=CONNECTIONS)

    async def echoed() -> float:
        return await rate(echo, said.requests(key, count), count=count, connections=CONNECTIONS)

    async def arrays() -> float:
        sent = said.requests(key, 2 * count // ARRAY, ARRAY)
        return ARRAY * await rate(ours, sent, count=len(sent), connections=10)

    async def lines() -> float:
        return await streamed(ours, [said.lines(key, count) for _ in range(STREAMS)], count)

    async def in_process() -> float:
        async def caller() -> None:
            for _ in range(2 * count // CALLERS):
                step = next(steps)
                command = ReportProgress(fraction=step % 9973 / 9973, stage="load", message=f"step {step}")
                await store.ledger.append(Append(account, step % JOBS + 1, (command,), "acme/bench"))

        begin = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return 2 * count / (time.perf_counter() - begin)

    steps = itertools.count(1)
    async with Store(dsn) as store:
        echoing = "aiohttp echoing the same body"
        await report.compare(
            "append over HTTP", "an event a request", echoing, single, echoed, unit="events/s", goal=">= 0.55"
        )
        what = f"{CALLERS} callers in process"
        await report.compare("append over HTTP", f"arrays of {ARRAY}", what, arrays, in_process, unit="events/s")
        await report.compare("append over HTTP", "NDJSON", what, lines, in_process, unit="events/s", goal=">= 0.7")
    try:
        from benchmarks.peers.endpoint import Endpoint
    except ImportError as error:
        report.lacks("append over HTTP", "an event a request", "FastAPI and asyncpg", error)
        return
    async with Endpoint(dsn) as peer:
        at_once = await best(peer)
        against, theirs = f"FastAPI and asyncpg, {at_once} at once", partial(peer.appended, at_once, count // 4)
        await report.compare("append over HTTP", "an event a request", against, single, theirs, unit="events/s")


def main(report: Report) -> None:
    """Measure."""
    with postgres() as dsn:
        key, account = uvloop.run(fill(dsn))
        with process(serve_jobs, dsn) as ours, process(serve_echo, None) as echo:
            uvloop.run(_compare(report, dsn, key, account, ours, echo))


if __name__ == "__main__":
    alone(main, __doc__)
