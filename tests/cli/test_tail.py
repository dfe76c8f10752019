"""`jobstore tail` and `replay`: an account's feed, from the database and from a server, and all that can end it."""

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from click.testing import CliRunner

from jobstore.cli import cli
from jobstore.job import commands as c
from jobstore.store import Store
from jobstore.store.embedded import Embedded
from tests.cli.serving import ENVIRONMENT, ROOT, SECONDS, Served, command, free_port, kill_all, postmaster, run, serving
from tests.cli.tailing import tailing, unread
from tests.store.asking import new_job, note, query, say, submit

NASTY = "a\ttab, a\r\nline, \x1b[31mred\x1b[0m, \x9b, ⌘ 日本"
BOTH = pytest.mark.parametrize("way", ["database", "server"], indirect=True)


@pytest.fixture
async def key(store: Store, account: int) -> str:
    """A key that may read acme."""
    return (await store.accounts.create_key("acme", "read"))[1]


@pytest.fixture
def served(dsn: str) -> Iterator[Served]:
    """A server on the database."""
    with serving("--dsn", dsn) as served:
        yield served


@pytest.fixture
def way(request: pytest.FixtureRequest, dsn: str, key: str) -> tuple[str, ...]:
    """The options by which a command gets its feed."""
    if request.param == "database":
        return ("--dsn", dsn)
    return ("--server", request.getfixturevalue("served").address, "--key", key)


@pytest.fixture
async def job(store: Store, account: int) -> int:
    """A job that has happened, up to position 6: it says nasty things, and is over."""
    job = await new_job(store, account)
    for said in (c.ReportProgress(fraction=0.25), c.Annotate(note=NASTY), c.ProduceOutput(output=[1]), c.Complete()):
        await store.ledger.append(say(account, job, said))
    return job


def positions(lines: list[str]) -> list[int]:
    """Where in the log they are."""
    return [int(line.split("\t")[1]) for line in lines]


@BOTH
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_it_tells_what_was_and_what_comes_as_it_comes_until_a_signal_ends_it_well(
    store: Store, account: int, job: int, way: tuple[str, ...], signum: int
) -> None:
    with tailing("tail", "--after", "0", *way) as tail:
        lines = tail.take(6)
        assert [line.split("\t")[2:4] for line in lines] == [
            ["1", type] for type in ("queued", "started", "progressed", "annotated", "output_produced", "completed")
        ]
        assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\t", line) for line in lines)
        assert {line.count("\t") for line in lines} == {4}
        assert "fraction=0.25" in lines[2]
        assert "⌘ 日本" in lines[3]
        assert "\x1b" not in "".join(lines)
        for number in range(3):
            await store.ledger.append(note(account, job, number))
            lines += tail.take(1)
            assert lines[-1].endswith(f"\tnote={number}")
        assert positions(lines) == list(range(1, 10))
        assert tail.end(signum) == (0, [], [])


@BOTH
async def test_it_begins_now_or_after_a_position(
    store: Store, account: int, job: int, way: tuple[str, ...], until: Callable[..., Any]
) -> None:
    with tailing("tail", "--after", "4", *way) as tail, tailing("tail", *way) as now:
        assert positions(tail.take(2)) == [5, 6]

        async def heard() -> bool:
            await store.ledger.append(note(account, job, uuid4()))
            return now.has_said

        await until(heard)
        head = await store.history.head(account)
        first = positions(now.take(1))[0]
        assert first > 6
        assert positions(now.take(head - first)) == list(range(first + 1, head + 1))
        assert now.end() == (0, [], [])


FILTERS: list[tuple[tuple[str, ...], list[int]]] = [
    (("--job", "2"), [2, 5, 7]), (("--job", "1", "--job", "3"), [1, 3, 4, 6]), (("--kind", "b,c"), [2, 5, 7]),
    (("--kind", "b,c", "--kind", "d"), [2, 3, 5, 7]), (("--type", "started", "--type", "failed"), [4, 5, 6, 7]),
    (("--state", "running"), [4, 5]), (("--state", "failed", "--kind", "a"), [6]),
    (("--type", "queued", "--job", "3", "--after", "1"), [3]),
]  # fmt: skip


@BOTH
async def test_it_tells_only_what_is_asked_for(store: Store, account: int, way: tuple[str, ...]) -> None:
    for kind in ("a", "b,c", "d"):
        await store.ledger.append(submit(account, kind))
    uid = (await query(store.postgres.dsn, "SELECT data FROM events WHERE position = 2"))[0][0]
    for number in (1, 2):
        await store.ledger.append(say(account, number, c.Start()))
    with tailing("tail", "--after", "0", "--type", "failed", "--job", json.loads(uid)["uid"], *way) as none:
        with tailing("tail", "--after", "3", "--state", "running", "--state", "failed", *way) as live:
            assert positions(live.take(2)) == [4, 5]
            await store.ledger.append(say(account, 1, c.Fail(error="disk")))
            assert positions(live.take(1)) == [6]
            assert live.end() == (0, [], [])
        await store.ledger.append(say(account, 2, c.Fail(error="disk")))
        assert positions(none.take(1)) == [7]
    for options, expected in FILTERS:
        with tailing("tail", "--after", "0", *options, *way) as tail:
            assert positions(tail.take(len(expected))) == expected, options
            assert tail.end() == (0, [], [])


@BOTH
async def test_it_tells_jobs_in_the_words_of_a_format_and_events_as_json(
    store: Store, account: int, job: int, way: tuple[str, ...]
) -> None:
    with tailing("tail", "--after", "0", "--json", *way) as tail:
        events = [json.loads(line) for line in tail.take(6)]
        assert [event["position"] for event in events] == list(range(1, 7))
        assert events[3]["data"] == {"note": NASTY}
    with tailing("tail", "--after", "2", "--format", "native", *way) as tail:
        views = [json.loads(line) for line in tail.take(4)]
        assert [(view["version"], view["state"]) for view in views] == [
            (3, "running"), (4, "running"), (5, "running"), (6, "completed")
        ]  # fmt: skip
    with tailing("tail", "--after", "4", "--format", "librato", *way) as tail:
        assert [json.loads(line)["state"] for line in tail.take(2)] == ["working", "complete"]


async def test_a_server_that_is_started_again_loses_and_repeats_nothing(
    dsn: str, store: Store, account: int, job: int, key: str
) -> None:
    port = free_port()
    with serving("--dsn", dsn, port=port) as served:
        tail = ("tail", "--after", "0", "--server", f"{served.address}/", "--key", key)
        with tailing(*tail) as ended, tailing(*tail, "--format", "native") as views:
            lines, shown = ended.take(6), views.take(6)
            assert await asyncio.to_thread(served.end) == 0
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
        serving("--dsn", dsn, "--feed-life", "1") as served,
        tailing("tail", "--after", "0", JOBSTORE_SERVER=served.address, JOBSTORE_KEY=key) as tail,
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


@BOTH
async def test_who_reads_no_further_ends_it_quietly_though_nothing_happens(job: int, way: tuple[str, ...]) -> None:
    with unread("tail", "--after", "0", *way) as (process, pipe):
        said = b""
        while said.count(b"\n") < 6:
            assert select.select([pipe], [], [], SECONDS)[0]
            said += os.read(pipe, 65536)
        assert process.poll() is None
        os.close(pipe)
        assert await asyncio.to_thread(process.wait, SECONDS) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@BOTH
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, None])
async def test_who_reads_nothing_does_not_keep_it_from_ending(
    store: Store, account: int, job: int, way: tuple[str, ...], signum: int | None, until: Callable[..., Any]
) -> None:
    await store.ledger.append(note(account, job, "x" * 300_000))
    await store.ledger.append(note(account, job, "y"))
    with unread("tail", "--after", "0", *way) as (process, pipe):

        def full() -> bool:
            return os.read(pipe, 1) == b"x" if select.select([pipe], [], [], 0)[0] else False

        await until(full)
        if signum is None:
            os.close(pipe)
        else:
            process.send_signal(signum)
        assert await asyncio.to_thread(process.wait, SECONDS) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@BOTH
async def test_in_a_terminal_there_are_colours_that_no_job_chose_and_ctrl_c_ends_it(
    job: int, way: tuple[str, ...]
) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command("tail", "--after", "0", *way),
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # it becomes the session's terminal
        env=ENVIRONMENT | {"TERM": "xterm-256color"}, cwd=ROOT,
    )  # fmt: skip
    os.close(follower)
    shown = b""
    while b"completed" not in shown:
        assert select.select([leader], [], [], SECONDS)[0]
        shown += os.read(leader, 65536)
    os.write(leader, b"\x03")
    assert await asyncio.to_thread(process.wait, SECONDS) == 0
    os.close(leader)
    assert b"\x1b[" in shown
    assert b"\x1b[31mred" not in shown
    assert b"Abort" not in shown
    assert len(shown.splitlines()) == 6


async def test_ctrl_c_ends_the_database_that_it_has_started_for_itself(folder: Path) -> None:
    data = folder / "data"
    embedded = Embedded(data)
    try:
        await asyncio.to_thread(embedded.open)
        async with Store(embedded.dsn) as store:
            await new_job(store, await store.accounts.create("acme"))
        await asyncio.to_thread(embedded.close)
        assert postmaster(data) is None
        with tailing("tail", "--after", "0", "--data", data) as tail:
            assert positions(await asyncio.to_thread(tail.take, 2)) == [1, 2]
            os.killpg(tail.process.pid, signal.SIGINT)
            assert await asyncio.to_thread(tail.ended) == (0, [], [])
        assert postmaster(data) is None
    finally:
        kill_all(data)


# -- Replay -------------------------------------------------------------------------------------------------------


@BOTH
async def test_a_replay_is_the_same_both_ways(dsn: str, account: int, job: int, way: tuple[str, ...]) -> None:
    for options in (("--speed", "inf"), ("--speed", "1000000"), ("--speed", "inf", "--format", "native")):
        done = await asyncio.to_thread(run, "replay", "1", *options, *way)
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        if "--format" in options:
            assert [json.loads(line)["version"] for line in lines] == list(range(1, 7))
        else:
            assert [line.split()[1:3] for line in lines] == [
                ["queued", "queued"], ["started", "running"], ["progressed", "running"], ["annotated", "running"],
                ["output_produced", "running"], ["completed", "completed"],
            ]  # fmt: skip
            assert " 25% " in lines[2]


@BOTH
async def test_a_replay_of_a_job_that_goes_on_follows_it_to_its_end(
    store: Store, account: int, way: tuple[str, ...]
) -> None:
    job = await new_job(store, account)
    await new_job(store, account)
    with tailing("replay", str(job), "--speed", "inf", *way) as replay:
        assert [line.split()[1] for line in replay.take(2)] == ["queued", "started"]
        await store.ledger.append(say(account, job, c.Fail(error="disk")))
        code, lines, errors = await asyncio.to_thread(replay.ended)
        assert (code, [line.split()[1] for line in lines], errors) == (0, ["failed"], [])


@BOTH
async def test_a_replay_keeps_the_pace_of_the_job_and_can_be_left(
    store: Store, account: int, way: tuple[str, ...]
) -> None:
    job = await new_job(store, account)
    with tailing("replay", str(job), "--speed", "0.0100001", *way) as replay:
        assert [line.split()[1] for line in replay.take(1)] == ["queued"]
        assert replay.end(signal.SIGINT)[::2] == (0, [])


# -- What goes wrong ----------------------------------------------------------------------------------------------


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
    served: Served, key: str, stranger: str, job: int
) -> None:
    for address, its, said in (
        (f"http://127.0.0.1:{free_port()}", key, "refused.*is a server running there"),
        ("http://no.such.host.invalid", key, "is a server running there"),
        (stranger, key, "no jobstore"),
        (served.address, "jsk_nobody", "jobstore key create"),
        (f"{served.address}/elsewhere", key, "nothing at this address"),
    ):
        done = await asyncio.to_thread(run, "tail", "--server", address, "--key", its)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(rf"Error: [^\n]*{said}[^\n]*\n", done.stderr), done.stderr


async def test_a_key_that_is_revoked_ends_it(store: Store, served: Served, account: int, job: int) -> None:
    made, key = await store.accounts.create_key("acme", "read")
    with tailing("tail", "--after", "0", "--server", served.address, "--key", key) as tail:
        tail.take(6)
        await store.accounts.revoke(made.key_id)
        code, lines, errors = await asyncio.to_thread(tail.ended)
        assert (code, lines, len(errors)) == (1, [], 1)
        assert "revoked" in errors[0]
