"""Growth: a job of 10,000 events against a job of 10, polled over HTTP and appended to by one caller."""

import time

import uvloop

from benchmarks.http import rate, request
from benchmarks.measure import compare, hardware, options, postgres
from benchmarks.poll import process, serve_jobs
from jobstore.job.commands import Command, ReportProgress, Start, Submit
from jobstore.store import Store
from jobstore.store.batch import Append
from jobstore.store.clock import now, uuid7

LONG = 10_000
SHORT = 10
POLLS = 5_000  # a round
APPENDS = 300  # a round


async def fill(dsn: str) -> tuple[str, int, int, int]:
    """A key, the account's id, the number of a long job and of a short one."""
    async with Store(dsn) as store:
        account = await store.accounts.create("acme")
        _, key = await store.accounts.create_key("acme", "read")
        numbers = []
        for length in (LONG, SHORT):
            said: list[Command] = [Submit(uid=uuid7(now()), kind="index.build"), Start()]
            said += [ReportProgress(fraction=step / length, message=f"row {step}") for step in range(length - 2)]
            first = await store.ledger.append(Append(account, None, tuple(said[:500]), "acme/bench"))
            for start in range(500, length, 500):
                await store.ledger.append(Append(account, first.job, tuple(said[start : start + 500]), "acme/bench"))
            numbers.append(first.job)
        return key, account, numbers[0], numbers[1]


def main(dsn: str, rounds: int) -> None:
    key, account, long, short = uvloop.run(fill(dsn))
    with process(serve_jobs, dsn) as port:

        async def run() -> None:
            async def poll(job: int) -> float:
                asked = await rate(port, [request(f"/jobs/{job}", key)], count=POLLS, connections=20)
                return 1e6 / asked

            async def append(job: int) -> float:
                begin = time.perf_counter()
                for turn in range(APPENDS):
                    said = ReportProgress(fraction=turn / APPENDS, message=f"{begin}")
                    await store.ledger.append(Append(account, job, (said,), "acme/bench"))
                return (time.perf_counter() - begin) / APPENDS * 1e6

            what = f"job of {LONG:,} events / of {SHORT}"
            async with Store(dsn) as store:
                await compare(
                    f"poll, {what}", lambda: poll(long), lambda: poll(short), rounds=rounds, unit="us", goal="<= 1.2"
                )
                await compare(
                    f"append, {what}", lambda: append(long), lambda: append(short), rounds=rounds, unit="us",
                    goal="<= 1.2",
                )  # fmt: skip

        uvloop.run(run())


if __name__ == "__main__":
    arguments = options(__doc__)
    print(hardware())
    with postgres() as dsn:
        main(dsn, arguments.rounds)
