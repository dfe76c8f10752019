"""Feed: server-sent events to a thousand readers, against nginx's nchan with the same readers; what a reader costs."""

import asyncio
import contextlib
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import uvloop

from benchmarks.audience import Audience, audience, percentile
from benchmarks.load import post, request
from benchmarks.measure import Report, alone, postgres
from benchmarks.peers.nchan import nchan
from benchmarks.serving import process, serve_jobs
from jobstore.job.commands import Start, Submit
from jobstore.store import Store
from jobstore.store.clock import now, uuid7
from jobstore.store.request import Append

READERS = 1_000
IDLE = 10_000
SINGLE = 30  # events a round, one after the other
BURST = 50  # events at once
BURSTS = 4  # a round
SECONDS = 6  # of a steady stream
RATE = 100  # events a second of it


class Publisher:
    """One connection on which requests are answered in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def publish(self, *requests: bytes) -> None:
        """Send requests, all at once, and wait until the last one is answered."""
        self._writer.write(b"".join(requests))
        for _ in requests:
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            if head[9:10] != b"2":
                raise RuntimeError(head.decode())
            _, _, length = head.partition(b"content-length: ")
            if length:
                await self._reader.readexactly(int(length.partition(b"\r\n")[0]))


@asynccontextmanager
async def publisher(port: int) -> AsyncIterator[Publisher]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    yield Publisher(reader, writer)
    writer.close()


Say = Callable[[int], list[bytes]]  # so many events, as requests


def said_natively(key: str) -> Say:
    """Ours: one request, whatever the number of events."""
    event = '{"type": "annotated", "note": "row %d of the table, which is one of many"}'
    counter = iter(range(10**9))

    def say(events: int) -> list[bytes]:
        body = ",".join(event % next(counter) for _ in range(events))
        return [post("/jobs/1/events", (body if events == 1 else f"[{body}]").encode(), key)]

    return say


def said_to_peer(events: int) -> list[bytes]:
    """Theirs: a request an event; the message is what one of ours looks like on the wire."""
    message = (
        b'{"position":104217,"job":1,"version":104216,"type":"annotated","at":"2026-01-31T12:00:00.123456Z",'
        b'"data":{"note":"row 104217 of the table, which is one of many"},"by":"acme/bench"}'
    )
    return [post("/pub", message)] * events


async def deliveries(port: int, crowd: Audience, say: Say, *, events: int, times: int) -> float:
    """Deliveries a second: `events` at once, the next ones when every reader has them."""
    async with publisher(port) as sender:
        begin = time.monotonic()
        for _ in range(times):
            crowd.expect(events)
            await sender.publish(*say(events))
            await asyncio.to_thread(crowd.seen)
        return READERS * events * times / (time.monotonic() - begin)


async def latencies(port: int, crowd: Audience, say: Say, seconds: int) -> list[float]:
    """Milliseconds from the sending of an event until the last reader has it, in a steady stream.

    The commit is within: readers have an event before its publisher has the answer, so from there it would be nothing.
    """
    async with publisher(port) as sender:
        crowd.expect(seconds * RATE)
        sent = []
        begin = time.monotonic()
        for number in range(seconds * RATE):
            await asyncio.sleep(max(0.0, begin + number / RATE - time.monotonic()))
            sent.append(time.monotonic())
            await sender.publish(*say(1))
        seen = await asyncio.to_thread(crowd.seen)
    return [1000 * (last - first) for first, last in zip(sent, seen, strict=True)]


async def late(port: int, crowd: Audience, say: Say, seconds: int) -> float:
    """How late, in milliseconds, all but one in a hundred events of a steady stream are at most."""
    return percentile(await latencies(port, crowd, say, seconds), 0.99)


@contextmanager
def slow_reader(port: int, request: bytes) -> Iterator[None]:
    """A connection that asks for a feed and reads nothing of it, into the smallest buffer there is."""
    with socket.socket() as member:
        member.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        member.connect(("127.0.0.1", port))
        member.sendall(request)
        yield


async def prepare(dsn: str) -> tuple[str, int]:
    """A key, and a job that it may write."""
    async with Store(dsn) as store:
        account = await store.accounts.create("acme")
        _, key = await store.accounts.create_key("acme", "admin")
        said = (Submit(uid=uuid7(now()), kind="index.build"), Start())
        return key, (await store.ledger.append(Append(account, None, said, "acme/bench"))).job


def children() -> list[int]:
    """The processes that this one has started."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def resident(pid: int) -> int:
    """Bytes of memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def busy(pid: int) -> float:
    """Seconds of processor time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stream(path: str, key: str = "") -> bytes:
    return request(path, key or None, "Accept: text/event-stream")


def main(report: Report) -> None:
    """Measure."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, most), most))
    with postgres() as dsn:
        key, _ = uvloop.run(prepare(dsn))
        before = set(children())
        with process(serve_jobs, dsn) as port:
            server = next(pid for pid in children() if pid not in before)
            say = said_natively(key)
            uvloop.run(_wake(port, say))
            _against_nchan(report, port, say, key)
            _against_sse_starlette(report, port, say, key)
            _of_readers(report, port, server, key)


def _against_nchan(report: Report, port: int, say: Say, key: str) -> None:
    seconds = 1 if report.quick else SECONDS
    with contextlib.ExitStack() as stack:
        try:
            theirs = stack.enter_context(nchan())
        except FileNotFoundError as error:
            report.lacks("feed", f"{READERS} readers", "nchan", error)
            return
        us = stack.enter_context(audience(port, stream("/feed", key), READERS))
        them = stack.enter_context(audience(theirs, stream("/sub"), READERS))
        for what, events, times, goal in (
            ("one event at a time", 1, SINGLE, ">= 1.2"),
            (f"bursts of {BURST}", BURST, BURSTS, ">= 4"),
        ):
            uvloop.run(
                report.compare(
                    "feed", f"{READERS} readers, {what}", "nchan",
                    partial(deliveries, port, us, say, events=events, times=times),
                    partial(deliveries, theirs, them, said_to_peer, events=events, times=times),
                    unit="deliveries/s", goal=goal,
                )
            )  # fmt: skip
        uvloop.run(
            report.compare(
                "feed", f"p99 from sent to the last of {READERS} readers, {RATE} events/s", "nchan",
                partial(late, port, us, say, seconds), partial(late, theirs, them, said_to_peer, seconds), unit="ms",
            )
        )  # fmt: skip
        median = percentile(uvloop.run(latencies(port, us, say, seconds)), 0.5)
        report.tell("feed", f"median from sent to the last of {READERS} readers, {RATE} events/s", median, unit="ms")

        async def disturbed() -> float:
            with slow_reader(port, stream("/feed", key)):
                return await late(port, us, say, seconds)

        uvloop.run(
            report.compare(
                "feed", "p99 with one more reader, who never reads", "without",
                disturbed, partial(late, port, us, say, seconds), unit="ms", goal="<= 1.1",
            )
        )  # fmt: skip


def _against_sse_starlette(report: Report, port: int, say: Say, key: str) -> None:
    try:
        from benchmarks.peers.sse import sse_starlette
    except ImportError as error:
        report.lacks("feed", f"{READERS} readers", "sse-starlette", error)
        return
    with (
        sse_starlette() as theirs,
        audience(port, stream("/feed", key), READERS) as us,
        audience(theirs, stream("/sub"), READERS) as them,
    ):
        for what, events, times in (("one event at a time", 1, SINGLE), (f"bursts of {BURST}", BURST, 1)):
            uvloop.run(
                report.compare(
                    "feed", f"{READERS} readers, {what}", "sse-starlette",
                    partial(deliveries, port, us, say, events=events, times=times),
                    partial(deliveries, theirs, them, said_to_peer, events=events, times=times),
                    unit="deliveries/s",
                )
            )  # fmt: skip


def _of_readers(report: Report, port: int, server: int, key: str) -> None:
    """What readers cost who are told nothing."""
    idle, seconds = (3 * READERS, 5) if report.quick else (IDLE, 30)
    bare = resident(server)
    with audience(port, stream("/feed", key), idle):
        report.tell(
            "feed", f"memory a reader, of {idle:,}", (resident(server) - bare) / idle / 1024, unit="KB", goal="<= 30"
        )
        begin, worked = time.monotonic(), busy(server)
        time.sleep(seconds)
        share = (busy(server) - worked) / (time.monotonic() - begin)
        report.tell("feed", f"{idle:,} idle readers", 100 * share, unit="% of a core", goal="<= 5")


async def _wake(port: int, say: Say) -> None:
    async with publisher(port) as sender:
        await sender.publish(*say(1))


if __name__ == "__main__":
    alone(main, __doc__)
