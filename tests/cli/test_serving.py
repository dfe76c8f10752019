"""`jobstore serve` and `demo`: how they start, fail to start, survive what dies beside them, and end."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from jobstore.store.embedded import Embedded
from tests.cli.serving import SECONDS, Served, dead, kill_all, postmaster, run, serving, start
from tests.store.asking import holding_heads, query, until_locked

KEY = re.compile(r"key: jsk_[0-9a-f]{12}_[0-9a-f]{40}")


@pytest.fixture
def served(data: Path) -> Iterator[Served]:
    """A server on a fresh folder."""
    with serving("--data", data) as served:
        yield served


@pytest.fixture
async def http(served: Served) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with the key that the server printed."""
    async with aiohttp.ClientSession(served.address, headers={"Authorization": f"Bearer {served.key}"}) as session:
        yield session


async def submitted(http: aiohttp.ClientSession) -> int:
    """The number of a new job."""
    async with http.post("/jobs", json={"kind": "served"}) as response:
        assert response.status == 202
        number: int = (await response.json())["number"]
        return number


async def test_the_first_start_prints_a_key_once_and_the_key_works(
    served: Served, http: aiohttp.ClientSession, data: Path
) -> None:
    assert [bool(KEY.fullmatch(line)) for line in served.lines] == [True, False]
    assert served.lines[1] == f"jobstore is at {served.address}"
    number = await submitted(http)
    assert served.end() == 0
    assert served.errors() == ""
    with serving("--data", data, port=served.port) as again:
        assert again.lines == [f"jobstore is at {served.address}"]
        async with http.get(f"/jobs/{number}") as response:
            assert response.status == 200


async def test_a_request_blocked_by_a_held_head_is_answered_before_the_server_ends(
    served: Served, http: aiohttp.ClientSession, data: Path
) -> None:
    dsn = Embedded(data).dsn
    number = await submitted(http)
    account = (await query(dsn, "SELECT account_id FROM accounts"))[0][0]
    async with holding_heads(dsn, account) as let_go:
        blocked = asyncio.ensure_future(http.post(f"/jobs/{number}/events", json={"type": "started"}))
        await until_locked(dsn)
        served.process.send_signal(signal.SIGTERM)
        await _refuses(served.port)
        assert served.process.poll() is None
        await let_go()
        assert (await asyncio.wait_for(blocked, SECONDS)).status == 200
    assert await asyncio.to_thread(served.process.wait, 10) == 0
    assert postmaster(data) is None


async def test_who_waits_for_a_job_to_change_is_let_go_at_once_when_the_server_ends(
    served: Served, http: aiohttp.ClientSession, data: Path, until: Callable[..., Any]
) -> None:
    number = await submitted(http)
    waits = {"If-None-Match": '"1"', "Prefer": "wait=60"}
    polls = [asyncio.ensure_future(http.get(f"/jobs/{number}", headers=waits)) for _ in range(3)]
    app = psutil.Process(served.process.pid)
    await until(
        lambda: sum(c.status == "ESTABLISHED" and c.laddr.port == served.port for c in app.net_connections()) > 2
    )
    begin = time.monotonic()
    served.process.send_signal(signal.SIGTERM)
    assert [(await asyncio.wait_for(poll, SECONDS)).status for poll in polls] == [304] * 3
    assert await asyncio.to_thread(served.process.wait, 10) == 0
    assert time.monotonic() - begin < 5
    assert served.errors() == ""


async def _refuses(port: int) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.01)


async def test_a_request_that_cannot_be_answered_in_time_does_not_keep_the_server_for_ever(
    served: Served, http: aiohttp.ClientSession, data: Path
) -> None:
    dsn = Embedded(data).dsn
    account = (await query(dsn, "SELECT account_id FROM accounts"))[0][0]
    async with holding_heads(dsn, account):
        blocked = asyncio.ensure_future(http.post("/jobs", json={"kind": "blocked"}))
        await until_locked(dsn)
        served.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(served.process.wait, 25) == 0
        await asyncio.gather(blocked, return_exceptions=True)


def test_interrupt_ends_it_as_well(served: Served, data: Path) -> None:
    assert served.end(signal.SIGINT) == 0
    assert postmaster(data) is None


async def test_a_server_that_died_is_started_again(
    served: Served, http: aiohttp.ClientSession, data: Path, until: Callable[..., Any]
) -> None:
    number = await submitted(http)
    before = postmaster(data)
    assert before is not None
    before.kill()
    await until(lambda: postmaster(data) not in (None, before))
    async with http.get(f"/jobs/{number}") as response:
        assert response.status == 200


async def test_it_starts_after_everything_was_killed(served: Served, http: aiohttp.ClientSession, data: Path) -> None:
    number = await submitted(http)
    kill_all(data, served.process.pid)
    served.process.wait()
    with serving("--data", data, port=served.port):
        async with http.get(f"/jobs/{number}") as response:
            assert response.status == 200


def test_two_servers_on_one_folder_share_its_database(served: Served, data: Path) -> None:
    with serving("--data", data) as second:
        assert second.key is None
        running = postmaster(data)
        assert served.end() == 0
        assert not dead(running)
        assert run("account", "list", "--data", data).stdout.startswith("default\t")
        assert second.end() == 0
    assert dead(running)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("theirs", ["1", "2"])
def test_a_port_in_use_is_told_in_one_line_before_anything_is_started(
    data: Path, folder: Path, workers: str, theirs: str
) -> None:
    with serving("--data", data, "--workers", theirs) as first:
        second = start("serve", "--data", folder / "other", "--port", str(first.port), "--workers", workers)
        try:
            out, errors = second.communicate(timeout=8)
        except subprocess.TimeoutExpired:
            second.terminate()
            second.communicate()
            pytest.fail("it shares the port of another server")
        assert (second.returncode, out) == (1, "")
        assert re.fullmatch(rf"Error: cannot listen on 127\.0\.0\.1:{first.port}: .*--port.*\n", errors)
        assert not (folder / "other").exists()


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
def test_an_address_that_is_not_ours_is_told_in_one_line(data: Path, host: str) -> None:
    done = run("serve", "--data", data, "--host", host, "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: [^\n]+\n", done.stderr)


def test_a_free_port_is_found_and_told(data: Path) -> None:
    with serving("--data", data, port=0) as served:
        port = int(served.lines[-1].rpartition(":")[2])
        assert port > 0
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


async def test_every_start_of_the_demo_prints_a_key_that_works_and_jobs_move(
    data: Path, until: Callable[..., Any]
) -> None:
    keys = []
    for _ in range(2):
        with serving("--data", data, verb="demo") as demo:
            assert demo.key is not None
            keys.append(demo.key)
            headers = {"Authorization": f"Bearer {demo.key}"}
            async with aiohttp.ClientSession(demo.address, headers=headers) as http:

                async def moving(http: aiohttp.ClientSession = http) -> bool:
                    async with http.get("/jobs") as response:
                        assert response.status == 200
                        return any(job["version"] > 2 for job in (await response.json())["jobs"])

                await until(moving)
            assert demo.end() == 0
            assert demo.errors() == ""
    assert keys[0] != keys[1]


def test_stopped_while_it_starts_it_leaves_no_server(data: Path) -> None:
    for _ in range(3):
        process = start("serve", "--data", data, "--port", "0")
        deadline = time.monotonic() + SECONDS
        while not (data / "start.lock").exists() or (process.poll() is None and not (data / "users.lock").exists()):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=SECONDS)
        assert "Traceback" not in errors
        assert postmaster(data) is None
