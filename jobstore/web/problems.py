"""Knows what every failure is called, and how the native dialect tells it: as application/problem+json (RFC 9457)."""

import logging
from typing import Any, Final

import msgspec
import orjson
from aiohttp import web

from jobstore.formats.contract import Failure
from jobstore.job.decider import Refused
from jobstore.store.postgres import Unavailable
from jobstore.store.request import Claimed, Conflict, IdTaken, KeyReused, NoSuchJob

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

_TITLES: Final[dict[str, tuple[int, str]]] = {
    "bad-request": (400, "The request cannot be read"),
    "unauthorized": (401, "A key is needed"),
    "forbidden": (403, "The key's scope does not allow this"),
    "not-found": (404, "There is no such thing here"),
    "method-not-allowed": (405, "This address does not take that method"),
    "timeout": (408, "The request's body did not arrive in time"),
    "refused": (409, "The job's state does not allow this"),
    "gone": (410, "The job was removed"),
    "taken": (409, "That is taken"),
    "version-differs": (412, "The job is at another version"),
    "not-reached": (412, "The log has not reached that position"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "The body is of a type that is not read here"),
    "malformed": (422, "The request makes no sense"),
    "key-reused": (422, "The idempotency key belongs to another request"),
    "throttled": (429, "The account has used up its rate"),
    "unavailable": (503, "The store cannot be reached right now"),
    "internal": (500, "Something is wrong with the server"),
}


class Problem(Exception):
    """A failure with a name from the list above, what it means here, and anything else the client can use."""

    def __init__(self, name: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.name = name
        self.status, self.title = _TITLES[name]
        self.detail = detail.encode(errors="backslashreplace").decode()  # it may quote bytes of the request
        self.headers = headers or {}
        self.more = more

    def body(self) -> dict[str, Any]:
        """The members of the problem document."""
        return {
            "type": f"urn:jobstore:problem:{self.name}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }

    def response(self) -> web.Response:
        """The answer."""
        return web.Response(
            status=self.status, body=orjson.dumps(self.body()), content_type=MEDIA_TYPE, headers=self.headers
        )


def explain(error: Exception) -> Problem:
    """What a failure means to a client."""
    match error:
        case Problem():
            return error
        case Refused():
            return Problem("refused", str(error))
        case NoSuchJob():
            return Problem("not-found", "there is no such job")
        case Conflict():
            return Problem("version-differs", str(error), headers={"ETag": f'"{error.version}"'}, version=error.version)
        case IdTaken():
            return Problem("taken", "the account has a job with this id")
        case Claimed():
            return Problem("taken", f"job {error.number} makes, or has made, the same", job=error.number)
        case Failure():
            return Problem(error.name, error.detail)
        case KeyReused():
            return Problem("key-reused", str(error))
        case msgspec.ValidationError():
            return Problem("malformed", str(error))
        case Unavailable():
            return Problem("unavailable", f"{error}; try again in a moment", headers={"Retry-After": "1"})
        case web.HTTPException():
            return _of_http(error)
        case _:
            log.error("an unexpected failure", exc_info=error)
            return Problem("internal", "the server's log has the details")


def _of_http(error: web.HTTPException) -> Problem:
    match error.status:
        case 404:
            return Problem("not-found", "there is nothing at this address")
        case 405:
            allowed = error.headers.get("Allow", "")
            return Problem("method-not-allowed", f"try {allowed}", headers={"Allow": allowed})
        case 413:
            return Problem("too-large", "the body is larger than this server takes")
        case 415:
            return Problem("unsupported-media-type", error.reason)
        case _:
            return Problem("bad-request", error.text or error.reason)


def break_off(request: web.Request, error: Exception) -> None:
    """End an answer that has begun and cannot be finished, in a way that nobody takes for its proper end."""
    if not isinstance(error, ConnectionError | TimeoutError):  # or else it is the client that has gone, or stalls
        explain(error)
    if request.transport is not None:
        request.transport.abort()
