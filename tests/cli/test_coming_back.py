"""What is followed may go away and come back: nothing is lost, nothing repeated, and a key that is gone is told."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psutil

from jobstore.store import Store
from tests.cli.serving import Served, free_port, serving
from tests.cli.tailing import positions, tailing
from tests.store.asking import note, query


async def test_a_server_that_is_started_again_loses_and_repeats_nothing(
    dsn: str, store: Store, account: int, job: int, key: str
) -> None:
    port = free_port()
    with serving("--dsn", dsn, port=port) as first:
        tail = ("tail", "--after", "0", "--server", f"{first.address}/", "--key", key)
        with tailing(*tail) as ended, tailing(*tail, "--format", "native") as views:
            lines, shown = ended.take(6), views.take(6)
            assert await asyncio.to_thread(first.end) == 0
            await store.ledger.append(note(account, job, "while it is away"))
            assert re.fullmatch(rf"http://127\.0\.0\.1:{port} is away: .*refused.*; going on .*", ended.notice())
            with serving("--dsn", dsn, port=port) as again:
                await store.ledger.append(note(account, job, "when it is back"))
                lines += ended.take(2)
                assert ended.notice() == f"http://127.0.0.1:{port} is back"
                shown += views.take(2)
                again.process.kill()
                await asyncio.to_thread(again.process.wait)
                await store.ledger.append(note(account, job, "when it was killed"))
                with serving("--dsn", dsn, port=port):
                    lines += ended.take(1)
                    shown += views.take(1)
                    assert ended.end()[:2] == (0, [])
        assert positions(lines) == list(range(1, 10))
        assert [json.loads(view)["version"] for view in shown] == list(range(1, 10))


async def test_a_feed_that_the_server_rotates_goes_on_without_a_word(
    dsn: str, store: Store, account: int, job: int, key: str, until: Callable[..., Any]
) -> None:
    with (
        serving("--dsn", dsn, "--feed-life", "1") as node,
        tailing("tail", "--after", "0", JOBSTORE_SERVER=node.address, JOBSTORE_KEY=key) as tail,
    ):
        lines = tail.take(6)
        process, connections = psutil.Process(tail.process.pid), set[int]()

        async def come_back_twice() -> bool:
            await store.ledger.append(note(account, job, uuid4()))
            lines.extend(await asyncio.to_thread(tail.take, 1))
            connections.update(c.laddr.port for c in process.net_connections() if c.status == "ESTABLISHED")
            return len(connections) > 2

        await until(come_back_twice)
        assert positions(lines) == list(range(1, len(lines) + 1))
        assert tail.end() == (0, [], [])


async def test_a_database_whose_connections_are_cut_loses_and_repeats_nothing(
    dsn: str, store: Store, account: int, job: int
) -> None:
    with tailing("tail", "--after", "0", "--dsn", dsn, JOBSTORE_SERVER="http://127.0.0.1:1") as tail:
        lines = tail.take(6)
        for number in range(3):
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            await query(dsn, f"{cut} AND pid <> pg_backend_pid()")
            await store.ledger.append(note(account, job, number))
            lines += await asyncio.to_thread(tail.take, 1)
        assert positions(lines) == list(range(1, 10))
        assert tail.end()[:2] == (0, [])


async def test_a_key_that_is_revoked_ends_it(store: Store, node: Served, account: int, job: int) -> None:
    made, key = await store.accounts.create_key("acme", "read")
    with tailing("tail", "--after", "0", "--server", node.address, "--key", key) as tail:
        tail.take(6)
        await store.accounts.revoke(made.key_id)
        code, lines, errors = await asyncio.to_thread(tail.ended)
        assert (code, lines, len(errors)) == (1, [], 1)
        assert "revoked" in errors[0]
