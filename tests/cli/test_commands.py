"""What the other commands print, in a terminal and in a pipe, and how they fail: one line, never a traceback."""

import asyncio
import json
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from jobstore.cli import cli
from jobstore.job import commands as c
from jobstore.store import Store
from jobstore.store.request import Append
from tests.cli.serving import ENVIRONMENT, ROOT, command, run
from tests.store.asking import say

KEY = re.compile(r"key: (jsk_[0-9a-f]{12}_[0-9a-f]{40})")
UID = "018f3b6f78157eaa8000000000000001"
NASTY = "a\ttab, a\r\nline, [/red] [bold]markup[/bold], \x1b[31mred\x1b[0m, ⌘ 日本"


@pytest.fixture
def filled(dsn: str) -> str:
    """A database with an account, and two jobs of which one has nasty things to say."""

    async def fill() -> None:
        async with Store(dsn) as store:
            account = await store.accounts.create("acme")
            first = Append(account, None, (c.Submit(uid=UID, kind="index.build", total=4),), "acme/tests")
            job = (await store.ledger.append(first)).job
            for commands in (
                (c.Start(stage="load"),),
                (c.ReportProgress(done=1, message="\x1b[31mred"), c.Annotate(note=NASTY)),
                (c.ProduceOutput(output={"name": "a.csv"}), c.Complete(results=[1, None])),
            ):
                await store.ledger.append(say(account, job, *commands))

    asyncio.run(fill())
    return dsn


def in_a_terminal(*arguments: str, columns: int = 200) -> tuple[int, str]:
    """The exit code of a command, and what it shows in a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command(*arguments),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=ENVIRONMENT | {"TERM": "xterm-256color", "COLUMNS": str(columns)},
        cwd=ROOT,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # the last one has closed it
            break
        if not chunk:
            break
        shown += chunk
    os.close(leader)
    return process.wait(), shown.decode()


def test_an_account_and_its_keys_from_beginning_to_end(dsn: str) -> None:
    assert run("migrate", "--dsn", dsn).stdout == "up to date\n"
    made = run("account", "create", "acme", "--dsn", dsn)
    assert made.stdout.startswith("account: acme\n")
    assert KEY.search(made.stdout)
    assert run("account", "list", "--dsn", dsn).stdout.split("\t")[:3] == ["acme", "0", "0"]
    assert "position: 0\n" in run("account", "show", "acme", "--dsn", dsn).stdout
    created = run("key", "create", "acme", "--scope", "read", "--name", "reader", "--dsn", dsn).stdout
    found = KEY.search(created)
    assert found is not None
    key_id = created.split()[1]
    assert found[1].split("_")[1] == key_id
    lines = [line.split("\t") for line in run("key", "list", "acme", "--dsn", dsn).stdout.splitlines()]
    assert [(line[2], line[3], line[5]) for line in lines] == [("admin", "admin", ""), ("reader", "read", "")]
    assert found[1] not in run("key", "list", "--dsn", dsn).stdout
    assert run("key", "revoke", key_id, "--dsn", dsn).stdout == f"revoked: {key_id}\n"
    again = run("key", "revoke", key_id, "--dsn", dsn)
    assert (again.returncode, again.stderr.count("\n"), "key list" in again.stderr) == (1, 1, True)


def test_an_account_is_granted_what_its_settings_say(dsn: str) -> None:
    assert run("account", "create", "acme", "--revision", "zendesk=current", "--dsn", dsn).returncode == 0
    for settings, shown in (
        (("rate=5000/hour",), "rate=5000/hour zendesk=current"),
        (("rate=10/second", "virtool=5.0"), "rate=10/second virtool=5.0 zendesk=current"),
        (("rate=off", "zendesk="), "virtool=5.0"),
        (("rate=", "virtool="), "none"),
    ):
        done = run("account", "set", "acme", *settings, "--dsn", dsn)
        assert (done.stdout, done.stderr) == (f"settings: {shown}\n", "")
        assert f"settings: {shown}\n" in run("account", "show", "acme", "--dsn", dsn).stdout
    done = run("account", "set", "nobody", "rate=off", "--dsn", dsn)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_a_list_of_keys_says_which_job_a_key_is_for(filled: str) -> None:
    async def make() -> None:
        async with Store(filled) as store:
            await store.accounts.create_key("acme", "read")
            await store.accounts.create_job_key((await store.accounts.find("acme")).account_id, 1)

    asyncio.run(make())
    lines = run("key", "list", "acme", "--dsn", filled).stdout.splitlines()
    assert [(line.split("\t")[3], line.split("\t")[6]) for line in lines] == [("read", ""), ("write", "1")]


def test_the_environment_says_where_and_flags_win(dsn: str, folder: Path) -> None:
    assert run("migrate", JOBSTORE_DSN=dsn).stdout == "up to date\n"
    assert run("migrate", "--dsn", dsn, JOBSTORE_DSN="postgresql://nowhere.invalid/x").stdout == "up to date\n"


def test_a_job_is_shown_as_it_is_and_as_it_was(filled: str) -> None:
    shown = [json.loads(run("show", job, "--dsn", filled).stdout) for job in ("1", UID, str(UUID(UID)).upper())]
    assert shown[0] == shown[1] == shown[2]
    assert (shown[0]["state"], shown[0]["version"]) == ("completed", 6)
    assert json.loads(run("show", "1", "--at", "2", "--dsn", filled).stdout)["state"] == "running"
    at = shown[0]["ended_at"].replace("Z", "+00:00")
    assert json.loads(run("show", "1", "--at", at, "--dsn", filled).stdout) == shown[0]
    for arguments in (("show", "2"), ("show", "1", "--at", "2001-01-01T00:00:00Z"), ("history", "9"), ("replay", "9")):
        done = run(*arguments, "--dsn", filled)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(r"Error: there is no job [^\n]+\n", done.stderr)


def test_a_history_in_a_pipe_is_one_line_an_event_with_as_many_columns_and_no_colour(filled: str) -> None:
    done = run("history", "1", "--dsn", filled)
    lines = [line.split("\t") for line in done.stdout.split("\n")[:-1]]
    assert [len(line) for line in lines] == [7] * 6
    assert [line[4] for line in lines] == [
        "queued", "started", "progressed", "annotated", "output_produced", "completed"
    ]  # fmt: skip
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    events = [json.loads(line) for line in run("history", "1", "--json", "--dsn", filled).stdout.splitlines()]
    assert [event["version"] for event in events] == list(range(1, 7))
    assert events[3]["data"]["note"] == NASTY


@pytest.mark.parametrize("arguments", [("history", "1"), ("show", "1"), ("account", "list"), ("key", "list"),
                                       ("replay", "1", "--speed", "inf")])  # fmt: skip
def test_a_terminal_shows_what_jobs_say_as_text_and_does_nothing_of_it(filled: str, arguments: tuple[str, ...]) -> None:
    code, shown = in_a_terminal(*arguments, "--dsn", filled)
    assert code == 0, shown
    assert "Traceback" not in shown
    assert "\x1b[31mred" not in shown
    if arguments[0] == "history":
        assert "[/red]" in shown
        assert "[bold]markup[/bold]" in shown


def test_a_replay_tells_the_whole_life_again(filled: str) -> None:
    done = run("replay", "1", "--speed", "inf", "--dsn", filled)
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert [line.split()[1] for line in lines] == [
        "queued", "started", "progressed", "annotated", "output_produced", "completed"
    ]  # fmt: skip
    assert " 25% " in lines[2]
    assert "\x1b" not in done.stdout
    views = run("replay", "1", "--speed", "inf", "--format", "native", "--dsn", filled).stdout.splitlines()
    assert [json.loads(view)["version"] for view in views] == list(range(1, 7))


WRONG_USE: list[tuple[Any, ...]] = [
    ("nonsense",), ("serve", "--nonsense"), ("serve", "--port", "70000"), ("serve", "--workers", "0"), ("show",),
    ("show", "no job"), ("show", "1", "--at", "yesterday"), ("show", "1", "--format", "none"),
    ("replay", "1", "--speed", "0"), ("replay", "1", "--speed", "nan"), ("replay", "1", "--speed", "-1"),
    ("key", "create", "acme", "--scope", "god"), ("account",), ("serve", "--data", "/etc/passwd"),
    ("account", "set", "acme"), ("account", "set", "acme", "rate"), ("account", "set", "acme", "rate=5000"),
    ("account", "set", "acme", "rate=5000/week"), ("account", "set", "acme", "nonsense=1"),
    ("account", "set", "acme", "zendesk"), ("account", "set", "acme", "zendesk=off"),
    ("account", "set", "acme", "virtool=5.0", "zendesk=1999"), ("account", "set", "acme", "=current"),
    ("account", "create", "new", "--revision", "rate=5/hour"), ("account", "create", "new", "--revision", "zendesk="),
    ("account", "create", "new", "--revision", "virtool=current"),
    ("erase", "1"), ("erase", "no job", "--reason", "r"), ("history", "1", "--format", "none"), ("project",),
    ("project", "none"), ("project", "native", "--workers", "0"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", WRONG_USE, ids=" ".join)
def test_wrong_use_is_told_with_exit_code_2(filled: str, arguments: tuple[str, ...]) -> None:
    where = () if "--data" in arguments or arguments[0] in ("nonsense", "account") else ("--dsn", filled)
    done = CliRunner().invoke(cli, [*arguments, *where])
    assert done.exit_code == 2, repr(done.exception)
    assert done.stdout == ""
    assert done.stderr


DSNS = [
    "postgresql://postgres@127.0.0.1:1/postgres",
    "postgresql://no.such.host.invalid/postgres",
    "postgresql://127.0.0.1:port/postgres",
    "postgresql:///postgres?host=/nowhere",
    "mysql://127.0.0.1/x",
    "not a dsn",
    "",
    "postgresql://[::1/x",
]


@pytest.mark.parametrize("wrong", DSNS)
def test_a_database_that_cannot_be_reached_is_told_in_one_line(wrong: str, folder: Path) -> None:
    done = run("serve", "--port", "0", "--dsn", wrong, JOBSTORE_DATA=str(folder / "file" / "data"))
    assert (done.returncode, done.stdout) == (1, ""), done
    assert re.fullmatch(r"Error: [^\n]{10,}\n", done.stderr), done.stderr


def test_a_database_that_is_not_there_is_named(dsn: str) -> None:
    done = run("serve", "--port", "0", "--dsn", re.sub(r"(?<=/)jobstore_test\w+(?=\?|$)", "missing", dsn))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r'Error: .*"missing" does not exist\n', done.stderr)


HELP: list[tuple[str, ...]] = [
    (), ("serve",), ("demo",), ("migrate",), ("account",), ("account", "create"), ("account", "list"),
    ("account", "set"), ("account", "show"), ("key",), ("key", "create"), ("key", "list"), ("key", "revoke"), ("show",),
    ("history",), ("replay",), ("tail",), ("erase",), ("project",), ("verify",), ("checkpoint",),
    ("export",), ("import",),
]  # fmt: skip


def test_every_command_has_help_that_fits_a_terminal_and_says_more_than_its_name() -> None:
    for arguments in HELP:
        done = CliRunner().invoke(cli, [*arguments, "--help"], prog_name="jobstore", terminal_width=110)
        assert (done.exit_code, done.stderr) == (0, ""), arguments
        assert done.stdout.startswith("Usage: jobstore")
        assert all(len(line) <= 110 for line in done.stdout.splitlines()), arguments
        assert re.search(r"\n\n  [A-Z]", done.stdout), arguments
    assert re.fullmatch(r"jobstore, version \S+\n", run("--version").stdout)
