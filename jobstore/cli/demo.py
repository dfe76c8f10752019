"""Knows how to keep a server busy with jobs that look alive, in every dialect; it talks to it as any client does."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import aiohttp

AT_ONCE: Final = 8  # jobs
ACCOUNT: Final = "default"

Client = aiohttp.ClientSession


class Begun(NamedTuple):
    """A job by any of its ids, of so many tasks, that goes through these stages."""

    id: str
    total: int
    stages: tuple[str, ...]


async def play(address: str, key: str) -> None:
    """Submit and work off simulated jobs, for ever."""
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(address, headers=headers) as client, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(_worker(client))


async def _worker(client: Client) -> None:
    await asyncio.sleep(random.uniform(0, 2))
    while True:
        try:
            submit, work = random.choice(DIALECTS)
            job = await submit(client)
            await _pause(0.2, 3)
            await work(client, job)
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(1)


# -- How each vendor's clients submit a job -----------------------------------------------------------------------


async def _as_native(client: Client) -> Begun:
    total = random.randint(3, 40)
    job = await _ask(client, "POST", "/jobs", {"kind": "index.build", "total": total, "user": "demo"})
    return Begun(job["id"], total, ("scan", "sort", "write"))


async def _as_librato(client: Client) -> Begun:
    async with client.put("/v1/metrics", json={"names": ["cpu.*"], "period": 60}, raise_for_status=True) as response:
        number = response.headers["Location"].rsplit("/", 1)[1]
    return Begun(number, random.randint(3, 40), ("resolve names", "write", "roll up"))


async def _as_virtool(client: Client) -> Begun:
    body = {"kind": "create_subtraction", "args": {"subtraction_id": "Thale"}, "user": "demo", "format": "virtool",
            "extra": {"proc": 2, "mem": 4}}  # fmt: skip
    job = await _ask(client, "POST", "/jobs", body)
    return Begun(job["id"], random.randint(4, 10), ("mk_subtraction_dir", "set_stats", "bowtie_build", "update_db"))


async def _as_roambi(client: Client) -> Begun:
    body = {"title": "Sales", "template_uid": "t-1", "source_file_uid": "f-1", "folder_uid": "d-1", "overwrite": True}
    job = (await _ask(client, "POST", f"/1/accounts/{ACCOUNT}/files/analytics", body))["job"]
    return Begun(job["uid"], random.randint(3, 20), ("read source", "apply template", "publish"))


async def _as_xplenty(client: Client) -> Begun:
    body = {"cluster_id": 52, "package_id": 434, "variables": {"day": "'today'"}}
    job = await _ask(client, "POST", f"/{ACCOUNT}/api/jobs", body)
    return Begun(str(job["id"]), random.randint(3, 20), ("start cluster", "extract", "transform", "load"))


async def _as_zendesk(client: Client) -> Begun:
    tickets = [{"subject": f"Printer on fire ({number})"} for number in range(random.randint(2, 20))]
    job = await _ask(client, "POST", "/api/v2/tickets/create_many.json", {"tickets": tickets})
    return Begun(job["id"], len(tickets), ("validate", "create", "notify"))


# -- How workers report it ----------------------------------------------------------------------------------------


async def _natively(client: Client, job: Begun) -> None:
    """One job, from its first worker to one of its ends."""
    path = f"/jobs/{job.id}/events"
    await _ask(client, "POST", path, {"type": "starting"})
    await _pause(0.2, 1)
    await _ask(client, "POST", path, {"type": "started", "stage": job.stages[0]})
    fate = random.random()
    for done in range(1, (job.total if fate > 0.3 else random.randint(1, job.total)) + 1):
        await _pause(0.1, 0.8)
        said = {"type": "progressed", "done": done, "total": job.total, "stage": _stage(job, done)}
        await _ask(client, "POST", path, said)
    if fate < 0.15:
        await _ask(client, "POST", path, {"type": "failed", "error": {"reason": "ENOSPC"}, "message": "no space left"})
    elif fate < 0.3:
        await _ask(client, "POST", path, [{"type": "stop_requested", "reason": "not needed"}, {"type": "stopping"}])
        await _pause(0.5, 1.5)
        await _ask(client, "POST", path, {"type": "cancelled"})
    else:
        output = {"name": "report.csv", "records_count": job.total, "preview": "id,name\n1,one\n2,two"}
        await _ask(client, "POST", path, [{"type": "output_produced", "output": output}, {"type": "completed"}])


async def _as_virtool_does(client: Client, job: Begun) -> None:
    """The same with a key of the job's own, and a status pushed at every step."""
    acquired = await _ask(client, "PATCH", f"/api/jobs/{job.id}", {"acquired": True})
    worker = {"Authorization": aiohttp.BasicAuth(f"job-{job.id}", acquired["key"]).encode()}
    for done in range(job.total + 1):
        await _pause(0.2, 1)
        state = "running" if done < job.total else "complete" if random.random() > 0.2 else "error"
        error = {"type": "SubprocessError", "details": ["bowtie-build"]} if state == "error" else None
        said = {"state": state, "stage": _stage(job, done), "progress": 100 * done // job.total, "error": error}
        await _ask(client, "POST", f"/api/jobs/{job.id}/status", said, headers=worker)


DIALECTS: Final[tuple[tuple[Callable[[Client], Awaitable[Begun]], Callable[[Client, Begun], Awaitable[None]]], ...]] = (
    (_as_native, _natively),
    (_as_librato, _natively),
    (_as_virtool, _as_virtool_does),
    (_as_roambi, _natively),
    (_as_xplenty, _natively),
    (_as_zendesk, _natively),
)


def _stage(job: Begun, done: int) -> str:
    return job.stages[min(len(job.stages) - 1, done * len(job.stages) // job.total)]


async def _pause(least: float, most: float) -> None:
    """Simulated work, in seconds."""
    await asyncio.sleep(random.uniform(least, most))


async def _ask(client: Client, method: str, path: str, body: Any, **more: Any) -> Any:
    async with client.request(method, path, json=body, raise_for_status=True, **more) as response:
        return await response.json()
