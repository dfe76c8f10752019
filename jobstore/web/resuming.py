"""Knows from which position a feed is sent, and what of it is not kept any more; must not know how it is sent."""

from typing import Final, NamedTuple

from aiohttp import web

from jobstore.web.problems import Problem

KEPT_FROM: Final = 1  # nothing is archived: logs are kept from their first position


class Beginning(NamedTuple):
    """A feed has what is above `after`; the positions of `gap`, from first to last, were asked for and are gone."""

    after: int
    gap: tuple[int, int] | None = None


def begin(asked: int | None, head: int, kept_from: int) -> Beginning:
    """Where a feed begins that was asked for above the position `asked`, or None: from now on, when the log ends at
    `head` and is kept from `kept_from`. Raises Problem when the log has not come that far."""
    if asked is None:
        return Beginning(head)
    if asked > head:
        raise Problem("not-reached", f"the log ends at position {head}", position=head)
    if asked < kept_from - 1:
        return Beginning(kept_from - 1, (asked + 1, kept_from - 1))
    return Beginning(asked)


def asked_from(request: web.Request) -> int | None:
    """The position after which a client wants to hear, None being the present one. Raises Problem.

    A browser that comes back sends the header, and the query as it was at first.
    """
    text = request.headers.get("Last-Event-ID", "").strip() or request.query.get("lastEventId", "").strip()
    if not text:
        return None
    if text == "earliest":
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Problem("malformed", "Last-Event-ID is a position, or earliest")
    return int(text)
