"""Knows which address is answered by what. The application holds a store that somebody else opens and closes."""

from typing import Any, Final

from aiohttp import web

from jobstore.store import Store
from jobstore.web import bulk, checkpoints, dialects, events, health, jobs, openapi
from jobstore.web.bodies import MOST
from jobstore.web.credentials import GATE, RATES
from jobstore.web.naming import STORE
from jobstore.web.telling import sign, tell

NATIVE: Final = (
    web.post("/jobs", jobs.submit),
    web.get("/jobs", jobs.index),
    web.get("/jobs/{id}", jobs.poll),
    web.post("/jobs/{id}/events", events.report),
    web.get("/jobs/{id}/events", events.history),
    web.post("/events", bulk.bulk),
    web.get("/events", events.log),
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


def application(store: Store, *, url: str | None = None) -> web.Application:
    """The app that serves `store`. Addresses in vendors' answers begin with `url`, or else as the client's own did."""
    app = web.Application(middlewares=[tell], client_max_size=MOST)
    app[STORE] = store
    app[GATE] = store.gate
    app[RATES] = store.rates
    app[dialects.URL] = (url or "").rstrip("/")
    app[health.METRICS] = health.Metrics()
    store.ledger.listen(app[health.METRICS].hear)
    app.add_routes(ROUTES)
    app.on_response_prepare.append(sign)
    return app
