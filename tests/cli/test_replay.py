"""`jobstore replay`: a job's life again, from the database and from a server."""

import asyncio
import json
import signal

from jobstore.job import commands as c
from jobstore.store import Store
from tests.cli.serving import run
from tests.cli.tailing import BOTH, tailing
from tests.store.asking import new_job, say


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
