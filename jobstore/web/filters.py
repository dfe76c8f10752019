"""Knows which events a feed has, and how a client says so; must not know how they are sent."""

from collections.abc import Callable
from typing import Final, NamedTuple

from aiohttp import web

from jobstore.formats.native import Job
from jobstore.job import codec
from jobstore.job.decider import LEADS_TO
from jobstore.web.problems import Problem

MOST: Final = 100  # values of a filter

TYPES: Final = tuple(codec.NAMES.values())
STATES: Final = tuple(sorted(set(LEADS_TO.values())))


class Filter(NamedTuple):
    """What an event must be for a feed to have it: of one of the `jobs`, of one of the `types`, of a job of one of the
    `kinds`, and of a job that is in one of the `states` after it. None: all will do."""

    jobs: frozenset[int] | None = None
    types: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    states: frozenset[str] | None = None

    @property
    def looks(self) -> bool:
        """Whether it has to look at the job, and not just at the event."""
        return self.kinds is not None or self.states is not None

    def has(self, number: int, type: str, job: Job | None) -> bool:
        """Whether the feed has an event of this type, after which its job is as `job`, needed when the filter looks."""
        if self.jobs is not None and number not in self.jobs:
            return False
        if self.types is not None and type not in self.types:
            return False
        if job is None:
            return not self.looks
        return (self.kinds is None or job.kind in self.kinds) and (self.states is None or job.state in self.states)


def asked_types(request: web.Request) -> frozenset[str] | None:
    """The types that a client asks for. Raises Problem, as do those below."""
    return _words(request, "type", TYPES.__contains__, f"type is of {', '.join(TYPES)}")


def asked_states(request: web.Request) -> frozenset[str] | None:
    """The states that a client asks for."""
    return _words(request, "state", STATES.__contains__, f"state is of {', '.join(STATES)}")


def asked_kinds(request: web.Request) -> frozenset[str] | None:
    """The kinds that a client asks for. A kind may have a comma, so each is a parameter of its own."""
    kinds = request.query.getall("kind", [])
    if not all(kind and "\0" not in kind for kind in kinds):
        raise Problem("malformed", "kind is that of a job")
    return _bounded("kind", kinds)


def asked_jobs(request: web.Request) -> frozenset[str] | None:
    """The ids of the jobs that a client asks for."""
    return _words(request, "job", bool, "job is the id of a job, or several with commas between them")


def _words(request: web.Request, name: str, can_be: Callable[[str], bool], otherwise: str) -> frozenset[str] | None:
    words = [word.strip() for text in request.query.getall(name, []) for word in text.split(",")]
    if not all(map(can_be, words)):
        raise Problem("malformed", otherwise)
    return _bounded(name, words)


def _bounded(name: str, words: list[str]) -> frozenset[str] | None:
    found = frozenset(words)
    if len(found) > MOST:
        raise Problem("malformed", f"{name} takes up to {MOST} values")
    return found or None
