"""A reader who remembers the last position seen misses nothing, however the transactions of the writers overlap.

Other event stores draw a number at INSERT, which shows at COMMIT, and lose what commits late. The same reader on such a
table, written by the same processes at the same time, does lose rows here: so the race is there.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncpg

from jobstore.store import Store
from tests.store.asking import query
from tests.store.sound import assert_sound

PROCESSES, COUNT = 3, 60

OVERLAP = """
CREATE TABLE numbered (number bigserial PRIMARY KEY);
CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.3 THEN PERFORM pg_sleep(random() * 0.01); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER take_time AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION take_time();
CREATE TRIGGER take_time AFTER INSERT ON numbered FOR EACH STATEMENT EXECUTE FUNCTION take_time();
"""


async def writer(dsn: str, account: int, seed: int) -> Any:
    """What a process of its own was told."""
    arguments = ("-m", "tests.store.writer", dsn, str(account), str(COUNT), str(seed))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(output)


async def follow_log(store: Store, account: int, over: asyncio.Event) -> list[int]:
    """The positions in the order in which a reader sees them."""
    seen: list[int] = []
    while True:
        last_look = over.is_set()
        page = await store.history.of_account(account, after=seen[-1] if seen else 0, limit=7)
        seen += [entry.position for entry in page]
        if last_look and not page:
            return seen


async def follow_numbers(dsn: str, over: asyncio.Event) -> list[int]:
    """The same reader, on the table whose numbers come from a sequence."""
    connection = await asyncpg.connect(dsn)
    seen: list[int] = []
    while True:
        last_look = over.is_set()
        rows = await connection.fetch(
            "SELECT number FROM numbered WHERE number > $1 ORDER BY number LIMIT 7", seen[-1] if seen else 0
        )
        seen += [row["number"] for row in rows]
        if last_look and not rows:
            await connection.close()
            return seen


async def test_a_reader_who_follows_by_position_sees_every_event_once_and_in_order(
    dsn: str, store: Store, account: int
) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(OVERLAP)
    await connection.close()

    over = asyncio.Event()
    readers = asyncio.gather(
        follow_log(store, account, over), follow_log(store, account, over), follow_numbers(dsn, over)
    )
    async with asyncio.timeout(60):
        written = await asyncio.gather(*[writer(dsn, account, seed) for seed in range(PROCESSES)])
        over.set()
        first, second, numbers = await readers

    told = sorted(position for process in written for position in process["told"])
    assert told == list(range(1, len(told) + 1))
    assert first == second == told
    assert await assert_sound(dsn) == len(told)

    numbered = sum(process["numbered"] for process in written)
    lost = numbered - len(numbers)
    assert lost > 0, "no transactions overlapped: this test showed nothing"
    assert len(await query(dsn, "SELECT FROM numbered")) == numbered, "what was missed is there, too late to be seen"
