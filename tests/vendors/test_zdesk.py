"""A stock client, zdesk, unmodified: it starts jobs, follows them to their end, and is refused as it expects."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from zdesk import AuthenticationError, RateLimitError, Zendesk, ZendeskError
from zdesk.zdesk import batch

from jobstore.store import Store
from jobstore.store.rates import Rates
from tests.conftest import Client
from tests.vendors.conftest import reached_at

EMAIL = "me@example.com"
ENVELOPES: list[Callable[[str], dict[str, Any]]] = [
    lambda key: {"zdesk_email": EMAIL, "zdesk_password": key},
    lambda key: {"zdesk_email": EMAIL, "zdesk_password": key, "zdesk_token": True},
    lambda key: {"zdesk_email": EMAIL, "zdesk_api": key},
    lambda key: {"zdesk_oauth": key},
]
SECONDS = 30  # after which a call is a hang

Say = Callable[..., Any]


@pytest.fixture(autouse=True)
def straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy stands between the client and the server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class Limited:
    """Says the time by which rates are counted: half a second before the end of a minute, until told otherwise."""

    def __init__(self) -> None:
        self.at = 599_999_999.5

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def limited(store: Store) -> Limited:
    """The time by which rates are counted."""
    clock = Limited()
    store.rates = Rates(store.postgres, clock=clock)
    return clock


@pytest.fixture
async def client(store: Store, limited: Limited) -> AsyncIterator[Client]:
    """A worker's client; the account is served in the shape of today."""
    await store.accounts.create("acme")
    await store.accounts.set("acme", {"zendesk": "current"})
    async with reached_at(store, None) as client:
        await client.ask("GET", "/jobs")
        yield client


def zendesk(client: Client, **said: Any) -> Any:
    """The stock client, with the account's key unless `said` names another."""
    said = said if {"zdesk_oauth", "zdesk_email"} & set(said) else {**said, **ENVELOPES[0](client.keys["acme"])}
    args = {"timeout": SECONDS, **said.pop("client_args", {})}
    return Zendesk(str(client.http.make_url("")), client_args=args, **said)


@pytest.fixture
async def say(client: Client) -> AsyncIterator[Say]:
    """Calls a method of the stock client, beside the loop that serves it."""
    stock = zendesk(client)

    async def say(method: str, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(getattr(stock, method), *args, **kwargs)

    yield say
    stock.client.close()


async def refusal(calling: Any, kind: type[Exception] = ZendeskError) -> tuple[int, dict[str, Any]]:
    """The status and the body of the error that a call raises."""
    with pytest.raises(kind) as caught:
        await calling
    assert caught.type is kind
    error: Any = caught.value
    return error.error_code, orjson.loads(error.msg)


# -- A job's life -------------------------------------------------------------------------------------------------


async def test_a_job_is_followed_to_its_end(client: Client, say: Say) -> None:
    tickets = [{"subject": f"ticket {n}"} for n in range(20)]
    started = (await say("tickets_create_many", {"tickets": tickets}))["job_status"]
    assert (started["status"], started["total"], started["progress"]) == ("queued", 20, None)

    async def follow() -> list[dict[str, Any]]:
        seen = [started]
        while seen[-1]["status"] in ("queued", "working"):
            job = (await say("job_status_show", started["id"]))["job_status"]
            if job != seen[-1]:
                seen.append(job)
        return seen

    async def work() -> None:
        await client.report(1, {"type": "started"})
        for done in range(1, 21):
            result = {"type": "result_recorded", "result": {"index": done - 1, "id": 100 + done}}
            response = await client.report(1, result, {"type": "progressed", "done": done})
            assert response.status == 200
        await client.report(1, {"type": "completed"})

    async with asyncio.timeout(SECONDS):
        seen, _ = await asyncio.gather(follow(), work())
    done = [job["progress"] for job in seen if job["progress"] is not None]
    assert done == sorted(done)
    assert all(job["results"] is None for job in seen[:-1])
    assert (seen[-1]["status"], seen[-1]["progress"], len(seen[-1]["results"])) == ("completed", 20, 20)
    assert seen[-1]["message"].startswith("Completed at ")


async def test_its_own_helper_starts_a_job_for_every_hundred(say: Say) -> None:
    tickets = [{"id": n, "status": "solved"} for n in range(250)]
    parts = list(batch(tickets, lambda part: part))
    ids = [(await say("tickets_update_many", {"tickets": part}))["job_status"]["id"] for part in parts]
    shown = (await say("job_statuses_show_many", ids=",".join(ids)))["job_statuses"]
    assert [(job["id"], job["total"]) for job in shown] == [(id, n) for id, n in zip(ids, (100, 100, 50), strict=True)]
    assert (await say("job_statuses_show_many", ids=ids[::-1]))["job_statuses"] == shown[::-1]
    assert (await say("job_statuses_list", get_all_pages=True))["job_statuses"] == shown[::-1]


@pytest.mark.parametrize("ids", ["7,8,9", [7, 8, 9]])
async def test_a_deletion_of_some_is_answered_with_a_job_not_with_an_address(say: Say, ids: Any) -> None:
    started = (await say("tickets_destroy_many", ids=ids))["job_status"]
    assert (started["job_type"], started["total"]) == ("tickets.destroy_many", 3)
    response = await say("job_status_show", started["id"], complete_response=True)
    assert (response["status"], response["content"]) == (200, {"job_status": started})


async def test_a_change_of_some_is_asked_for_with_their_ids(client: Client, say: Say) -> None:
    change = {"ticket": {"status": "solved"}}
    started = (await say("tickets_update_many", change, query={"ids": "1,2"}))["job_status"]
    assert (started["job_type"], started["total"]) == ("tickets.update_many", 2)
    native = await (await client.ask("GET", "/jobs/1")).json()
    assert native["args"] == {**change, "ids": ["1", "2"]}


@pytest.mark.parametrize("envelope", ENVELOPES)
async def test_each_of_its_credentials_is_taken(client: Client, envelope: Callable[[str], dict[str, Any]]) -> None:
    stock = zendesk(client, **envelope(client.keys["acme"]))
    assert await asyncio.to_thread(stock.job_statuses_list) == {"job_statuses": []}
    stock.client.close()


# -- Refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("envelope", ENVELOPES)
async def test_a_wrong_credential_is_an_error_of_its_own(
    client: Client, envelope: Callable[[str], dict[str, Any]]
) -> None:
    stock = zendesk(client, **envelope("wrong"))
    told = await refusal(asyncio.to_thread(stock.job_statuses_list), AuthenticationError)
    assert told == (401, {"error": "Couldn't authenticate you"})
    stock.client.close()


async def test_a_job_that_is_not_there_is_an_error(say: Say) -> None:
    for id in ("f" * 32, f"V3-{'f' * 32}", "nonsense"):
        told = await refusal(say("job_status_show", id))
        assert told == (404, {"error": "RecordNotFound", "description": "Not found"})


async def test_what_is_invalid_is_told_in_the_answer(say: Say) -> None:
    for answer in (await say("tickets_create_many", {"tickets": []}), await say("tickets_update_many", {})):
        assert answer["error"] == "RecordInvalid"
        assert answer["details"]["tickets"] == [{"type": "blank", "description": "can't be blank"}]


async def test_too_many_are_an_error(say: Say) -> None:
    status, body = await refusal(say("tickets_create_many", {"tickets": [{}] * 101}))
    assert (status, body["error"]) == (400, "TooManyValues")


async def test_a_throttled_client_waits_as_long_as_it_is_told_and_tries_again(client: Client, limited: Limited) -> None:
    await client.store.accounts.set("acme", {"rate": "2/minute"})
    client.keys["acme"] = (await client.store.accounts.create_key("acme", "read"))[1]
    heard: list[tuple[int, str | None]] = []

    def hear(response: Any, *_: Any, **__: Any) -> None:
        heard.append((response.status_code, response.headers.get("Retry-After")))
        if response.status_code == 429:
            limited.at += float(response.headers["Retry-After"])

    stock = zendesk(client, retry_on=RateLimitError, max_retries=1, client_args={"hooks": {"response": hear}})
    for _ in range(3):
        assert await asyncio.to_thread(stock.job_statuses_list) == {"job_statuses": []}
    assert heard == [(200, None), (200, None), (429, "1"), (200, None)]
    stock.client.close()


async def test_a_throttled_client_that_does_not_try_again_is_told_so(client: Client) -> None:
    await client.store.accounts.set("acme", {"rate": "2/minute"})
    stock = zendesk(client, **ENVELOPES[0]((await client.store.accounts.create_key("acme", "read"))[1]))
    for _ in range(2):
        await asyncio.to_thread(stock.job_statuses_list)
    status, body = await refusal(asyncio.to_thread(stock.job_statuses_list), RateLimitError)
    assert (status, body["error"]) == (429, "APIRateLimitExceeded")
    stock.client.close()
