"""A process that writes: `python -m tests.store.writer DSN ACCOUNT COUNT SEED`; it prints which positions it was told.

For comparison it also adds rows to the table `numbered`, whose numbers come from a sequence.
"""

import asyncio
import json
import random
import sys
from typing import Final

from jobstore.job import commands as c
from jobstore.store import Store
from jobstore.store.clock import now, uuid7
from jobstore.store.request import Append

AT_ONCE: Final = 4  # writers a process


async def write(store: Store, account_id: int, count: int, dice: random.Random) -> list[int]:
    """Append `count` times, some of them several events; the positions."""
    told: list[int] = []
    job: int | None = None
    for i in range(count):
        if job is None or dice.random() < 0.1:
            commands: tuple[c.Command, ...] = (c.Submit(uid=uuid7(now()), kind="lost"),)
            job = None
        else:
            notes = [c.Annotate(note=f"{i} {k} {dice.random()}") for k in range(dice.choice([1, 1, 3]))]
            commands = tuple(notes)
        done = await store.ledger.append(Append(account_id, job, commands, "acme/writer"))
        job = done.job
        told += [event.position for event in done.events]
    return told


async def number(store: Store, count: int) -> int:
    """Add `count` rows to the table `numbered`, each in a transaction; how many."""
    async with store.postgres.connection() as connection:
        for _ in range(count):
            await connection.execute("INSERT INTO numbered DEFAULT VALUES")
    return count


async def main(dsn: str, account_id: int, count: int, seed: int) -> None:
    """Write, and say what was written."""
    dice = random.Random(seed)
    async with Store(dsn) as store:
        told, numbered = await asyncio.gather(
            asyncio.gather(*[write(store, account_id, count, dice) for _ in range(AT_ONCE)]),
            asyncio.gather(*[number(store, count) for _ in range(AT_ONCE)]),
        )
    print(json.dumps({"told": [position for positions in told for position in positions], "numbered": sum(numbered)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
