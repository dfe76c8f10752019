"""Given a long bulk, when somebody is slow or hangs up, then memory is bounded, others go on and nothing is lost."""

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, get_port_socket

from jobstore.store import Store
from jobstore.web import bulk
from jobstore.web.app import application
from jobstore.web.bodies import MOST
from tests.conftest import AsServed, Client
from tests.web.pressure import STARTED, Taken, answers, connected, held
from tests.web.wire import NDJSON, PATIENCE, exchange


@pytest.fixture
def taken(client: Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> Taken:
    """Counts what the server reads from now on."""
    return Taken(store, monkeypatch)


@pytest.mark.parametrize(("count", "size"), [(200_000, 110), (30, 400_000)])
async def test_the_server_reads_no_more_than_it_can_answer_and_loses_nothing(
    client: Client, dsn: str, taken: Taken, count: int, size: int
) -> None:
    await client.submit()

    def lines() -> Any:
        at_once = max(1, 20_000 // size)
        for first in range(0, count, at_once):
            yield b"".join(
                (b'{"job": 1, "type": "annotated", "note": "%d"}' % n if n % 20 == 0 else STARTED).ljust(size - 1)
                + b"\n"
                for n in range(first, min(first + at_once, count))
            )

    taken.lines = 0
    async with held(dsn) as release, connected(client, lines) as (reader, _, sending):
        while_held = await taken.stops()
        assert 0 < while_held <= bulk.LINES + 1
        assert while_held * size <= bulk.BYTES + 2 * MOST
        assert not sending.done(), "the rest waits with the client"
        async with asyncio.timeout(5):
            assert (await client.ask("POST", "/jobs", account="rival", json={"kind": "x"})).status == 202
        await release()
        number = recorded = ahead = 0
        async for answer in answers(reader):
            number += 1
            recorded += answer["recorded"]
            ahead = max(ahead, taken.lines - number)
            assert (answer["line"], answer["status"]) == (number, 200)
        assert sending.done()
    assert (number, taken.lines) == (count, count + 1), "each line once, and the rival's job"
    assert ahead <= 3 * bulk.LINES, "lines under way, and answers that this test has yet to read"
    assert recorded == len(range(0, count, 20)) + 1
    seen = [event async for event in client.store.history.pages_of_account(1)]
    texts = [entry.data for page in seen for entry in page if entry.type == "annotated"]
    assert texts == [f'{{"note":"{n}"}}' for n in range(0, count, 20)]


async def test_a_body_of_nothing_but_line_ends_does_not_keep_others_waiting(client: Client) -> None:
    await client.submit()
    headers = [("Content-Type", NDJSON.encode())]
    body = b"\n" * 60_000_000
    bomb = asyncio.create_task(exchange(client, "POST /events", headers, body))
    slowest, began = 0.0, time.monotonic()
    while not bomb.done() and time.monotonic() - began < 2:
        asked = time.monotonic()
        assert (await client.ask("GET", "/jobs/1")).status == 200
        slowest = max(slowest, time.monotonic() - asked)
        await asyncio.sleep(0.005)
    bomb.cancel()
    await asyncio.gather(bomb, return_exceptions=True)
    assert slowest < 1


@pytest.fixture
async def narrow(store: Store) -> AsyncIterator[Client]:
    """A client of a server whose sockets hold next to nothing, so that what is not read stays with the server."""

    def listener(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
        bound = get_port_socket(host, port, family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return bound

    async with TestClient(AsServed(application(store), socket_factory=listener)) as http:
        yield Client(http, store)


async def test_who_never_reads_the_answers_is_given_up_and_hurts_nobody(
    narrow: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "STALLED", 1.0)
    await narrow.submit()
    other = await narrow.submit()
    taken = Taken(store, monkeypatch)

    def lines() -> Any:
        while True:
            yield (STARTED + b"\n") * 100

    async with connected(narrow, lines, narrow=True) as (_, _, sending):
        served = 0
        async with asyncio.timeout(PATIENCE):
            while not sending.done():
                response = await narrow.report(other, {"type": "annotated", "note": str(served)})
                assert response.status == 200
                rivals = await narrow.ask("POST", "/jobs", account="rival", json={"kind": "x"})
                assert rivals.status == 202
                served += 1
                await asyncio.sleep(0.01)
        assert isinstance(sending.exception(), ConnectionError)
    assert served > 20
    assert taken.lines - 2 * served < 5 * bulk.LINES
    assert (await narrow.report(1, {"type": "completed"})).status == 200


async def test_who_hangs_up_has_recorded_what_was_read(client: Client, store: Store, until: Callable[..., Any]) -> None:
    await client.submit()
    sent = [b'{"job": 1, "type": "annotated", "note": "%d"}\n' % n for n in range(5000)]

    before = asyncio.all_tasks()
    async with connected(client, lambda: sent) as (reader, writer, _):
        answered = 0
        async for answer in answers(reader):
            answered += answer["status"] == 200
            if answered == 100:
                break
        serving = asyncio.all_tasks() - before
        writer.transport.abort()
    await until(lambda: all(task.done() for task in serving))
    await store.ledger.close()
    log = [entry async for page in store.history.pages_of_account(1, after=1) for entry in page]
    assert 100 <= len(log) <= len(sent)
    assert [entry.data for entry in log] == [f'{{"note":"{n}"}}' for n in range(len(log))]
    assert [entry.position for entry in log] == list(range(2, len(log) + 2))
    assert (await client.report(1, {"type": "started"})).status == 200


@pytest.mark.parametrize("how", ["aborts", "closes"])
async def test_a_line_without_its_end_is_not_recorded_when_the_client_leaves(
    client: Client, until: Callable[..., Any], how: str
) -> None:
    await client.submit()
    before = asyncio.all_tasks()
    sent = STARTED + b"\n" + b'{"job": 1, "type": "failed"}'  # which may be a part of what was meant
    async with connected(client, lambda: [sent], ends=False) as (reader, writer, _):
        async for answer in answers(reader):
            assert answer["position"] == 2
            break
        serving = asyncio.all_tasks() - before
        writer.transport.abort() if how == "aborts" else writer.close()
        await until(lambda: all(task.done() for task in serving))
    assert (await (await client.ask("GET", "/jobs/1")).json())["state"] == "running"


async def test_a_client_that_leaves_is_no_failure_of_the_server(
    client: Client, dsn: str, taken: Taken, until: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    await client.submit()
    before = asyncio.all_tasks()

    def lines() -> Any:
        for _ in range(bulk.LINES):
            yield b'{"job": 7, "type": "started"}'.ljust(500) + b"\n"  # will be refused: there is no such job

    taken.lines = 0
    async with held(dsn) as release, connected(client, lines) as (_, writer, _):
        await until(lambda: taken.lines == bulk.LINES)
        serving = asyncio.all_tasks() - before
        writer.transport.abort()
        await release()
        await until(lambda: all(task.done() for task in serving))
    gc.collect()
    assert {record.getMessage() for record in caplog.records if record.levelname == "ERROR"} == set()
