"""Knows which address is answered by what. The application holds a store that somebody else opens and closes."""

import gc
from collections.abc import Collection
from typing import Any, Final

from aiohttp import web

from jobstore.store import Store
from jobstore.web import bulk, checkpoints, cors, dialects, events, feeds, health, jobs, nowhere, openapi
from jobstore.web.bodies import MOST
from jobstore.web.credentials import GATE, RATES
from jobstore.web.hub import HUB, LIFE, Hub
from jobstore.web.naming import STORE
from jobstore.web.telling import sign, telling

NATIVE: Final = (
    web.post("/jobs", jobs.submit),
    web.get("/jobs", jobs.index),
    web.get("/jobs/{id}", jobs.poll),
    web.post("/jobs/{id}/events", events.report),
    web.get("/jobs/{id}/events", events.history),
    web.post("/events", bulk.bulk),
    web.get("/events", events.log),
    web.get("/jobs/{id}/feed", feeds.job_feed),
    web.get("/feed", feeds.account_feed),
    web.get("/checkpoint", checkpoints.latest),
    web.get("/checkpoint/key", checkpoints.verifier),
    web.get("/healthz", health.alive),
    web.get("/readyz", health.ready),
    web.get("/metrics", health.metrics),
    web.get("/openapi.json", openapi.document),
)
ROUTES: Final = (*dialects.routes(), *NATIVE)


# How the app is to be run. Bodies are not unpacked: a small one could keep the loop busy for seconds, whoever sent it.
RUNNER: Final[dict[str, Any]] = {"access_log": None, "auto_decompress": False}


def settle() -> None:
    """Tell the garbage collector that what is there now stays, and to look for cycles seldom.

    For a process that does nothing but serve, once it is ready to. Nearly all that a request makes is freed when it is
    let go of, so what is looked through again and again is what is under way: a third of the time of a bulk append.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def application(
    store: Store, *, url: str | None = None, origins: Collection[str] = (), feed_life: float = LIFE
) -> web.Application:
    """The app that serves `store`. Addresses in vendors' answers begin with `url`, or else as the client's own did.

    Pages of `origins` may read from it. A feed ends after at most `feed_life` seconds, for its reader to come back.
    """
    app = web.Application(client_max_size=MOST)
    app[STORE] = store
    app[GATE] = store.gate
    app[RATES] = store.rates
    app[dialects.URL] = (url or "").rstrip("/")
    app[HUB] = Hub(store.tail, store.views, store.gate, life=feed_life)
    app[health.METRICS] = health.Metrics(app[HUB].__len__)
    store.ledger.listen(app[health.METRICS].hear)
    app.add_routes(
        web.RouteDef(route.method, route.path, telling(route.handler), route.kwargs)
        for route in (*ROUTES, nowhere.ROUTE)
    )
    app.on_response_prepare.append(sign)
    app.on_shutdown.append(_end_feeds)
    if origins:
        cors.allow(app, origins)
    return app


async def _end_feeds(app: web.Application) -> None:
    await app[HUB].stop()
