"""Knows how to keep a server busy with jobs that look alive; it talks to it as any client does."""

import asyncio
import random
from typing import Any, Final

import aiohttp

AT_ONCE: Final = 8  # jobs
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "metrics.update": ("resolve names", "write", "roll up"),
    "create_subtraction": ("mk_subtraction_dir", "set_stats", "bowtie_build", "update_db"),
    "analytics.publish": ("read source", "apply template", "publish"),
    "package.run": ("start cluster", "extract", "transform", "load"),
    "tickets.create_many": ("validate", "create", "notify"),
}


async def play(address: str, key: str) -> None:
    """Submit and work off simulated jobs, for ever."""
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(address, headers=headers) as client, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(_worker(client))


async def _worker(client: aiohttp.ClientSession) -> None:
    await asyncio.sleep(random.uniform(0, 2))
    while True:
        try:
            await _live(client, random.choice(list(KINDS)))
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(1)


async def _live(client: aiohttp.ClientSession, kind: str) -> None:
    """One job, from its submission to one of its ends."""
    total = random.randint(3, 40)
    job = await _post(client, "/jobs", {"kind": kind, "args": {"items": total}, "total": total, "user": "demo"})
    path = f"/jobs/{job['number']}/events"
    await _pause(0.2, 3)
    await _post(client, path, {"type": "starting"})
    await _pause(0.2, 1)
    stages = KINDS[kind]
    await _post(client, path, {"type": "started", "stage": stages[0]})
    fate = random.random()
    for done in range(1, (total if fate > 0.3 else random.randint(1, total)) + 1):
        await _pause(0.1, 0.8)
        stage = stages[min(len(stages) - 1, done * len(stages) // total)]
        await _post(client, path, {"type": "progressed", "done": done, "stage": stage})
    if fate < 0.15:
        await _post(client, path, {"type": "failed", "error": {"reason": "ENOSPC"}, "message": "no space left"})
    elif fate < 0.3:
        await _post(client, path, [{"type": "stop_requested", "reason": "not needed any more"}, {"type": "stopping"}])
        await _pause(0.5, 1.5)
        await _post(client, path, {"type": "cancelled"})
    else:
        output = {"name": f"{kind}.csv", "records": total}
        await _post(client, path, [{"type": "output_produced", "output": output}, {"type": "completed"}])


async def _pause(least: float, most: float) -> None:
    """Simulated work, in seconds."""
    await asyncio.sleep(random.uniform(least, most))


async def _post(client: aiohttp.ClientSession, path: str, body: Any) -> Any:
    async with client.post(path, json=body, raise_for_status=True) as response:
        return await response.json()
