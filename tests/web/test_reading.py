"""Given a long log, when a part of it is read for some jobs or all, then that is exactly what comes, in order."""

from asyncio import Semaphore

import pytest

from jobstore.store import Store
from jobstore.web import reading
from jobstore.web.reading import Reading
from tests.store.asking import new_job, note, outcomes


@pytest.fixture(params=[7, 500])
def page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Events a page."""
    size: int = request.param
    monkeypatch.setattr(reading, "PAGE", size)
    monkeypatch.setattr(reading, "NEAR", 2 * size)
    return size


@pytest.mark.parametrize("jobs", [None, {1}, {2, 4}, {1, 2, 3, 4}, {9}, set()])
async def test_a_part_of_the_log_is_read_whole_in_order_and_no_more(
    store: Store, account: int, page: int, jobs: set[int] | None
) -> None:
    numbers = [await new_job(store, account) for _ in range(4)]
    assert numbers == [1, 2, 3, 4]
    await outcomes(*(store.ledger.append(note(account, numbers[n * 7 // 3 % 4], n)) for n in range(92)))
    log = await store.history.of_account(account)
    assert len(log) == 100
    reader = Reading(store.history, Semaphore(1), account)
    for after, to in ((0, 100), (0, 50), (20, 99), (49, 50), (50, 50), (93, 100)):
        pages = [found async for found in reader.pages(jobs, after, to)]
        read = [entry for found in pages for entry in found]
        assert read == [e for e in log if after < e.position <= to and (jobs is None or e.job in jobs)]
        assert all(len(found) <= page for found in pages)


async def test_a_log_with_a_hole_is_not_taken_for_a_short_one(store: Store, account: int) -> None:
    await new_job(store, account)
    reader = Reading(store.history, Semaphore(1), account)
    with pytest.raises(LookupError, match="no position 3"):
        async for _ in reader.pages(None, 0, 3):
            pass
