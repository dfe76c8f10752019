"""Knows how often an account may ask; must not know who grants that or how a refusal looks."""

import re
from typing import Final, NamedTuple

from jobstore.store.mistaken import Mistaken

_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_RATE: Final = re.compile(rf"([1-9][0-9]{{0,8}})/({'|'.join(_SECONDS)})")


class Rate(NamedTuple):
    """At most `limit` requests in a window of so many seconds."""

    limit: int
    seconds: int


def parse_rate(text: str) -> Rate:
    """The rate that a text such as 5000/hour says. Raises Mistaken for any other text."""
    said = _RATE.fullmatch(text)
    if said is None:
        raise Mistaken(
            f"{text!r} is not a rate: a whole number above 0, then /second, /minute, /hour or /day: 5000/hour"
        )
    return Rate(int(said[1]), _SECONDS[said[2]])
