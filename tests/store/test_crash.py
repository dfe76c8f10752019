"""Kill -9 of anything at any moment: what was acknowledged is there exactly once, whatever was asked again."""

import asyncio
import contextlib
import itertools
import random
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil
import pytest

from jobstore.store.embedded import Embedded
from tests.store.sound import assert_sound

ROUNDS = 20
WRITERS = 12


class Server:
    """`jobstore serve` as a process that can be killed and started again, always at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.with_name("stderr")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.key = ""
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start, and wait until it says where it is."""
        command = (sys.executable, "-m", "jobstore", "serve", "--data", str(self.folder), "--port", str(self.port))
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while line := await self.process.stdout.readline():
                if line.startswith(b"key: "):
                    self.key = line.split()[1].decode()
                if line.startswith(b"jobstore is at "):
                    return
        raise AssertionError(f"it did not start: {await self.process.wait()}, {self.log.read_text()[-500:]}")

    def postmaster(self) -> psutil.Process | None:
        with contextlib.suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return psutil.Process(int((self.folder / "postgres" / "postmaster.pid").read_text().split("\n")[0]))
        return None

    async def kill(self, what: str) -> None:
        """Kill, and see to it that there is a server again: the app's own business where only Postgres was killed."""
        assert self.process is not None
        postmaster = self.postmaster()
        backends = [] if postmaster is None else postmaster.children()
        if what in ("app", "everything"):
            self.process.kill()
        if what in ("postgres", "everything") and postmaster is not None:
            for process in [postmaster, *(backends if what == "everything" else [])]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        if what == "backend" and backends:
            with contextlib.suppress(psutil.NoSuchProcess):
                random.choice(backends).kill()
        if what in ("app", "everything"):
            await self.process.wait()
            await self.start()


class Writer:
    """A client that asks the same again, under the same key, until it has an answer."""

    names = itertools.count(1)

    def __init__(self, server: Server, client: aiohttp.ClientSession) -> None:
        self.server = server
        self.client = client
        self.job = 0
        self.acknowledged: list[str] = []  # notes
        self.submitted: list[str] = []  # users

    async def run(self, over: asyncio.Event) -> None:
        self.job = await self._submit()
        while not over.is_set():
            if random.random() < 0.1:
                self.job = await self._submit()
            notes = [f"note {next(self.names)}" for _ in range(random.choice((1, 1, 1, 3)))]
            said: list[dict[str, Any]] = [{"type": "annotated", "note": note} for note in notes]
            answer = await self._ask(f"/jobs/{self.job}/events", said if len(said) > 1 else said[0])
            assert [event["data"]["note"] for event in answer["events"]] == notes
            self.acknowledged += notes

    async def _submit(self) -> int:
        user = f"user {next(self.names)}"
        number: int = (await self._ask("/jobs", {"kind": "crash", "user": user}))["number"]
        self.submitted.append(user)
        return number

    async def _ask(self, path: str, body: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.server.key}", "Idempotency-Key": f"key-{next(self.names)}"}
        url = f"http://127.0.0.1:{self.server.port}{path}"
        while True:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
                async with self.client.post(url, json=body, headers=headers) as response:
                    answer = await response.json()
                    if response.status < 300:
                        return answer
                    assert response.status == 503, answer
            await asyncio.sleep(0.05)


@pytest.mark.crash
async def test_what_was_acknowledged_is_there_exactly_once_whatever_is_killed(folder: Path) -> None:
    server = Server(folder / "data")
    await server.start()
    over = asyncio.Event()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as client:
            writers = [Writer(server, client) for _ in range(WRITERS)]
            tasks = [asyncio.create_task(writer.run(over)) for writer in writers]
            victims = ["app", "postgres", "backend", "everything"] * (ROUNDS // 4)
            random.shuffle(victims)
            for victim in victims:
                before = sum(len(writer.acknowledged) for writer in writers)
                async with asyncio.timeout(60):  # until work goes on after the last time
                    while sum(len(writer.acknowledged) for writer in writers) < before + WRITERS:
                        await asyncio.sleep(0.01)
                        assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
                await asyncio.sleep(random.uniform(0, 0.3))  # any moment
                await server.kill(victim)
            over.set()
            async with asyncio.timeout(60):
                await asyncio.gather(*tasks)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(server.process.wait(), 30) == 0
    finally:
        if server.process is not None and server.process.returncode is None:
            server.process.kill()
            await server.process.wait()

    notes = [note for writer in writers for note in writer.acknowledged]
    users = [user for writer in writers for user in writer.submitted]
    assert len(notes) > ROUNDS * WRITERS
    postgres = Embedded(folder / "data")
    postgres.open()
    try:
        await assert_sound(postgres.dsn)
        connection = await asyncpg.connect(postgres.dsn)
        found = await connection.fetch(
            "SELECT type, data::json ->> 'note' AS note, data::json ->> 'user' AS \"user\" FROM events"
        )
        await connection.close()
    finally:
        postgres.close()
    assert sorted(row["note"] for row in found if row["type"] == "annotated") == sorted(notes)
    assert sorted(row["user"] for row in found if row["type"] == "queued") == sorted(users)
