"""Knows how the server tells its surroundings how it is: alive, ready, and how much it has done."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from jobstore.store.batch import Draft
from jobstore.web.naming import STORE
from jobstore.web.problems import Problem

PATIENCE: Final = 2.0  # seconds


class Metrics:
    """What this process has done since it started, and how many `readers` of feeds it has."""

    def __init__(self, readers: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._events = Counter("jobstore_events", "Events recorded", registry=self.registry)
        self._refused = Counter("jobstore_refusals", "Requests that recorded nothing because they were refused",
                                registry=self.registry)  # fmt: skip
        self._batch = Histogram("jobstore_batch_requests", "Requests written by one transaction",
                                buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500), registry=self.registry)  # fmt: skip
        Gauge("jobstore_feed_readers", "Feeds that are being read", registry=self.registry).set_function(readers)

    def hear(self, draft: Draft) -> None:
        """This process has committed `draft`."""
        self._events.inc(len(draft.events))
        self._refused.inc(sum(isinstance(outcome, Exception) for _, outcome in draft.outcomes))
        self._batch.observe(len(draft.outcomes))


METRICS: Final = web.AppKey("metrics", Metrics)


async def alive(request: web.Request) -> web.Response:
    """GET /healthz: the process answers."""
    return web.json_response({"status": "alive"})


async def ready(request: web.Request) -> web.Response:
    """GET /readyz: Postgres answers too."""
    try:
        async with asyncio.timeout(PATIENCE), request.app[STORE].postgres.connection() as connection:
            await connection.fetchval("SELECT 1")
    except Exception:
        raise Problem("unavailable", "Postgres does not answer", headers={"Retry-After": "1"}) from None
    return web.json_response({"status": "ready"})


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics: Prometheus' text format."""
    text = generate_latest(request.app[METRICS].registry)
    return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
