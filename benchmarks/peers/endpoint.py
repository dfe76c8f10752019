"""Knows the endpoint that is usually written by hand: a table of jobs and one of events; must not know jobstore.

FastAPI 0.165 as its documentation has it, with a model for the body and an asyncpg pool of 10, under uvicorn, uvloop,
and httptools where it is installed, no access log, in a process of its own. An event updates the job's row and is
inserted, in one transaction. There is no order, version or key; all that is checked is that the job is there.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Final, Self

import asyncpg
import orjson
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from benchmarks.load import post, rate, request
from benchmarks.peers.database import database
from benchmarks.serving import process

JOBS: Final = 2_000

_TABLES: Final = """
CREATE TABLE jobs (
    id bigint PRIMARY KEY,
    kind text NOT NULL,
    status text NOT NULL,
    progress double precision NOT NULL DEFAULT 0,
    message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE job_events (
    id bigserial PRIMARY KEY,
    job_id bigint NOT NULL REFERENCES jobs,
    status text NOT NULL,
    progress double precision NOT NULL,
    message text,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON job_events (job_id, id);
"""
_FILL: Final = "INSERT INTO jobs (id, kind, status) SELECT i, 'index.build', 'working' FROM generate_series(1, $1) i"
_UPDATE: Final = "UPDATE jobs SET status = $2, progress = $3, message = $4, updated_at = now() WHERE id = $1"
_INSERT: Final = "INSERT INTO job_events (job_id, status, progress, message) VALUES ($1, $2, $3, $4)"
_SELECT: Final = "SELECT id, kind, status, progress, message, created_at, updated_at FROM jobs WHERE id = $1"


class Report(BaseModel):
    """What a worker says."""

    status: str
    progress: float
    message: str | None = None


def application(dsn: str) -> FastAPI:
    """The app."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(dsn, min_size=10, max_size=10) as pool:
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=lifespan)

    async def append(id: int, report: Report) -> dict[str, Any]:
        said = (id, report.status, report.progress, report.message)
        async with app.state.pool.acquire() as connection, connection.transaction():
            if await connection.execute(_UPDATE, *said) == "UPDATE 0":
                raise HTTPException(404, "no such job")
            await connection.execute(_INSERT, *said)
        return {"recorded": True}

    async def show(id: int) -> dict[str, Any]:
        row = await app.state.pool.fetchrow(_SELECT, id)
        if row is None:
            raise HTTPException(404, "no such job")
        return dict(row)

    app.add_api_route("/jobs/{id}/events", append, methods=["POST"])
    app.add_api_route("/jobs/{id}", show, methods=["GET"])
    return app


def serve(dsn: str, listener: socket.socket) -> None:
    """Run the app until this process is ended."""
    config = uvicorn.Config(application(dsn), loop="uvloop", http="auto", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


class Endpoint:
    """The endpoint, with its tables on the server behind `dsn`."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._open = ExitStack()
        self.port = 0

    async def __aenter__(self) -> Self:
        dsn = await database(self._dsn, "peer_endpoint")
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(_TABLES)
            await connection.execute(_FILL, JOBS)
        finally:
            await connection.close()
        self.port = self._open.enter_context(process(serve, dsn, fresh=True))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open.close()

    async def appended(self, concurrency: int, count: int) -> float:
        """Events a second, each committed and acknowledged by itself, over that many connections."""
        said = ({"status": "working", "progress": number / JOBS, "message": f"row {number}"} for number in range(JOBS))
        requests = [post(f"/jobs/{number}/events", orjson.dumps(value)) for number, value in enumerate(said, 1)]
        return await rate(self.port, requests, count=count, connections=concurrency)

    async def polled(self, concurrency: int, count: int) -> float:
        """Polls a second, over that many connections."""
        requests = [request(f"/jobs/{number}") for number in range(1, JOBS + 1)]
        return await rate(self.port, requests, count=count, connections=concurrency)
