"""What cannot be followed is told in one line that says what to do."""

import asyncio
import re
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from click.testing import CliRunner

from jobstore.cli import cli
from tests.cli.serving import Served, free_port, run
from tests.cli.tailing import BOTH

WRONG_USE = [
    ("tail", "--after", "-1"), ("tail", "--after", "earliest"), ("tail", "--state", "none"), ("tail", "--type", "end"),
    ("tail", "--format", "none"), ("tail", "--job", "../x", "--server", "http://127.0.0.1:1", "--key", "k"),
    ("tail", "--server", "http://127.0.0.1:1"), ("tail", "--server", "nowhere", "--key", "k"),
    ("tail", "--server", "http://a:b@127.0.0.1", "--key", "k"), ("tail", "--server", "http://x:99999", "--key", "k"),
    ("tail", "--server", "http://127.0.0.1:1", "--key", "a b"), ("tail", "--server", "http://[::1", "--key", "k"),
    ("tail", "--server", "http://127.0.0.1:1", "--key", "k", "--account", "acme"),
    ("tail", "--server", "http://127.0.0.1:1", "--key", "k", "--dsn", "postgresql://127.0.0.1:1/x"),
    ("replay", "..", "--server", "http://127.0.0.1:1", "--key", "k"), ("replay", "1", "--server", "http://127.0.0.1:1"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", WRONG_USE, ids=" ".join)
def test_wrong_use_is_told_with_exit_code_2_before_anybody_is_asked(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, arguments, env={"JOBSTORE_DSN": "postgresql://127.0.0.1:1/x"})
    assert (done.exit_code, done.stdout) == (2, ""), repr(done.exception)
    assert re.search(r"Error: [^\n]+\n$", done.stderr)


@BOTH
async def test_what_there_is_not_is_told_in_one_line(job: int, way: tuple[str, ...]) -> None:
    for arguments, said in (
        (("tail", "--after", "7"), "the log ends at position 6"),
        (("tail", "--job", uuid4().hex), "there is no"),
        (("replay", "9"), "there is no"),
    ):
        done = await asyncio.to_thread(run, *arguments, *way)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(rf"Error: [^\n]*{said}[^\n]*\n", done.stderr), done.stderr


@pytest.fixture
async def stranger() -> AsyncIterator[str]:
    """The address of a server that is no jobstore."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_server_that_cannot_be_followed_is_told_in_one_line(
    node: Served, key: str, stranger: str, job: int
) -> None:
    for address, its, said in (
        (f"http://127.0.0.1:{free_port()}", key, "refused.*is a server running there"),
        ("http://no.such.host.invalid", key, "is a server running there"),
        (stranger, key, "no jobstore"),
        (node.address, "jsk_nobody", "jobstore key create"),
        (f"{node.address}/elsewhere", key, "nothing at this address"),
    ):
        done = await asyncio.to_thread(run, "tail", "--server", address, "--key", its)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(rf"Error: [^\n]*{said}[^\n]*\n", done.stderr), done.stderr
