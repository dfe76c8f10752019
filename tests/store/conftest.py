"""What the tests of the store are given."""

from typing import Any

import pytest

from jobstore.store import Store


@pytest.fixture(params=["in memory", "not in memory"])
async def node(request: pytest.FixtureRequest, store: Store, dsn: str) -> Any:
    """A node that knows the accounts and jobs from before, or one that has yet to load them."""
    if request.param == "in memory":
        yield store
        return
    async with Store(dsn) as fresh:
        yield fresh
