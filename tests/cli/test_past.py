"""What the commands about the past print and do: history, erase, project; and what is left of them when killed."""

import asyncio
import json
import random
import re
import time
from typing import Any

import pytest

from jobstore.job import commands as c
from jobstore.store import Store
from jobstore.store.request import Append
from jobstore.store.views import MEMO_AFTER
from tests.cli.serving import kill_all, run, start
from tests.cli.test_commands import in_a_terminal
from tests.store.asking import query, say, submit
from tests.store.sound import assert_sound

SECRET = "ann@example.org"
UID = "018f3b6f78157eaa8000000000000001"


@pytest.fixture
def filled(dsn: str) -> str:
    """A database with an account, and a job that has lived."""

    async def fill() -> None:
        async with Store(dsn) as store:
            account = await store.accounts.create("acme")
            first = c.Submit(uid=UID, kind="index.build", total=4, user=SECRET)
            job = (await store.ledger.append(Append(account, None, (first,), "acme/tests"))).job
            for command in (
                c.Start(stage="load"),
                c.ReportProgress(done=1, message=f"{SECRET}\x1b[31m"),
                c.ProduceOutput(output={"name": "a.csv"}),
                c.ProduceOutput(output="b\tc"),
                c.Complete(),
                c.Remove(),
            ):
                await store.ledger.append(say(account, job, command))

    asyncio.run(fill())
    return dsn


def rows(done: Any) -> list[list[str]]:
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_a_history_says_who_said_what_and_what_that_changed(filled: str) -> None:
    told = rows(run("history", "1", "--dsn", filled))
    assert [row[0] for row in told] == [str(version) for version in range(1, 8)]
    assert {row[3] for row in told} == {"acme/tests"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", row[2]) for row in told)
    said, changed = [row[5] for row in told], [row[6] for row in told]
    assert said[2] == f"done=1 message={SECRET}\N{REPLACEMENT CHARACTER}[31m"
    assert "state: queued" in changed[0]
    assert changed[0].startswith(f"id: {UID}, number: 1, kind: index.build, ")
    assert "null" not in changed[0]
    assert re.match(r"state: queued → running, stage: null → load, started_at: null → \d{4}-", changed[1])
    assert changed[2].startswith("progress.fraction: null → 0.25, progress.done: null → 1, message: null → ")
    assert changed[3] == 'outputs: + {"name":"a.csv"}'
    assert changed[4] == "outputs: + b\N{REPLACEMENT CHARACTER}c"
    assert changed[5].startswith("state: running → completed, progress.fraction: 0.25 → 1.0, progress.done: 1 → 4")
    assert changed[6] == "gone from every view"


def test_a_history_is_told_in_a_vendors_words_too(filled: str) -> None:
    told = rows(run("history", UID, "--format", "zendesk", "--dsn", filled))
    assert [row[6].split(", message")[0] for row in told][2:6] == [
        "progress: null → 1", "", "", "progress: 1 → 4, status: working → completed"
    ]  # fmt: skip
    lines = run("history", "1", "--format", "librato", "--json", "--dsn", filled).stdout.splitlines()
    assert [json.loads(line)["view"]["state"] for line in lines] == [
        "queued", *["working"] * 4, "complete", "complete"
    ]  # fmt: skip
    assert "view" not in json.loads(run("history", "1", "--json", "--dsn", filled).stdout.splitlines()[0])


def test_a_terminal_shows_a_history_as_text(filled: str) -> None:
    code, shown = in_a_terminal("history", "1", "--dsn", filled, columns=250)
    assert code == 0
    assert "changed" in shown
    assert "queued → running" in shown
    assert "\x1b[31m\x1b" not in shown


def test_an_erasure_says_what_it_did_and_who_asked_for_it(filled: str) -> None:
    assert SECRET in run("history", "1", "--json", "--dsn", filled).stdout
    done = run("erase", "1", "--fields", "message, stage", "--reason", "asked", "--dsn", filled)
    assert (done.returncode, done.stdout) == (0, "erased: 2 payloads, recorded at position 8\n"), done.stderr
    done = run("erase", UID, "--reason", "asked again", "--dsn", filled)
    assert done.stdout == "erased: 4 payloads, recorded at position 9\n"
    assert run("erase", "1", "--reason", "once more", "--dsn", filled).stdout == "nothing to erase\n"
    told = [json.loads(line) for line in run("history", "1", "--json", "--dsn", filled).stdout.splitlines()]
    assert [event["data"] for event in told[1:]] == [
        *[{}] * 6, {"reason": "asked", "fields": ["message", "stage"]}, {"reason": "asked again"}
    ]  # fmt: skip
    assert told[0]["data"] == {"uid": UID, "kind": "index.build"}
    assert all(re.fullmatch(r"command line/\S+", event["by"]) for event in told[7:])
    assert asyncio.run(assert_sound(filled)) == 9


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("1", "--reason", "r", "--fields", "args,nonsense"),
            "nothing called nonsense can be erased; what can is args, ",
        ),
        (("1", "--reason", "r", "--fields", "kind"), "nothing called kind"),
        (("1", "--reason", "r", "--fields", ""), "nothing called "),
        (("1", "--reason", ""), "a reason is a text of 1 to 10,000 characters"),
        (("1", "--reason", "\udcff"), "a reason is a text"),
        (("2", "--reason", "r"), "there is no job 2"),
        (("1", "--reason", "r", "--account", "nobody"), "there is no account 'nobody'"),
    ],
)
def test_an_erasure_that_cannot_be_is_told_in_one_line(filled: str, arguments: tuple[str, ...], told: str) -> None:
    done = run("erase", *arguments, "--dsn", filled)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: [^\n]+\n", done.stderr)
    assert done.stderr.startswith(f"Error: {told}")
    assert asyncio.run(assert_sound(filled)) == 7


LONG = 12


@pytest.fixture
def long_jobs(dsn: str) -> str:
    """A database with two accounts that have long jobs, and a short one."""

    async def fill() -> None:
        async with Store(dsn) as store:
            for name in ("acme", "rival"):
                account = await store.accounts.create(name)
                for _ in range(LONG):
                    job = (await store.ledger.append(submit(account))).job
                    said = [c.Annotate(note=f"{i}") for i in range(MEMO_AFTER)]
                    await store.ledger.append(say(account, job, *said))
                await store.ledger.append(submit(account))

    asyncio.run(fill())
    return dsn


def test_jobs_are_folded_ahead_by_any_number_of_processes_once(long_jobs: str) -> None:
    done = run("project", "native", "--account", "acme", "--dsn", long_jobs)
    others = "the others are short, or were folded before"
    assert (done.stdout, done.stderr) == (f"folded: {LONG} of {LONG + 1} jobs; {others}\n", "")
    done = run("project", "native", "--workers", "3", "--dsn", long_jobs)
    assert (done.stdout, done.stderr) == (f"folded: {LONG} of {2 * LONG + 2} jobs; {others}\n", "")
    assert run("project", "native", "--dsn", long_jobs).stdout.startswith("folded: 0 of ")
    assert asyncio.run(query(long_jobs, "SELECT count(*) FROM views"))[0][0] == 2 * LONG
    asyncio.run(assert_sound(long_jobs))


def test_a_terminal_shows_how_far_it_is(long_jobs: str) -> None:
    code, shown = in_a_terminal("project", "zendesk", "--workers", "2", "--dsn", long_jobs)
    assert code == 0, shown
    assert "folding" in shown
    assert f"folded: {2 * LONG} of {2 * LONG + 2} jobs" in shown


def test_folding_that_is_killed_goes_on_when_it_is_run_again(long_jobs: str, tmp_path: Any) -> None:
    dice = random.Random(7)
    count = "SELECT count(*) FROM views"
    for target in sorted(dice.sample(range(1, 2 * LONG), 3)):
        process = start("project", "virtool", "--workers", "2", "--dsn", long_jobs)
        deadline = time.monotonic() + 30
        while process.poll() is None and asyncio.run(query(long_jobs, count))[0][0] < target:
            assert time.monotonic() < deadline
        kill_all(tmp_path, process.pid)
        process.communicate()
        asyncio.run(assert_sound(long_jobs))
    left = run("project", "virtool", "--workers", "2", "--dsn", long_jobs)
    assert re.fullmatch(r"folded: \d+ of 26 jobs; .*\n", left.stdout)
    assert asyncio.run(query(long_jobs, count))[0][0] == 2 * LONG
    asyncio.run(assert_sound(long_jobs))


def test_folding_for_an_account_that_is_not_there_is_told(filled: str) -> None:
    done = run("project", "native", "--account", "nobody", "--dsn", filled)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: there is no account 'nobody'[^\n]*\n", done.stderr)
