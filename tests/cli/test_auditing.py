"""What the commands that prove a log print, in a terminal and in a pipe, and how they end."""

import asyncio
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobstore.cli import cli
from jobstore.job import commands as c
from jobstore.store import Store
from tests.cli.serving import run
from tests.cli.test_commands import in_a_terminal
from tests.store.asking import new_job, note, query

NOWHERE = "postgresql://postgres@127.0.0.1:1/postgres"


@pytest.fixture
def filled(dsn: str) -> str:
    """A database with two accounts, of which acme has ten events."""

    async def fill() -> None:
        async with Store(dsn) as store:
            account = await store.accounts.create("acme")
            await store.accounts.create("empty")
            job = await new_job(store, account)
            for number in range(8):
                await store.ledger.append(note(account, job, f"note {number}"))

    asyncio.run(fill())
    return dsn


def kept(path: Path, *arguments: str) -> Path:
    """What a command prints, in a file."""
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    path.write_text(done.stdout)
    return path


def change(dsn: str, statement: str) -> None:
    """Change the log past its triggers."""
    asyncio.run(query(dsn, "ALTER TABLE events DISABLE TRIGGER ALL"))
    asyncio.run(query(dsn, statement))


def test_logs_that_hold_are_told_a_line_each_and_one_that_does_not_with_exit_code_1(filled: str) -> None:
    done = run("verify", "--dsn", filled)
    assert (done.returncode, done.stdout, done.stderr) == (0, "acme: 10 events hold\nempty: 0 events hold\n", "")
    change(filled, 'UPDATE events SET data = \'{"note":"never"}\' WHERE position = 7')
    for arguments, holding in (((), "empty: 0 events hold\n"), (("acme",), "")):
        done = run("verify", *arguments, "--dsn", filled)
        assert (done.returncode, done.stdout) == (1, holding)
        assert re.fullmatch(r"Error: acme does not hold: position 7: changed payload: [^\n]+\n", done.stderr)
    assert run("verify", "empty", "--dsn", filled).returncode == 0
    done = run("export", "acme", "--dsn", filled)
    assert (done.returncode, "checkpoint" in done.stdout) == (1, False)
    assert re.fullmatch(r"Error: position 7: changed payload: [^\n]+\n", done.stderr)


def test_a_log_extends_the_checkpoints_that_were_kept_of_it_or_does_not(filled: str, tmp_path: Path) -> None:
    place = ("--dsn", filled)
    old = kept(tmp_path / "old", "checkpoint", "acme", *place)
    key = run("checkpoint", "acme", "--public-key", *place).stdout.strip()
    other = run("checkpoint", "empty", "--public-key", *place).stdout.strip()
    for more in ((), ("--public-key", key)):
        done = run("verify", "acme", "--checkpoint", str(old), *more, *place)
        assert re.fullmatch(r"acme: 10 events hold, and extend the checkpoint of [-:\d ]+ at 10\n", done.stdout), done
    for arguments, code, said in (
        (("acme", "--checkpoint", str(old), "--public-key", other), 1, "not signed with the key"),
        (("empty", "--checkpoint", str(old)), 1, "not signed with the key"),
        (("empty", "--checkpoint", str(old), "--public-key", key), 1, "position 1: cut off"),
        (("--checkpoint", str(old)), 2, "which account"),
        (("acme", "--checkpoint", "/nowhere"), 2, "does not exist"),
        (("acme", "--public-key", "x"), 2, "not a verifier key"),
    ):
        done = run("verify", *arguments, *place)
        assert (done.returncode, done.stdout) == (code, ""), done
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_file_is_verified_and_restored_without_the_database_that_it_came_from(filled: str, tmp_path: Path) -> None:
    place = ("--dsn", filled)
    file = kept(tmp_path / "acme.ndjson", "export", "acme", *place)
    early = kept(tmp_path / "early.ndjson", "export", "acme", "--from", "2", "--to", "5", *place)
    key = run("checkpoint", "acme", "--public-key", *place).stdout.strip()
    other = run("checkpoint", "empty", "--public-key", *place).stdout.strip()
    for path, count in ((file, 10), (early, 4)):
        done = run("verify", path, "--public-key", key, "--dsn", NOWHERE)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(rf"\S+: {count} events of acme hold, as jobstore/acme/\w+ has signed\n", done.stdout)
    assert "not known without --public-key" in run("verify", file, "--dsn", NOWHERE).stdout
    for wrong in (("verify", file), ("import", file, "--account", "copy", *place)):
        done = run(*wrong, "--public-key", other)
        assert (done.returncode, done.stdout) == (1, "")
        assert "not signed with the key" in done.stderr
    arguments = ("import", str(file), "--account", "copy", "--public-key", key, *place)
    assert run(*arguments).stdout == "copy: 10 events restored\n"
    assert run(*arguments).stdout == "copy: 10 events, which it has already\n"
    assert run("verify", "copy", *place).stdout == "copy: 10 events hold\n"
    assert run("show", "1", "--account", "copy", *place).stdout == run("show", "1", "--account", "acme", *place).stdout


def test_an_export_from_before_an_erasure_and_one_from_after_both_hold(filled: str, tmp_path: Path) -> None:
    place = ("--dsn", filled)
    key = run("checkpoint", "acme", "--public-key", *place).stdout.strip()
    note = kept(tmp_path / "note", "checkpoint", "acme", *place)
    before = kept(tmp_path / "before.ndjson", "export", "acme", *place)

    async def erase() -> None:
        async with Store(filled) as store:
            account = (await store.accounts.find("acme")).account_id
            assert await store.erasure.erase(account, 1, c.Erase(reason="asked to"), "command line")

    asyncio.run(erase())
    after = kept(tmp_path / "after.ndjson", "export", "acme", *place)
    assert b"note 3" in before.read_bytes()
    assert b"note 3" not in after.read_bytes()
    assert b'"erased":"' in after.read_bytes()
    for path in (before, after):
        assert run("verify", path, "--public-key", key, "--checkpoint", note).returncode == 0
    assert run("verify", "acme", "--checkpoint", note, *place).stdout.startswith("acme: 11 events hold")
    assert run("import", after, "--account", "copy", *place).stdout == "copy: 11 events restored\n"
    shown = [run("show", "1", "--account", name, *place).stdout for name in ("acme", "copy")]
    assert shown[0] == shown[1]


def test_a_bar_is_shown_in_a_terminal_and_a_pipe_gets_none(filled: str, tmp_path: Path) -> None:
    code, shown = in_a_terminal("verify", "acme", "--dsn", filled)
    assert (code, "10/10" in shown, "acme: 10 events hold" in shown) == (0, True, True)
    file = tmp_path / "acme.ndjson"
    code, shown = in_a_terminal("export", "acme", "--output", str(file), "--dsn", filled)
    assert (code, "10/10" in shown) == (0, True)
    code, shown = in_a_terminal("import", str(file), "--account", "copy", "--dsn", filled)
    assert (code, "10/10" in shown) == (0, True)


@pytest.mark.parametrize("arguments", [
    ("verify", "./nothing"), ("import", "nothing"), ("import",), ("export",), ("export", "acme", "--from", "0"),
    ("export", "acme", "--to", "x"), ("checkpoint",),
], ids=" ".join)  # fmt: skip
def test_wrong_use_is_told_with_exit_code_2(filled: str, arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, [*arguments, "--dsn", filled])
    assert (done.exit_code, done.stdout) == (2, ""), repr(done.exception)
    assert done.stderr


def test_what_is_not_there_or_not_an_export_is_told_in_one_line(filled: str, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.ndjson"
    garbage.write_bytes(b"\xff\xfe\n\x00")
    place = ("--dsn", filled)
    for arguments in (
        ("verify", "nobody", *place), ("checkpoint", "nobody", *place), ("export", "nobody", *place),
        ("export", "acme", "--from", "12", *place), ("export", "acme", "--from", "5", "--to", "3", *place),
        ("verify", str(garbage)), ("import", str(garbage), *place),
        ("verify", "acme", "--checkpoint", str(garbage), *place),
    ):  # fmt: skip
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert re.fullmatch(r"Error: [^\n]+\n", done.stderr), done.stderr


@pytest.mark.parametrize("command", ["verify", "checkpoint", "export", "import"])
def test_every_command_has_help_that_fits_a_terminal(command: str) -> None:
    done = CliRunner().invoke(cli, [command, "--help"], prog_name="jobstore", terminal_width=110)
    assert (done.exit_code, done.stderr) == (0, "")
    assert all(len(line) <= 110 for line in done.stdout.splitlines())
    assert re.search(r"\n\n  [A-Z]", done.stdout)
