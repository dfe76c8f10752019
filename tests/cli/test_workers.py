"""More than one process behind one port: all serve, a dead one is replaced, and none outlives the others."""

import asyncio
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from jobstore.store.embedded import Embedded
from tests.cli.serving import SECONDS, Served, dead, postmaster, serving
from tests.store.sound import assert_sound


@pytest.fixture
def served(data: Path) -> Iterator[Served]:
    """Two workers on a fresh folder."""
    with serving("--data", data, "--workers", "2") as served:
        yield served


def workers(served: Served) -> list[psutil.Process]:
    """The processes that listen."""
    return [
        child
        for child in psutil.Process(served.process.pid).children(recursive=True)
        if child.name().startswith("python")
        and any(c.status == psutil.CONN_LISTEN and c.laddr.port == served.port for c in child.net_connections())
    ]


async def submit(served: Served, count: int) -> list[Any]:
    """What became of so many submissions, each over a connection of its own."""
    headers = {"Authorization": f"Bearer {served.key}"}

    async def one() -> Any:
        async with (
            aiohttp.ClientSession(served.address, headers=headers) as http,
            http.post("/jobs", json={"kind": "shared"}) as response,
        ):
            return (await response.json())["number"]

    return await asyncio.gather(*[one() for _ in range(count)], return_exceptions=True)


async def test_all_workers_serve_one_log_and_all_end_with_the_first_signal(
    served: Served, data: Path, until: Callable[..., Any]
) -> None:
    await until(lambda: len(workers(served)) == 2)
    assert sorted(await submit(served, 101)) == list(range(1, 102))
    shares: set[int] = set()
    while len(shares) < 2:  # each counts its own; both cannot count alike, as the number is odd
        async with aiohttp.ClientSession(served.address) as http, http.get("/metrics") as response:
            found = re.search(r"^jobstore_events_total (\d+)", await response.text(), re.MULTILINE)
            assert found is not None
            shares.add(int(found[1]))
    assert 0 not in shares
    assert sum(shares) == 101
    assert await assert_sound(Embedded(data).dsn) == 101
    family = [*psutil.Process(served.process.pid).children(recursive=True), postmaster(data)]
    assert served.end(seconds=15) == 0
    await until(lambda: all(dead(process) for process in family))  # multiprocessing's own helper goes last
    assert served.errors() == ""


async def test_a_worker_that_was_killed_is_replaced_and_the_other_serves_meanwhile(
    served: Served, until: Callable[..., Any]
) -> None:
    await until(lambda: len(workers(served)) == 2)
    victim = workers(served)[0]
    victim.kill()
    await until(lambda: dead(victim))
    assert any(isinstance(outcome, int) for outcome in await submit(served, 5))
    await until(lambda: len([worker for worker in workers(served) if worker.pid != victim.pid]) == 2)
    assert all(isinstance(outcome, int) for outcome in await submit(served, 20))
    assert served.end(seconds=15) == 0


async def test_a_server_that_died_is_started_again_for_all_workers(
    served: Served, data: Path, until: Callable[..., Any]
) -> None:
    before = postmaster(data)
    assert before is not None
    before.kill()
    await until(lambda: postmaster(data) not in (None, before))
    assert all(isinstance(outcome, int) for outcome in await submit(served, 10))


async def test_workers_whose_parent_was_killed_end_too(served: Served, until: Callable[..., Any]) -> None:
    await until(lambda: len(workers(served)) == 2)
    orphans = workers(served)
    os.kill(served.process.pid, signal.SIGKILL)
    served.process.wait()
    psutil.wait_procs(orphans, timeout=SECONDS)
    assert all(dead(orphan) for orphan in orphans)
