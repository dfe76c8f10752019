"""Feed: server-sent events to a thousand readers, against nginx's nchan with the same readers; what a reader costs."""

import asyncio
import contextlib
import os
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import uvloop

from benchmarks.audience import Audience, audience, percentile
from benchmarks.http import request
from benchmarks.measure import compare, hardware, options, postgres
from benchmarks.poll import process, serve_jobs
from jobstore.job.commands import Start, Submit
from jobstore.store import Store
from jobstore.store.batch import Append
from jobstore.store.clock import now, uuid7

READERS = 1_000
IDLE = 10_000
SINGLE = 30  # events a round, one after the other
BURST = 50  # events at once
BURSTS = 10  # a round
SECONDS = 5  # of a steady stream
RATE = 100  # events a second of it

_NCHAN = """
load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile 40000;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 30000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        keepalive_requests 1000000;
        location = /pub {{ nchan_publisher; nchan_channel_id jobs; nchan_message_buffer_length 1000; }}
        location = /sub {{
            nchan_subscriber eventsource;
            nchan_channel_id jobs;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"""
_MODULES = ("/usr/lib/nginx/modules/ngx_nchan_module.so", "/usr/lib64/nginx/modules/ngx_nchan_module.so")


@contextmanager
def nchan() -> Iterator[int]:
    """An nginx with nchan (Debian: libnginx-mod-nchan), one worker; its port."""
    module = next((path for path in _MODULES if Path(path).exists()), None)
    if module is None or shutil.which("nginx") is None:
        raise SystemExit("this compares with nginx's nchan: install nginx and libnginx-mod-nchan")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="jobstore-bench-nchan-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "nginx.conf").write_text(_NCHAN.format(module=module, folder=folder, port=port))
    server = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


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


def post(path: str, body: str, key: str = "") -> bytes:
    """A POST, ready to send."""
    head = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, *([f"Authorization: Bearer {key}"] if key else []), "", body]).encode()


Say = Callable[[int], list[bytes]]  # so many events, as requests


def said_natively(key: str) -> Say:
    """Ours: one request, whatever the number of events."""
    event = '{"type": "annotated", "note": "row %d of the table, which is one of many"}'
    counter = iter(range(10**9))

    def say(events: int) -> list[bytes]:
        body = ",".join(event % next(counter) for _ in range(events))
        return [post("/jobs/1/events", body if events == 1 else f"[{body}]", key)]

    return say


def said_to_nchan(events: int) -> list[bytes]:
    """Theirs: a request an event; the message is what one of ours looks like on the wire."""
    message = (
        '{"position":104217,"job":1,"version":104216,"type":"annotated","at":"2026-01-31T12:00:00.123456Z",'
        '"data":{"note":"row 104217 of the table, which is one of many"},"by":"acme/bench"}'
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


async def latencies(port: int, crowd: Audience, say: Say) -> list[float]:
    """Milliseconds from the sending of an event until the last reader has it, in a steady stream.

    The commit is within: readers have an event before its publisher has the answer, so from there it would be nothing.
    """
    async with publisher(port) as sender:
        crowd.expect(SECONDS * RATE)
        sent = []
        begin = time.monotonic()
        for number in range(SECONDS * RATE):
            await asyncio.sleep(max(0.0, begin + number / RATE - time.monotonic()))
            sent.append(time.monotonic())
            await sender.publish(*say(1))
        seen = await asyncio.to_thread(crowd.seen)
    return [1000 * (last - first) for first, last in zip(sent, seen, strict=True)]


def milliseconds(told: list[float]) -> str:
    """Their median and nearly their worst."""
    return f"median {statistics.median(told):.1f} ms, p99 {percentile(told, 0.99):.1f} ms"


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


def main(dsn: str, rounds: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    key, _ = uvloop.run(prepare(dsn))
    before = set(children())
    with process(serve_jobs, dsn) as ours, nchan() as theirs:
        server = next(pid for pid in children() if pid not in before)
        say = said_natively(key)
        uvloop.run(_wake(ours, say))
        with audience(ours, stream("/feed", key), READERS) as us, audience(theirs, stream("/sub"), READERS) as them:
            for what, events, times, goal in (
                ("one event at a time", 1, SINGLE, ">= 1.0"),
                (f"bursts of {BURST}", BURST, BURSTS, ">= 3"),
            ):
                uvloop.run(
                    compare(
                        f"feed, {READERS} readers, {what} / nchan",
                        partial(deliveries, ours, us, say, events=events, times=times),
                        partial(deliveries, theirs, them, said_to_nchan, events=events, times=times),
                        rounds=rounds, unit="deliveries/s", goal=goal,
                    )
                )  # fmt: skip
            for name, port, crowd, said in (("jobstore", ours, us, say), ("nchan", theirs, them, said_to_nchan)):
                told = uvloop.run(latencies(port, crowd, said))
                print(f"{name}: from sent to the last of {READERS} readers at {RATE} events/s: {milliseconds(told)}")

            async def calm() -> float:
                return percentile(await latencies(ours, us, say), 0.99)

            async def disturbed() -> float:
                with slow_reader(ours, stream("/feed", key)):
                    return await calm()

            what = "p99 with one more reader, who never reads / without"
            uvloop.run(compare(what, disturbed, calm, rounds=rounds, unit="ms", goal="<= 1.1"))
        bare = resident(server)
        with audience(ours, stream("/feed", key), IDLE):
            print(f"memory a reader, of {IDLE}: {(resident(server) - bare) / IDLE / 1024:.1f} KB (goal <= 30)")
            begin, worked = time.monotonic(), busy(server)
            time.sleep(30)
            share = (busy(server) - worked) / (time.monotonic() - begin)
            print(f"{IDLE} idle readers: {share:.1%} of a core (goal < 5%)")


async def _wake(port: int, say: Say) -> None:
    async with publisher(port) as sender:
        await sender.publish(*say(1))


if __name__ == "__main__":
    arguments = options(__doc__)
    print(hardware())
    with postgres() as dsn:
        main(dsn, arguments.rounds)
