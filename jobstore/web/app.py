"""Knows which address is answered by what. The application holds a store that somebody else opens and closes."""

from typing import Any, Final

from aiohttp import web

from jobstore.store import Store
from jobstore.web import bulk, events, health, jobs, openapi
from jobstore.web.bodies import MOST
from jobstore.web.credentials import GATE
from jobstore.web.problems import tell

ROUTES: Final = (
    web.post("/jobs", jobs.submit),
    web.get("/jobs", jobs.index),
    web.get("/jobs/{id}", jobs.poll),
    web.post("/jobs/{id}/events", events.report),
    web.get("/jobs/{id}/events", events.history),
    web.post("/events", bulk.bulk),
    web.get("/events", events.log),
    web.get("/healthz", health.alive),
    web.get("/readyz", health.ready),
    web.get("/metrics", health.metrics),
    web.get("/openapi.json", openapi.document),
)


# How the app is to be run. Bodies are not unpacked: a small one could keep the loop busy for seconds, whoever sent it.
RUNNER: Final[dict[str, Any]] = {"access_log": None, "auto_decompress": False}


def application(store: Store) -> web.Application:
    """The app that serves `store`."""
    app = web.Application(middlewares=[tell], client_max_size=MOST)
    app[jobs.STORE] = store
    app[GATE] = store.gate
    app[health.METRICS] = health.Metrics()
    store.ledger.listen(app[health.METRICS].hear)
    app.add_routes(ROUTES)
    app.on_response_prepare.append(_sign)
    return app


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    """Answers do not tell which releases of which libraries make them."""
    response.headers["Server"] = "jobstore"
