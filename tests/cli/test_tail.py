"""`jobstore tail`: an account's feed, from the database and from a server, and how it is ended."""

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jobstore.job import commands as c
from jobstore.store import Store
from jobstore.store.embedded import Embedded
from tests.cli.conftest import NASTY
from tests.cli.serving import ENVIRONMENT, ROOT, SECONDS, command, kill_all, postmaster
from tests.cli.tailing import BOTH, positions, tailing, unread
from tests.store.asking import new_job, note, query, say, submit


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
