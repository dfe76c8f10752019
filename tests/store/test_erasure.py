"""What was erased is nowhere any more, on no node and in no dump; what was recorded still verifies."""

import asyncio
import random
import subprocess
from typing import Any

import asyncpg
import pytest

from jobstore.formats import FORMATS, PROJECTIONS, native
from jobstore.job import commands as c
from jobstore.job.events import JobErased
from jobstore.job.projection import ANYBODY
from jobstore.store import Store, memos, views
from jobstore.store.chain import digest
from jobstore.store.clock import now, uuid7
from jobstore.store.embedded import VERSION, _wheel
from jobstore.store.erasure import Erased
from jobstore.store.memos import Memo
from jobstore.store.mistaken import Mistaken
from jobstore.store.projecting import Step
from jobstore.store.request import Append, NoSuchAccount, NoSuchJob
from jobstore.store.views import Views
from tests.store.asking import holding, new_job, note, query, say, submit, until_locked
from tests.store.sound import assert_sound

SECRET = "Ann-Example-of-Elm-Street"
BY = "command line/tests"
ALL = c.Erase(reason="she asked for it")
LIFE: tuple[c.Command, ...] = (
    c.Prepare(stage=f"stage {SECRET}"),
    c.Start(message=f"hello {SECRET}", fraction=0.1),
    c.ReportProgress(done=1, total=3, message=f"at {SECRET}"),
    c.ProduceOutput(output={"name": SECRET}, key="a"),
    c.RecordResult(result=[SECRET]),
    c.Annotate(note=SECRET, data={"status": {"error": SECRET}}),
    c.ScheduleRetry(error=SECRET, message=SECRET),
    c.Start(),
    c.Complete(results={"of": SECRET}, message=f"done {SECRET}"),
)


async def personal(store: Store, account: int, *life: c.Command, **more: Any) -> int:
    """The number of a job that is full of somebody's name."""
    submit = c.Submit(
        uid=uuid7(now()), kind="index.build", args={"who": SECRET}, user=SECRET, extra={"of": SECRET}, claim=SECRET
    )
    job = (await store.ledger.append(Append(account, None, (submit,), "acme/tests", **more))).job
    for command in life or LIFE:
        await store.ledger.append(say(account, job, command))
    return job


def dumped(dsn: str) -> str:
    """All that pg_dump writes of the database, statistics too."""
    command = [str(_wheel() / f"pginstall{VERSION}" / "bin" / "pg_dump"), "--statistics", "--dbname", dsn]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.decode()


async def shown(node: Store, account: int, job: int) -> str:
    """The job in every format, now and at every position of the past, and all that a search tells of it."""
    where = await node.views.where(account, job)
    assert where is not None
    bodies = []
    for projection in PROJECTIONS.values():
        bodies.append((await node.views.show(account, job, where, projection)).body)
        for position in range(1, where.position + 1):
            past = await node.past.where(account, job, position)
            if past is not None:
                view = await node.past.view(account, job, past, projection)
                bodies.append(projection.show(view, ANYBODY, now()))
    return b"\n".join(bodies).decode()


async def hashes(dsn: str, last: int) -> list[Any]:
    """All of the log up to this position but what was said."""
    return await query(
        dsn,
        "SELECT position, job, version, type, at, by, trace, hash FROM events WHERE position <= $1 ORDER BY 1",
        last,
    )


async def test_a_dump_taken_afterwards_has_none_of_it_and_the_chain_holds(
    store: Store, account: int, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "MEMO_AFTER", 2)
    job = await personal(store, account, key="k", digest=bytes.fromhex(digest(SECRET)))
    other = await new_job(store, account)
    await shown(store, account, job)
    await store.views.close()
    await query(dsn, "ANALYZE")
    before = dumped(dsn)
    assert all(
        any(SECRET in line for line in part.split("\\.")[0].splitlines())
        for table in ("events", "jobs", "views")
        for part in (before.split(f"COPY public.{table} (")[1],)
    ), "it was everywhere"
    assert await query(dsn, "SELECT FROM pg_stats WHERE most_common_vals::text LIKE '%' || $1 || '%'", SECRET) == []
    recorded = await hashes(dsn, 12)

    erased = await store.erasure.erase(account, job, ALL, BY)

    assert erased == Erased(13, 9)
    assert [line for line in dumped(dsn).splitlines() if SECRET in line] == []
    assert await hashes(dsn, 12) == recorded
    assert await assert_sound(dsn) == 13
    assert SECRET not in await shown(store, account, job)
    [last] = await store.history.of_job(account, job, after=10)
    assert (last.type, last.by, last.recorded().event) == ("erased", BY, JobErased(reason="she asked for it"))
    assert await query(dsn, "SELECT FROM events WHERE job = $1 AND erased IS NOT NULL", other) == []


async def test_what_the_planner_quotes_of_the_rows_goes_too(store: Store, account: int, dsn: str) -> None:
    quoted = "SELECT FROM pg_stats WHERE concat(most_common_vals, histogram_bounds) LIKE '%' || $1 || '%'"
    jobs = [await personal(store, account) for _ in range(3)]
    await query(dsn, "ANALYZE")
    assert await query(dsn, quoted, SECRET)
    for job in jobs:
        await store.erasure.erase(account, job, ALL, BY)
    assert await query(dsn, quoted, SECRET) == []


async def test_the_views_show_the_vendors_nothing_in_its_place(store: Store, account: int) -> None:
    job = await personal(store, account)
    await store.erasure.erase(account, job, ALL, BY)
    view = await store.history.view(account, job, 99, native.PROJECTION)
    assert (view.state, view.kind, view.args, view.user, view.extra) == ("completed", "index.build", {}, None, {})
    assert (view.outputs.all, view.results.all, view.errors) == ([None], [None], [])
    assert view.started_at is not None
    assert view.ended_at is not None
    assert view.version == 11


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        (("user",), ["args", "extra", "claim"]),
        (("args",), ["user", "extra"]),
        (("claim",), ["args", "user", "extra"]),
        (("args", "extra", "user"), []),
        (("message",), ["args", "claim", "extra", "user"]),
    ],
)
async def test_only_the_fields_that_are_named_go(
    store: Store, account: int, dsn: str, fields: tuple[str, ...], left: list[str]
) -> None:
    job = await personal(store, account, c.Start(message=SECRET, stage="load"), c.ReportProgress(fraction=0.25))
    await store.erasure.erase(account, job, c.Erase(reason="r", fields=fields), BY)
    [queued, started, progressed, erased] = await store.history.of_job(account, job)
    assert sorted(name for name in ("args", "user", "extra", "claim") if f'"{name}"' in queued.data) == sorted(left)
    assert ("message" in started.data, "stage" in started.data) == (fields != ("message",), True)
    assert progressed.data == '{"fraction":0.25}'
    assert erased.recorded().event == JobErased(reason="r", fields=fields)
    [row] = await query(dsn, "SELECT user_name, claim FROM jobs")
    assert [name for name, value in (("user", row[0]), ("claim", row[1])) if value] == sorted(
        {"user", "claim"} & set(left), reverse=True
    )
    marks = await query(dsn, "SELECT version, erased FROM events WHERE erased IS NOT NULL")
    assert [mark[0] for mark in marks] == ([2] if fields == ("message",) else [1])
    await assert_sound(dsn)


async def test_erasing_twice_is_harmless_and_may_take_more(store: Store, account: int, dsn: str) -> None:
    job = await personal(store, account)
    first = c.Erase(reason="r", fields=("user",))
    assert await store.erasure.erase(account, job, first, BY) == Erased(11, 1)
    digests = await query(dsn, "SELECT erased FROM events WHERE version = 1")
    assert await store.erasure.erase(account, job, first, BY) is None
    assert await store.history.head(account) == 11
    assert await store.erasure.erase(account, job, ALL, BY) == Erased(12, 9)
    assert await query(dsn, "SELECT erased FROM events WHERE version = 1") == digests, "what was recorded first"
    assert await store.erasure.erase(account, job, ALL, BY) is None
    assert [e.data for e in await store.history.of_job(account, job, after=10)] == [
        '{"reason":"r","fields":["user"]}',
        '{"reason":"she asked for it"}',
    ]
    assert await assert_sound(dsn) == 12


async def test_a_job_goes_on_after_an_erasure_and_what_it_says_then_stays(store: Store, account: int, dsn: str) -> None:
    job = await personal(store, account, c.Start(message=SECRET))
    await store.erasure.erase(account, job, ALL, BY)
    async with Store(dsn) as fresh:
        for i, node in enumerate((store, fresh, store)):
            await node.ledger.append(note(account, job, i))
            assert SECRET not in await shown(node, account, job)
        await fresh.ledger.append(say(account, job, c.Complete(message="bye")))
    assert await assert_sound(dsn) == 7


async def test_a_removed_job_can_be_erased_and_stays_removed(store: Store, account: int, dsn: str) -> None:
    job = await personal(store, account, c.Fail(error=SECRET), c.Remove(reason=SECRET))
    assert await store.erasure.erase(account, job, ALL, BY) == Erased(4, 3)
    where = await store.views.where(account, job)
    assert where is not None
    assert (where.version, where.removed) == (4, True)
    past = [await store.past.where(account, job, position) for position in (2, 3, 4)]
    assert [place is not None and place.removed for place in past] == [False, True, True]
    assert await store.jobs.latest(account, [job]) == []
    assert await store.jobs.page(account, limit=9) == []
    assert await store.past.latest(account, 4, [job]) == []
    assert SECRET not in dumped(dsn)
    await assert_sound(dsn)


async def test_a_claim_that_was_erased_stands_in_nobodys_way(store: Store, account: int) -> None:
    job = await personal(store, account)
    await store.erasure.erase(account, job, ALL, BY)
    again = c.Submit(uid=uuid7(now()), kind="x", claim=SECRET)
    done = await store.ledger.append(Append(account, None, (again,), "acme/tests", exclusive=True))
    assert done.job == job + 1


async def test_no_node_shows_again_what_it_had_folded_before(store: Store, account: int, dsn: str) -> None:
    async with Store(dsn) as other:
        job = await personal(store, account, key="k", digest=bytes(32))
        for node in (store, other):
            assert SECRET in await shown(node, account, job)
        await store.erasure.erase(account, job, ALL, BY)
        for node in (store, other):
            assert SECRET not in await shown(node, account, job)
        repeated = await other.ledger.append(submit(account, key="k", digest=bytes(32)))
        assert repeated.repeated


async def test_a_request_that_comes_again_is_not_answered_from_before_the_erasure(
    store: Store, account: int, dsn: str
) -> None:
    request = {"key": "k", "digest": bytes(32)}
    async with Store(dsn) as other:
        job = await personal(store, account, c.Start(), **request)
        done = await other.ledger.append(say(account, job, c.Annotate(note=SECRET), key="n", digest=bytes(32)))
        assert SECRET in (await other.views.show_after(account, done, native.PROJECTION)).body.decode()
        await store.erasure.erase(account, job, ALL, BY)
        again = await other.ledger.append(say(account, job, c.Annotate(note=SECRET), key="n", digest=bytes(32)))
        answer = await other.views.show_after(account, again, native.PROJECTION)
        assert (again.repeated, answer.version) == (True, done.version)
        assert SECRET not in answer.body.decode()


async def test_a_fold_that_began_before_an_erasure_shows_none_of_it(
    store: Store, account: int, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "PAGE", 3)
    job = await personal(store, account)
    node = Views(store.postgres, store.history)
    load, pages = node._load_news, 0

    async def slowly(wanted: list[tuple[int, int, int]]) -> Any:
        nonlocal pages
        found = await load(wanted)
        pages += 1
        if pages == 2:
            await store.erasure.erase(account, job, ALL, BY)
        return found

    monkeypatch.setattr(node._news, "_load", slowly)
    where = await node.where(account, job)
    assert where is not None
    folded = await node.show(account, job, where._replace(version=where.version + 1), native.PROJECTION)
    assert SECRET not in folded.body.decode()
    assert (pages, folded.version) == (3 + 4 + 1, 11)


async def test_a_memo_of_before_is_not_written_after(store: Store, account: int, dsn: str) -> None:
    job = await personal(store, account)
    keeper = memos.Memos(store.postgres)
    slot = (account, job, "native")
    async with holding(dsn, "SELECT FROM heads FOR UPDATE"):
        erasing = asyncio.create_task(store.erasure.erase(account, job, ALL, BY))
        await until_locked(dsn)
        await keeper.keep(slot, native.PROJECTION, Memo(9, 9, SECRET))  # the erasure will take it away
    await erasing
    assert await query(dsn, "SELECT FROM views") == []
    await keeper.keep(slot, native.PROJECTION, Memo(10, 10, SECRET))
    assert await query(dsn, "SELECT FROM views") == []
    await keeper.keep(slot, native.PROJECTION, Memo(11, 11, "clean"))
    assert [row[0] for row in await query(dsn, "SELECT memo FROM views")] == ["clean"]


async def test_a_memo_under_way_waits_for_the_erasure_and_is_not_written(store: Store, account: int, dsn: str) -> None:
    job = await personal(store, account)
    keeper = memos.Memos(store.postgres)
    async with holding(dsn, "SELECT FROM jobs FOR UPDATE") as let_go:
        writing = asyncio.create_task(keeper.keep((account, job, "native"), native.PROJECTION, Memo(9, 9, SECRET)))
        await until_locked(dsn)
        erasing = asyncio.create_task(store.erasure.erase(account, job, ALL, BY))
        await until_locked(dsn, 2)
        await let_go()
        await asyncio.gather(writing, erasing)
    assert await query(dsn, "SELECT FROM views") == []


async def test_a_memo_may_be_written_while_an_append_moves_the_row(store: Store, account: int, dsn: str) -> None:
    job = await personal(store, account)
    async with holding(dsn, "UPDATE jobs SET version = version"):
        async with asyncio.timeout(5):
            await memos.Memos(store.postgres).keep((account, job, "native"), native.PROJECTION, Memo(9, 9, "m"))
    assert await query(dsn, "SELECT FROM views")


@pytest.mark.parametrize("statement", ["PAYLOADS", "ROW", "VIEWS"])
async def test_interrupted_anywhere_nothing_has_happened_and_running_it_again_does_it(
    store: Store, account: int, dsn: str, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    from jobstore.store import erasure

    job = await personal(store, account)
    tables = ("events", "jobs", "heads", "views")
    before = [await query(dsn, f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]
    with monkeypatch.context() as patch:
        patch.setattr(erasure, statement, "SELECT pg_terminate_backend(pg_backend_pid()), $1::int, $2::int")
        with pytest.raises((asyncpg.PostgresError, Exception)):
            await store.erasure.erase(account, job, ALL, BY)
    assert [await query(dsn, f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables] == before
    assert await store.erasure.erase(account, job, ALL, BY) == Erased(11, 9)
    await assert_sound(dsn)


async def test_what_cannot_be_erased_is_told(store: Store, account: int, dsn: str) -> None:
    job = await new_job(store, account)
    for command in (
        c.Erase(reason="r", fields=("nonsense",)), c.Erase(reason="r", fields=("kind",)), c.Erase(reason=""),
        c.Erase(reason="r", fields=("reason", "")), c.Erase(reason="\udcff"), c.Erase(reason="x" * 10_001),
    ):  # fmt: skip
        with pytest.raises(Mistaken):
            await store.erasure.erase(account, job, command, BY)
    with pytest.raises(NoSuchJob):
        await store.erasure.erase(account, job + 1, ALL, BY)
    with pytest.raises(NoSuchAccount):
        await store.erasure.erase(account + 1, job, ALL, BY)
    assert await assert_sound(dsn) == 2


async def test_the_one_way_past_the_trigger_is_an_erasure_that_says_so(store: Store, account: int, dsn: str) -> None:
    job = await personal(store, account)
    await store.erasure.erase(account, job, c.Erase(reason="r", fields=("user",)), BY)
    other = await new_job(store, account)
    event = "INSERT INTO events SELECT account_id, position + 1, {job}, 12, '{type}', at, '{{}}', by, NULL, hash, NULL "
    last = "FROM events ORDER BY position DESC LIMIT 1;"
    take = "UPDATE events SET data = '{}', erased = sha256(convert_to(data, 'UTF8')) WHERE version = 2 AND job = 1"
    own = event.format(job=job, type="erased") + last
    for statement in (
        take,  # nobody says so
        event.format(job=job, type="annotated") + last + take,
        event.format(job=other, type="erased") + last + take,  # of another job
        own + take.replace("sha256(convert_to(data, 'UTF8'))", "sha256('x')"),
        own + take.replace(", erased = sha256(convert_to(data, 'UTF8'))", ""),
        own + take.replace("'{}'", '\'{"stage":"another"}\''),
        own + take.replace("'{}'", "'{\"more\":1}'"),
        own + take.replace("'{}'", "'[]'"),
        own + take.replace("data = '{}',", "data = '{}', hash = hash,"),
        own + take.replace("version = 2", "type = 'erased'"),  # nor what says so
        own + "UPDATE events SET erased = NULL WHERE version = 1 AND job = 1",
        own + "UPDATE events SET erased = sha256('x') WHERE version = 1 AND job = 1",
    ):
        connection = await asyncpg.connect(dsn)
        with pytest.raises((asyncpg.RestrictViolationError, asyncpg.InvalidParameterValueError)):
            await connection.execute(f"BEGIN; {statement}; COMMIT")
        await connection.close()
    assert await assert_sound(dsn) == 13
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"BEGIN; {own} {take}; ROLLBACK")  # as an erasure does
    await connection.close()


@pytest.mark.parametrize("seed", range(3))
async def test_erasures_beside_appends_and_polls_leave_a_sound_store_that_shows_nothing_of_it(
    store: Store, account: int, dsn: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "MEMO_AFTER", 3)
    monkeypatch.setattr(views, "PAGE", 4)
    dice = random.Random(seed)
    jobs = [await personal(store, account) for _ in range(3)]
    gone: set[int] = set()
    async with Store(dsn) as other:

        async def write(node: Store) -> None:
            for i in range(30):
                done = await node.ledger.append(note(account, dice.choice(jobs), f"{id(node)} {i}"))
                await node.views.show_after(account, done, native.PROJECTION)

        async def read(node: Store) -> None:
            for _ in range(40):
                job = dice.choice(jobs)
                was = job in gone
                where = await node.views.where(account, job)
                assert where is not None
                projection = dice.choice(list(PROJECTIONS.values()))
                body = (await node.views.show(account, job, where, projection)).body.decode()
                assert not (was and SECRET in body)

        async def erase() -> None:
            for job in jobs:
                await store.erasure.erase(account, job, ALL, BY)
                gone.add(job)

        await asyncio.gather(write(store), write(other), read(store), read(other), erase())
        await asyncio.gather(store.views.close(), other.views.close())
    assert SECRET not in dumped(dsn)
    await assert_sound(dsn)


async def test_a_projection_made_ahead_is_scrubbed_too(
    store: Store, account: int, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobstore.store.projecting.MEMO_AFTER", 2)
    job = await personal(store, account)
    for format in FORMATS.values():
        steps = [step async for step in store.projecting.project(account, format.projection)]
        assert steps == [Step(1, 1), Step(0, 0)]
    await store.erasure.erase(account, job, ALL, BY)
    assert await query(dsn, "SELECT FROM views") == []
