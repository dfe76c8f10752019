"""Knows how to find the concurrency at which a peer is fastest; must not know which peer it is."""

from collections.abc import Sequence
from typing import Final, Protocol

CONCURRENCIES: Final = (1, 4, 10, 50, 200)


class Peer(Protocol):
    """Whatever records jobs or their events."""

    async def appended(self, concurrency: int, count: int) -> float:
        """Events a second, each committed and acknowledged by itself, with that many callers at once."""


async def best(peer: Peer, concurrencies: Sequence[int] = CONCURRENCIES, *, count: int = 1_000) -> int:
    """The concurrency of the highest rate. The first try is made twice, since it also warms up."""
    await peer.appended(concurrencies[0], count)
    rates = {concurrency: await peer.appended(concurrency, count) for concurrency in concurrencies}
    return max(rates, key=rates.__getitem__)
