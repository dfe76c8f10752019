"""Knows what a format is: a projection, and the calls of a vendor's API as values. Must not know any vendor, nor HTTP.

A format is one file beside this one that ends with `FORMAT = Format(...)`. Its functions are pure: they read a request
that was asked (`Asked`), say what shall be recorded, and put views and failures into the vendor's words (`Reply`).
Where jobs are kept, who asks and how bytes travel is for whoever interprets the calls.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

import msgspec
import orjson
from msgspec import Struct

from jobstore.job.commands import Count, Name, Report, Submit, Text
from jobstore.job.decider import Refused
from jobstore.job.projection import Audience, Projection, V
from jobstore.job.search import Search

T = TypeVar("T")
Schema = Mapping[str, Any]

# -- What was asked, and what is answered -------------------------------------------------------------------------


class Asked(Struct, frozen=True, kw_only=True):
    """A request. `path` holds the names in the address, `query` its parameters in order, `body` what JSON or a form
    said. A form's `job[id]=1` is `{"job": {"id": "1"}}`, its `names[]=a` is `{"names": ["a"]}`. Where a call that
    writes came without a body, its query is taken for the form; None without either."""

    address: str = ""
    path: Mapping[str, str] = {}
    query: Sequence[tuple[str, str]] = ()
    body: Any = None

    def first(self, name: str) -> str | None:
        """The query parameter's first value."""
        return next((value for key, value in self.query if key == name), None)


class Reply(Struct, frozen=True):
    """An answer; a body is JSON unless `headers` say otherwise."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Quota(Struct, frozen=True):
    """What is left of an account's `limit` of requests, for `reset` more seconds."""

    limit: int
    remaining: int
    reset: int


class Failure(Exception):
    """Something that a client is to be told.

    `name` is one of: bad-request (unreadable), unauthorized, forbidden, not-found, method-not-allowed, timeout,
    refused (by the job's state), taken (the id, or what the job makes), version-differs, too-large,
    unsupported-media-type, malformed (readable, but wrong: `fields` says where), throttled (for `seconds`),
    unavailable, internal. `code` is the vendor's own word, where a name is not enough.
    """

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        fields: Mapping[str, Sequence[str]] | None = None,
        code: str | None = None,
        seconds: int = 1,
        allow: str = "",
    ) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail
        self.fields = fields or {}
        self.code = code
        self.seconds = seconds
        self.allow = allow

    def headers(self, status: int, challenge: str, *, waits: Sequence[int] = (429, 503)) -> dict[str, str]:
        """The header fields that go with a status (RFC 9110, 10.2.1, 10.2.3, 11.6.1); `waits` say when to come back."""
        if status == 401:
            return {"WWW-Authenticate": challenge}
        if status == 405:
            return {"Allow": self.allow}
        return {"Retry-After": str(self.seconds)} if status in waits else {}


class New(Struct, frozen=True, kw_only=True):
    """A job to be made. `exclusive`: not when a job that did not fail makes, or has made, what `claim` names."""

    kind: Name
    args: dict[str, Any] = {}
    total: Count | None = None
    user: Name | None = None
    extra: dict[str, Any] = {}
    claim: Text | None = None
    exclusive: bool = False

    def command(self, uid: str) -> Submit:
        """The command, for a job that will have this uid."""
        return Submit(
            uid=uid,
            kind=self.kind,
            args=self.args,
            total=self.total,
            user=self.user,
            extra=self.extra,
            claim=self.claim,
        )


class Page(Struct, frozen=True):
    """Jobs that a list shows: `items` as the call renders each, of `found` that match among the account's `total`."""

    items: Sequence[Any]
    search: Search
    found: int
    total: int


# -- Calls --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Call(Generic[V]):
    """One call of a vendor's API. `paths` are addresses with names in braces, `{id}` being the job's.

    The rest describes the call to people and programs: `query` names parameters with their JSON schemas, `takes` is the
    schema of the body, `answers` of the reply (None: no body), `later` are the statuses of the reply in other revisions
    than the first. `refusals` are the statuses of its failures, besides those that every call, or every body, may meet.
    """

    method: str
    paths: tuple[str, ...]
    summary: str
    query: Mapping[str, Schema] = field(default_factory=dict)
    takes: Schema | None = None
    status: int = 200
    later: tuple[int, ...] = ()
    answers: Schema | None = None
    refusals: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Poll(Call[V]):
    """Shows a job: as the projection does, or as `reply` does."""

    reply: Callable[[V, Asked, Audience, datetime], Reply] | None = None


@dataclass(frozen=True, kw_only=True)
class Index(Call[V]):
    """Shows a list of jobs. `item` renders one of them."""

    read: Callable[[Asked], Search]
    item: Callable[[V, Audience, datetime], Any]
    reply: Callable[[Page, Asked, Audience], Reply]


@dataclass(frozen=True, kw_only=True)
class Several(Call[V]):
    """Shows the jobs with the ids that `read` gives, in that order, leaving out those that are not there."""

    read: Callable[[Asked], Sequence[str]]
    item: Callable[[V, Audience, datetime], Any]
    reply: Callable[[Sequence[Any], Asked, Audience], Reply]


@dataclass(frozen=True, kw_only=True)
class Starter(Call[V]):
    """Makes a job."""

    read: Callable[[Asked, Audience], New]
    reply: Callable[[V, Audience, datetime], Reply]


def as_refused(reason: Refused) -> Failure:
    """The failure that a refusal is, unless a call knows better."""
    return Failure("refused", str(reason))


@dataclass(frozen=True, kw_only=True)
class Act(Call[V]):
    """Records something of a job. `read` says what, given the job as it is; nothing else comes between.

    `refused` says what a refusal is in the vendor's words. `for_worker`: a key of that one job is enough. `opens`: a
    key of that one job is made, and the reply made by `opens` shows it, instead of `reply`.
    """

    read: Callable[[Asked, V], Sequence[Report]]
    reply: Callable[[V, Audience, datetime], Reply]
    refused: Callable[[Refused], Failure] = as_refused
    for_worker: bool = False
    opens: Callable[[V, Audience, datetime, str], Reply] | None = None


@dataclass(frozen=True, kw_only=True)
class Sweep(Call[V]):
    """Removes the jobs that `read` looks for; those that cannot be removed stay. `item` renders one that was."""

    read: Callable[[Asked], Search]
    item: Callable[[V, Audience, datetime], Any]
    reply: Callable[[Sequence[Any]], Reply]


@dataclass(frozen=True, kw_only=True)
class Limits(Call[V]):
    """Shows what is left of the account's rate, of which it takes nothing; None where there is no limit."""

    reply: Callable[[Quota | None], Reply]


def no_headers(_: Quota | None) -> Mapping[str, str]:
    """A vendor that does not speak of limits."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Format(Generic[V]):
    """A vendor's dialect.

    `revisions` are the wire shapes that an account may choose from, the first being the default. `prefixes` are the
    beginnings of addresses where failures are told by `fail`. `identify` finds in an id as the vendor writes it the
    job's number, or its uid as 32 hex digits, or nothing; `location` is a job's address, from its number and uid.
    `limits` are the headers, on every answer, that speak of the rate. `schema` is a job's JSON schema and
    `failure` that of an error's body. Where the key of the address' `{account}` differs, there is nothing to be found.
    """

    projection: Projection[V]
    calls: tuple[Call[V], ...]
    fail: Callable[[Failure], Reply]
    prefixes: tuple[str, ...]
    identify: Callable[[str], int | str | None]
    location: Callable[[int, str, Audience], str]
    schema: Schema
    failure: Schema
    revisions: tuple[str, ...] = ("",)
    limits: Callable[[Quota | None], Mapping[str, str]] = no_headers

    @property
    def name(self) -> str:
        """The name under which the format is asked for."""
        return self.projection.name


# -- What several vendors need ------------------------------------------------------------------------------------

_UID: Final = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PLACE: Final = re.compile(r" - at `\$\.?(.*)`$")
_MISSING: Final = re.compile(r"Object missing required field `(.*?)`")


def number(text: str) -> int | None:
    """The number that `text` writes, if it is one that a job can have."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 and text[0] != "0" else None


def uid(text: str) -> str | None:
    """The uid that `text` writes, with or without dashes, as 32 hex digits."""
    return _read_uid(text) if len(text) in (32, 36) else None


@lru_cache(maxsize=10_000)
def _read_uid(text: str) -> str | None:
    return text.replace("-", "").lower() if _UID.fullmatch(text) else None


def dashed(uid: str) -> str:
    """A uid as RFC 9562 writes it."""
    return f"{uid[:8]}-{uid[8:12]}-{uid[12:16]}-{uid[16:20]}-{uid[20:]}"


def convert(body: Any, type: type[T]) -> T:
    """`body` as `type`. Raises Failure: malformed, with the field that is wrong or missing."""
    if not isinstance(body, dict):
        raise Failure("malformed", "send an object", fields={"": ["must be an object"]})
    try:
        return msgspec.convert(body, type)
    except msgspec.ValidationError as error:
        text = str(error)
        missing, place = _MISSING.search(text), _PLACE.search(text)
        name = missing[1] if missing else place[1] if place else ""
        says = "required field" if missing else _PLACE.sub("", text)
        raise Failure("malformed", f"{name}: {says}" if name else says, fields={name: [says]}) from None


def json(value: Any, *, seconds: bool = False) -> bytes:
    """A value as JSON. Times are ISO 8601 UTC with Z, to the microsecond or in whole `seconds`."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z | (orjson.OPT_OMIT_MICROSECONDS if seconds else 0))


def one_of(*words: str, **more: Any) -> Schema:
    """The schema of a word from a list."""
    return {"type": "string", "enum": list(words), **more}


def of(**properties: Schema) -> Schema:
    """The schema of an object that has exactly these members."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
