"""Poll: exact polls over HTTP against aiohttp answering the same bytes as a constant, 304s, each vendor's, and the
endpoint that is usual where no library is used."""

import asyncio
from functools import partial

import uvloop

from benchmarks.load import rate, request
from benchmarks.measure import Report, alone, postgres
from benchmarks.serving import process, serve_constant, serve_jobs
from jobstore.formats import FORMATS, native
from jobstore.job.commands import ReportProgress, Start, Submit
from jobstore.job.projection import Audience
from jobstore.store import Store
from jobstore.store.clock import now, uuid7
from jobstore.store.request import Append

JOBS = 1_000
CONNECTIONS = 100


async def fill(dsn: str) -> tuple[str, list[tuple[int, str]], bytes]:
    """A key, the numbers and uids of running jobs, and what one of them looks like."""
    async with Store(dsn) as store:
        account = await store.accounts.create("acme")
        _, key = await store.accounts.create_key("acme", "read")

        async def one() -> tuple[int, str]:
            command = Submit(uid=uuid7(now()), kind="index.build", args={"index": "users"})
            said = (command, Start(stage="load"), ReportProgress(fraction=0.4, message="row 17"))
            return (await store.ledger.append(Append(account, None, said, "acme/bench"))).job, command.uid

        jobs = list(await asyncio.gather(*(one() for _ in range(JOBS))))
        number, _ = jobs[0]
        where = await store.views.where(account, number)
        assert where is not None
        return key, jobs, (await store.views.show(account, number, where, native.PROJECTION)).body


def main(report: Report) -> None:
    """Measure."""
    with postgres() as dsn:
        key, jobs, body = uvloop.run(fill(dsn))
        with process(serve_jobs, dsn) as ours, process(serve_constant, body) as constant:
            uvloop.run(_compare(report, dsn, key, jobs, ours, constant))


async def _compare(report: Report, dsn: str, key: str, jobs: list[tuple[int, str]], ours: int, constant: int) -> None:
    polls = [request(f"/jobs/{number}", key) for number, _ in jobs]
    known = [request(f"/jobs/{number}", key, 'If-None-Match: "3"') for number, _ in jobs]
    count = 5_000 if report.quick else 15_000

    async def answered() -> float:
        return await rate(constant, polls, count=count, connections=CONNECTIONS)

    async def unchanged() -> float:
        return await rate(ours, known, count=count, connections=CONNECTIONS, status=304)

    async def poll() -> float:
        return await rate(ours, polls, count=count, connections=CONNECTIONS)

    limit = "aiohttp answering a constant"
    await report.compare("poll", "exact poll", limit, poll, answered, unit="polls/s", goal=">= 0.85")
    await report.compare("poll", "304", limit, unchanged, answered, unit="polls/s", goal=">= 0.9")
    try:
        from benchmarks.peers.endpoint import Endpoint
    except ImportError as error:
        report.lacks("poll", "exact poll", "FastAPI and asyncpg", error)
    else:
        async with Endpoint(dsn) as peer:
            theirs = partial(peer.polled, CONNECTIONS, count // 4)
            await report.compare("poll", "exact poll", "FastAPI and asyncpg", poll, theirs, unit="polls/s")
    for format in FORMATS.values():
        spoken = [request(format.location(*job, Audience("", "acme", format.revisions[0])), key) for job in jobs]

        async def told(requests: list[bytes] = spoken) -> float:
            return await rate(ours, requests, count=count, connections=CONNECTIONS)

        await report.compare(
            "poll", f"exact poll as {format.name}", "native", told, poll, unit="polls/s", goal=">= 0.9"
        )


if __name__ == "__main__":
    alone(main, __doc__)
