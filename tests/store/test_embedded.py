"""The server in a folder: shared by who uses it, stopped by the last, started again whatever happened to it."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from jobstore.store.embedded import Embedded, EmbeddedError
from tests.cli.serving import ENVIRONMENT, ROOT, SECONDS, dead, kill_all, postmaster
from tests.store.asking import query

USE = """
import sys, time
from pathlib import Path
from jobstore.store.embedded import Embedded
server = Embedded(Path(sys.argv[1]))
server.open()
print(server.dsn, flush=True)
sys.stdin.read()
server.close()
"""


@pytest.fixture
def data(folder: Path) -> Iterator[Path]:
    """A folder for a server, of which nothing is left afterwards."""
    yield folder / "data"
    kill_all(folder / "data")


class Another:
    """Another process that uses the folder, until it is told to leave."""

    def __init__(self, data: Path, *, wait: bool = True, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USE, str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT | environment,
            cwd=ROOT,
        )
        assert self.process.stdout is not None
        self.dsn = self.process.stdout.readline().strip() if wait else ""

    def leave(self, *, killed: bool = False) -> None:
        """End it, by its own will or not."""
        if killed:
            self.process.kill()
        self.process.communicate(timeout=SECONDS)


async def answers(dsn: str) -> bool:
    """Whether there is a server."""
    with contextlib.suppress(OSError, asyncpg.PostgresError):
        return [row[0] for row in await query(dsn, "SELECT 1")] == [1]
    return False


@pytest.mark.parametrize("first_to_leave", ["this process", "the other"])
async def test_two_processes_share_a_server_and_the_last_one_stops_it(data: Path, first_to_leave: str) -> None:
    server = Embedded(data)
    server.open()
    other = Another(data)
    running = postmaster(data)
    assert other.dsn == server.dsn
    if first_to_leave == "this process":
        server.close()
        assert await answers(other.dsn)
        other.leave()
    else:
        other.leave()
        assert await answers(server.dsn)
        server.close()
    assert dead(running)
    assert not await answers(server.dsn)


async def test_a_user_who_was_killed_is_not_waited_for_by_the_last_one(data: Path) -> None:
    server, other = Embedded(data), Another(data)
    server.open()
    running = postmaster(data)
    other.leave(killed=True)
    assert await answers(server.dsn)
    server.close()
    assert dead(running)


async def test_many_who_come_at_once_make_one_server(data: Path) -> None:
    others = [await asyncio.to_thread(Another, data, wait=False) for _ in range(4)]
    for other in others:
        other.leave()
    assert [other.process.returncode for other in others] == [0] * 4
    assert postmaster(data) is None


async def test_what_was_written_is_there_after_everything_was_killed(data: Path) -> None:
    server, other = Embedded(data), Another(data)
    await query(other.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    kill_all(data, other.process.pid)
    other.leave()
    assert not server.is_running()
    server.open()
    assert [row["answer"] for row in await query(server.dsn, "SELECT answer FROM kept")] == [42]
    server.close()


@contextlib.contextmanager
def stranger(whose: str, folder: Path) -> Iterator[int]:
    """The id of a process that has nothing to do with ours."""
    if whose == "another server's":
        theirs = Embedded(folder / "theirs")
        theirs.open()
        other = postmaster(folder / "theirs")
        assert other is not None
        try:
            yield other.pid
            assert not dead(other), "nobody else's server may be stopped"
        finally:
            theirs.close()
            kill_all(folder / "theirs")
        return
    program = folder / "postgres"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program if whose.startswith("a dead") else "/bin/sleep", "60"]) as process:
        if whose.startswith("a dead"):
            process.kill()
            while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
        yield process.pid if whose != "nobody's" else 2**22 - 1
        process.kill()


@pytest.mark.parametrize("whose", ["a program's", "another server's", "nobody's", "a dead server's, not buried yet"])
async def test_a_process_id_left_behind_by_a_crash_may_be_anybodys_now(data: Path, folder: Path, whose: str) -> None:
    server = Embedded(data)
    server.open()
    running = postmaster(data)
    assert running is not None
    left = (data / "postgres" / "postmaster.pid").read_text()
    kill_all(data)
    with stranger(whose, folder) as pid:
        (data / "postgres" / "postmaster.pid").write_text(left.replace(str(running.pid), str(pid), 1))
        assert not server.is_running()
        server.close()
        assert psutil.pid_exists(pid) == (whose != "nobody's")
        server.open()
        assert await answers(server.dsn)
        server.close()


async def test_a_server_that_dies_is_revived_and_one_that_lives_is_left_alone(data: Path) -> None:
    server = Embedded(data)
    server.open()
    assert not server.revive()
    running = postmaster(data)
    assert running is not None
    running.kill()
    psutil.wait_procs([running], timeout=SECONDS)
    assert server.revive()
    assert await answers(server.dsn)
    server.close()


@pytest.mark.parametrize("name", ["x" * 200, "with spaces a%20b çà ё and #?&"])
async def test_a_folder_may_be_called_anything(folder: Path, name: str) -> None:
    server = Embedded(folder / name)
    server.open()
    try:
        assert await answers(server.dsn)
    finally:
        server.close()
    assert postmaster(folder / name) is None


@pytest.mark.parametrize("name", ["it's", 'a "quote"', "a,b", "$HOME", "a\\b", "`id`", "new\nline"])
async def test_a_folder_whose_name_is_too_much_is_told_at_once_or_works(folder: Path, name: str) -> None:
    server = Embedded(folder / name)
    begin, told = time.monotonic(), ""
    try:
        server.open()
        assert await answers(server.dsn)
        server.close()
    except EmbeddedError as error:
        told = str(error)
    assert not told or "--data" in told
    assert time.monotonic() - begin < 10


async def test_a_very_long_folder_is_the_same_place_for_everybody_whatever_their_temporary_folder(
    folder: Path,
) -> None:
    data = folder.joinpath(*["deep" * 10] * 20)
    server = Embedded(data)
    server.open()
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(mode=0o777)
    other = Another(data, TMPDIR=str(elsewhere))
    assert await answers(other.dsn)
    other.leave()
    assert await answers(server.dsn)
    server.close()


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda at: at.write_text("a file"), "--data"),
        (lambda at: (at / "postgres").mkdir(parents=True) or (at / "postgres" / "mine").touch(), "--data"),
        (
            lambda at: (at / "postgres").mkdir(parents=True) or (at / "postgres" / "PG_VERSION").write_text("9\n"),
            "dump",
        ),
    ],
    ids=["a file", "something else in it", "made by another release"],
)
def test_a_folder_that_cannot_be_used_is_told_with_advice(folder: Path, make: object, advice: str) -> None:
    assert callable(make)
    make(folder / "data")
    with pytest.raises(EmbeddedError, match=advice) as failure:
        Embedded(folder / "data").open()
    assert "\n" not in str(failure.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as somebody else")
def test_a_folder_that_the_servers_user_cannot_reach_is_told_with_advice(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=r"cannot reach.*--data"):
        Embedded(folder / "closed" / "data").open()
