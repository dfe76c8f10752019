"""An export proves itself, and a log that is restored from it is the same log."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from jobstore.job import commands as c
from jobstore.store import Store, exports, restoring
from jobstore.store.accounts import Mistaken
from jobstore.store.checkpoints import Checkpoint
from jobstore.store.exports import exported, read
from jobstore.store.notes import Signer, Unproven
from jobstore.store.request import NoSuchAccount
from jobstore.store.restoring import restore
from jobstore.store.verifying import Broken, verify
from tests.cli.serving import run, start
from tests.conftest import _at, _execute
from tests.store.asking import new_job, note, query, say, submit, until
from tests.store.sound import assert_sound

ELSEWHERE = f"jobstore_test_{os.getpid()}_elsewhere"
MANY = 30_000  # events; an import of them can be interrupted


def _nothing(position: int) -> None: ...


@pytest.fixture
async def elsewhere(server: str, template: str) -> AsyncIterator[str]:
    """The address of another fresh database."""
    await _execute(server, f"CREATE DATABASE {ELSEWHERE} TEMPLATE {template}")
    yield _at(server, ELSEWHERE)
    await _execute(server, f"DROP DATABASE {ELSEWHERE} WITH (FORCE)")


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read and written three events at a time."""
    monkeypatch.setattr(exports, "PAGE", 3)


@pytest.fixture
async def account(store: Store) -> int:
    """An account whose log has all kinds of things in it: 14 events of three jobs."""
    account = await store.accounts.create("acme")
    job = await new_job(store, account)
    await store.ledger.append(note(account, job, 'a "text",\n "data": ⌘ \u2028', key="k", digest=bytes(32)))
    other = (await store.ledger.append(submit(account, number=7, imported=True))).job
    await store.ledger.append(say(account, other, c.Start(), c.ReportProgress(fraction=0.1), c.Complete(results=[1])))
    await store.ledger.append(say(account, other, c.Remove()))
    third = (await store.ledger.append(submit(account))).job
    await store.ledger.append(say(account, third, c.Start(stage="x"), c.ProduceOutput(output={"a": 1.0}, key="b")))
    await store.ledger.append(say(account, third, c.Fail(error="no"), c.Annotate(note="so"), c.Annotate(note="it")))
    return account


async def write(store: Store, path: Path, first: int = 1, last: int | None = None, account: str = "acme") -> bytes:
    """The bytes of an export, which is at `path` then."""
    account_id, began_as, log = await store.logs.part(account, first, last)
    lines = exported(began_as, log, lambda end: store.checkpoints.sign(account_id, account, *end))
    path.write_bytes(b"".join([chunk async for _, chunk in lines]))
    return path.read_bytes()


async def restore_in_part(store: Store, path: Path, pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that the connection is lost to after so many pages."""
    write_page, left = restoring._write, iter(range(pages))

    async def fail_later(*arguments: object) -> None:
        if next(left, None) is None:
            raise ConnectionResetError
        await write_page(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "_write", fail_later)
        with pytest.raises(ConnectionResetError):
            await restore(store.postgres, read(path), "acme", _nothing)


async def test_an_export_restored_elsewhere_is_the_same_log(
    store: Store, account: int, dsn: str, elsewhere: str, tmp_path: Path, small_pages: None
) -> None:
    before = await write(store, tmp_path / "a")
    async with Store(elsewhere) as other:
        await other.accounts.create("neighbour")
        for name in ("acme", "copy"):
            assert await restore(other.postgres, read(tmp_path / "a"), name, _nothing)
            after = await write(other, tmp_path / "b", account=name)
            assert after.splitlines()[:-1] == before.splitlines()[:-1]
            assert after.splitlines()[-1] != before.splitlines()[-1], "signed by another"
            assert not await restore(other.postgres, read(tmp_path / "a"), name, _nothing)
        assert await assert_sound(elsewhere, restored=True) == 2 * 14
        copied = (await other.accounts.find("copy")).account_id
        jobs = "SELECT number, uid, phase, removed FROM jobs WHERE account_id = $1 ORDER BY number"
        rows = [await query(where, jobs, id) for where, id in ((dsn, account), (elsewhere, copied))]
        assert rows[0] == rows[1]
        numbers = [(await node.ledger.append(submit(id))).job for node, id in ((store, account), (other, copied))]
        assert numbers == [3, 3], "numbers go on alike"
        await other.ledger.append(say(copied, 1, c.Complete()))
        ((_, log),) = await other.logs.all("copy")
        assert await verify(log) == 16
    assert await assert_sound(elsewhere, restored=True) == 2 * 14 + 2


async def test_a_part_of_a_log_is_verified_by_itself_and_is_not_enough_to_restore(
    store: Store, account: int, tmp_path: Path
) -> None:
    whole = (await write(store, tmp_path / "whole")).splitlines()
    for first, last in ((1, 5), (4, 9), (14, 14), (15, None), (3, 2)):
        lines = (await write(store, tmp_path / "part", first, last)).splitlines()
        assert lines[1:-1] == whole[first : 15 if last is None else last + 1]
        part = read(tmp_path / "part")
        assert await verify(part.log) == len(lines) - 2
    with pytest.raises(Mistaken, match="only a whole log"):
        await restore(store.postgres, part, "part", _nothing)
    for first, last in ((0, 3), (5, 3), (1, 15), (17, None)):
        with pytest.raises(Mistaken, match="ends at 14"):
            await write(store, tmp_path / "none", first, last)


async def test_an_export_stops_where_the_log_does_not_hold(
    store: Store, account: int, dsn: str, tmp_path: Path
) -> None:
    await query(dsn, "ALTER TABLE events DISABLE TRIGGER ALL")
    await query(dsn, 'UPDATE events SET data = \'{"note":"it was not"}\' WHERE position = 14')
    with pytest.raises(Broken, match="position 14: changed payload"):
        await write(store, tmp_path / "a")


FORGERIES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "a byte of a payload": (lambda lines: [line.replace(b'"so"', b'"no"') for line in lines], "13: changed payload"),
    "a payload spaced": (lambda lines: [line.replace(b'"note":"so"', b'"note": "so"') for line in lines],
                         "13: changed payload"),
    "who said it": (lambda lines: [*lines[:5], lines[5].replace(b"acme/tests", b"acme/other"), *lines[6:]],
                    "5: changed header"),
    "a line less": (lambda lines: lines[:5] + lines[6:], "5: missing"),
    "the last event less": (lambda lines: lines[:-2] + lines[-1:], "14: cut off"),
    "two lines swapped": (lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]], "5: reordered"),
    "a line twice": (lambda lines: [*lines[:5], lines[4], *lines[5:]], "5: inserted"),
    "no checkpoint": (lambda lines: lines[:-1], "15: cut off"),
    "half a checkpoint": (lambda lines: [*lines[:-1], lines[-1][:50]], "15: cut off"),
    "half an event": (lambda lines: [*lines[:7], lines[7][:50]], "7: cut off"),
    "another account": (lambda lines: [lines[0].replace(b"acme", b"adme"), *lines[1:]], "named 'adme'"),
    "another beginning": (lambda lines: [lines[0].replace(b'"after":0', b'"after":1'), *lines[1:]], "position 2: "),
    "nothing": (lambda lines: [], "first line"),
    "something else": (lambda lines: [b"{}\n"], "first line"),
    "a line that is none": (lambda lines: [*lines[:5], b"{}\n", *lines[5:]], "no event in line 6"),
    "a number too large": (lambda lines: [*lines[:5], lines[5].replace(b'"job":', b'"job":%d' % 2**63), *lines[6:]],
                           "no event in line 6"),
    "a line after the last": (lambda lines: [*lines, lines[5]], "no event in line 16"),
}  # fmt: skip


@pytest.mark.parametrize("way", FORGERIES)
async def test_a_forged_file_is_told_apart_and_leaves_nothing(
    store: Store, account: int, dsn: str, tmp_path: Path, way: str
) -> None:
    path = tmp_path / "a"
    await write(store, path)
    forge, said = FORGERIES[way]
    with path.open("rb") as file:
        path.write_bytes(b"".join(forge(file.readlines())))
    with pytest.raises(Unproven, match=said):
        await verify(read(path).log)
    with pytest.raises(Unproven, match=said):
        await restore(store.postgres, read(path), "copy", _nothing)
    assert len(await query(dsn, "SELECT FROM accounts")) == 1


async def test_a_chain_of_events_that_no_job_has_is_refused(store: Store, account: int, tmp_path: Path) -> None:
    await query(store.postgres.dsn, "ALTER TABLE events DISABLE TRIGGER ALL")
    await store.ledger.append(submit(account))
    path = tmp_path / "a"
    await write(store, path)
    lines = path.read_bytes().splitlines(keepends=True)
    (event,) = [sealed async for page in read(path).log.pages(14) for sealed in page]
    forged = event._replace(type="started", data="{}")
    hash = forged.after(await _hash(store, 14))
    note = Signer("x", bytes(32)).sign(Checkpoint("x", 15, hash, "acme", event.at).text())
    path.write_bytes(b"".join([*lines[:15], exports.line(forged._replace(hash=hash)),
                               msgspec.json.encode(exports.Closing(note)), b"\n"]))  # fmt: skip
    assert await verify(read(path).log) == 15
    with pytest.raises(Unproven, match="position 15 is not an event of job 3"):
        await restore(store.postgres, read(path), "copy", _nothing)
    assert [account.name for account in await store.accounts.all()] == ["acme"]


async def _hash(store: Store, position: int) -> bytes:
    rows = await query(store.postgres.dsn, "SELECT hash FROM events WHERE position = $1", position)
    hash: bytes = rows[0][0]
    return hash


async def test_an_account_with_another_log_is_left_alone(
    store: Store, account: int, dsn: str, elsewhere: str, tmp_path: Path
) -> None:
    await write(store, tmp_path / "old")
    await store.ledger.append(note(account, 1, "later"))
    await write(store, tmp_path / "new")
    assert not await restore(store.postgres, read(tmp_path / "old"), "acme", _nothing), "its log goes on from there"
    async with Store(elsewhere) as other:
        assert await restore(other.postgres, read(tmp_path / "old"), "acme", _nothing)
        with pytest.raises(Mistaken, match="another log"):
            await restore(other.postgres, read(tmp_path / "new"), "acme", _nothing)
        with pytest.raises(Mistaken, match="cannot be an account's name"):
            await restore(other.postgres, read(tmp_path / "new"), "No Name", _nothing)
        assert await other.accounts.create("third")
        with pytest.raises(Mistaken, match="another log"):
            await restore(other.postgres, read(tmp_path / "old"), "third", _nothing)
    assert await assert_sound(elsewhere, restored=True) == 14


@pytest.mark.parametrize("pages", range(5))
async def test_an_import_that_stops_shows_nothing_and_goes_on_from_there(
    store: Store, account: int, elsewhere: str, tmp_path: Path, small_pages: None, pages: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / "a"
    await write(store, path)
    async with Store(elsewhere) as other:
        await restore_in_part(other, path, pages, monkeypatch)
        assert len(await query(elsewhere, "SELECT FROM events")) == 3 * pages
        assert await other.accounts.all() == []
        with pytest.raises(Mistaken):
            await other.accounts.create_key("acme", "admin")
        with pytest.raises(NoSuchAccount):
            await other.ledger.append(submit(1))
        ((_, log),) = await other.logs.all()
        with pytest.raises(Broken, match="no head"):
            await verify(log)
        reached: list[int] = []
        assert await restore(other.postgres, read(path), "acme", reached.append)
        assert len(reached) == 5 - pages, "what was written before is not written again"
    assert await assert_sound(elsewhere, restored=True) == 14


async def test_what_an_import_of_another_log_has_left_is_not_gone_on_with(
    store: Store, account: int, elsewhere: str, tmp_path: Path, small_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(store, tmp_path / "acme")
    second = await store.accounts.create("other")
    job = await new_job(store, second)
    await store.ledger.append(say(second, job, *(c.Annotate(note=text) for text in "abc")))
    await write(store, tmp_path / "other", account="other")
    async with Store(elsewhere) as other:
        await restore_in_part(other, tmp_path / "acme", 1, monkeypatch)
        with pytest.raises(Mistaken, match="another log's import into 'acme' stopped at 3"):
            await restore(other.postgres, read(tmp_path / "other"), "acme", _nothing)
        assert await other.accounts.all() == []
        assert await restore(other.postgres, read(tmp_path / "other"), "other", _nothing)
        assert await restore(other.postgres, read(tmp_path / "acme"), "acme", _nothing)
    assert await assert_sound(elsewhere, restored=True) == 14 + 5


@pytest.fixture
async def long(store: Store, tmp_path: Path) -> Path:
    """An export of a log that takes a while."""
    account = await store.accounts.create("acme")
    jobs = [await new_job(store, account) for _ in range(10)]
    for turn in range(MANY // 1000):
        notes = [c.Annotate(note=f"{turn} {number}") for number in range(1000)]
        await store.ledger.append(say(account, jobs[turn % 10], *notes))
    await write(store, tmp_path / "long.ndjson")
    return tmp_path / "long.ndjson"


async def test_an_import_that_is_killed_shows_nothing_and_is_finished_by_running_it_again(
    long: Path, elsewhere: str
) -> None:
    process = start("import", long, "--dsn", elsewhere)
    await until(lambda: _some(elsewhere), 20)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was interrupted"
    process.communicate()
    written = (await query(elsewhere, "SELECT count(*) FROM events"))[0][0]
    assert 0 < written < MANY
    assert await query(elsewhere, "SELECT FROM heads") == []
    done = await asyncio.to_thread(run, "import", long, "--dsn", elsewhere)
    assert (done.returncode, done.stdout) == (0, f"acme: {MANY + 20} events restored\n")
    assert await assert_sound(elsewhere, restored=True) == MANY + 20


async def _some(dsn: str) -> bool:
    return bool(await query(dsn, "SELECT FROM events LIMIT 1"))


async def test_an_export_that_is_killed_leaves_no_file_that_passes_for_whole(
    long: Path, dsn: str, tmp_path: Path
) -> None:
    target = tmp_path / "again.ndjson"
    unfinished = tmp_path / "again.ndjson.unfinished"
    process = start("export", "acme", "--output", target, "--dsn", dsn)
    await until(lambda: unfinished.exists() and unfinished.stat().st_size > 0, 20)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was interrupted"
    process.communicate()
    assert not target.exists()
    left = await asyncio.to_thread(run, "verify", unfinished)
    assert (left.returncode, left.stdout) == (1, "")
    assert "cut off" in left.stderr
    done = await asyncio.to_thread(run, "export", "acme", "--output", target, "--dsn", dsn)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert target.read_bytes().splitlines()[:-1] == long.read_bytes().splitlines()[:-1]
    assert not unfinished.exists()
