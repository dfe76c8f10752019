"""Kill the app, Postgres or both at any instant: what was acknowledged is there, once, and a retry adds nothing."""

import asyncio
import json
import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
import pytest

from jobstore.store.embedded import Embedded
from tests.cli.serving import SECONDS, Served, free_port, kill_all, postmaster, serving
from tests.store.asking import query, until
from tests.store.sound import assert_sound

ROUNDS: Final = 20
CLIENTS: Final = 12
KILLS: Final = ("the app", "the postmaster", "a backend", "everything")

pytestmark = pytest.mark.crash


class Clients:
    """Writers who never give a request up: what is not acknowledged is asked again, under the same key."""

    def __init__(self, address: str, key: str, seed: int) -> None:
        self.acknowledged: dict[str, tuple[int, int, list[int]]] = {}  # key: job, position, versions
        self.sizes: dict[str, int] = {}
        self.retried = self.replayed = 0
        self.over = False
        self._address = address
        self._headers = {"Authorization": f"Bearer {key}"}
        self._dice = random.Random(seed)

    async def work(self, name: str) -> None:
        """Submit jobs and report on them."""
        job = 0
        timeout = aiohttp.ClientTimeout(total=3)
        async with aiohttp.ClientSession(self._address, headers=self._headers, timeout=timeout) as http:
            for i in range(10**9):
                if self.over:
                    return
                key = f"{name}-{i}"
                if not job or self._dice.random() < 0.1:
                    job = await self._ask(http, key, 1, "/jobs", {"kind": key})
                    continue
                size = self._dice.choice([1, 1, 1, 5, 40])
                events: list[Any] = [{"type": "annotated", "note": f"{key}#{k}"} for k in range(size)]
                await self._ask(http, key, size, f"/jobs/{job}/events", events[0] if size == 1 else events)

    async def _ask(self, http: aiohttp.ClientSession, key: str, size: int, path: str, body: Any) -> int:
        first = True
        while True:
            try:
                async with http.post(path, json=body, headers={"Idempotency-Key": key}) as response:
                    answer = await response.json()
                    if response.status != 503:
                        break
            except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError):
                pass
            self.retried += first
            first = False
            await asyncio.sleep(self._dice.uniform(0.01, 0.1))
        assert response.status in (200, 202), (response.status, answer)
        self.replayed += "Idempotency-Replayed" in response.headers
        self.sizes[key] = size
        position = int(response.headers["Jobstore-Position"])
        if path == "/jobs":
            self.acknowledged[key] = (answer["number"], position, [1])
        else:
            versions = [event["version"] for event in answer["events"]]
            assert [event["data"]["note"] for event in answer["events"]] == [f"{key}#{k}" for k in range(size)]
            self.acknowledged[key] = (answer["job"]["number"], position, versions)
        return self.acknowledged[key][0]


def strike(kind: str, data: Path, app: int, dice: random.Random) -> None:
    """Kill, by process id."""
    server = postmaster(data)
    assert server is not None
    match kind:
        case "the app":
            os.kill(app, signal.SIGKILL)
        case "the postmaster":
            os.kill(server.pid, signal.SIGKILL)
        case "a backend":
            backends = [child for child in server.children() if "idle" in (said := " ".join(child.cmdline()))
                        or "INSERT" in said or "UPDATE" in said or "SELECT" in said]  # fmt: skip
            os.kill(dice.choice(backends or server.children()).pid, signal.SIGKILL)
        case _:
            kill_all(data, app)


def revived(data: Path, before: psutil.Process | None) -> bool:
    """Whether another server runs than before."""
    return postmaster(data) not in (None, before)


async def acknowledged_more(clients: Clients, served: Served, more: int) -> None:
    """Wait until the clients were told of so many more requests."""
    least = len(clients.acknowledged) + more
    async with asyncio.timeout(2 * SECONDS):
        while len(clients.acknowledged) < least:
            assert served.process.poll() is None, "it must not end by itself"
            await asyncio.sleep(0.005)


async def test_nothing_acknowledged_is_lost_and_nothing_is_recorded_twice(folder: Path) -> None:
    dice = random.Random(1)
    data, port, begin = folder / "data", free_port(), time.monotonic()
    kinds = [KILLS[i % len(KILLS)] for i in range(ROUNDS)]
    with serving("--data", data, port=port) as first:
        key = first.key
        assert key is not None
        served, restarted = first, []
        clients = Clients(first.address, key, seed=2)
        tasks = [asyncio.create_task(clients.work(f"client{i}")) for i in range(CLIENTS)]
        try:
            for kind in kinds:
                await acknowledged_more(clients, served, dice.randint(20, 300))
                server = postmaster(data)
                strike(kind, data, served.process.pid, dice)
                if kind in ("the app", "everything"):
                    served.process.wait()
                    served = await asyncio.to_thread(Served, "--data", data, port=port)
                    restarted.append(served)
                    assert served.key is None, "a key is printed on the first start alone"
                elif kind == "the postmaster":
                    await until(partial(revived, data, server), SECONDS)
            await acknowledged_more(clients, served, 300)
            clients.over = True
            async with asyncio.timeout(SECONDS):
                await asyncio.gather(*tasks)
            await assert_exactly_once(Embedded(data).dsn, clients)
            server = postmaster(data)
            assert served.end() == 0
            assert server is not None
            psutil.wait_procs([server], timeout=SECONDS)
            assert postmaster(data) is None, "the last one stops the server"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            kill_all(data, served.process.pid)
            for again in restarted:
                again.process.wait()
                again.close()
    print(
        f"{len(clients.acknowledged)} requests, {clients.retried} retried, {clients.replayed} replayed, "
        f"{time.monotonic() - begin:.0f} s"
    )
    assert clients.retried > ROUNDS, "the kills were felt"


async def assert_exactly_once(dsn: str, clients: Clients) -> None:
    """What was acknowledged is there, as it was told, once; and nothing else is."""
    assert await assert_sound(dsn) == sum(clients.sizes.values())
    rows = await query(
        dsn,
        "SELECT trace, min(job) AS job, max(position) AS position, array_agg(version ORDER BY version) AS versions "
        "FROM events GROUP BY trace",
    )
    assert {row["trace"]: (row["job"], row["position"], row["versions"]) for row in rows} == clients.acknowledged
    notes = await query(dsn, "SELECT count(*), count(DISTINCT data) FROM events WHERE type = 'annotated'")
    assert notes[0][0] == notes[0][1]
