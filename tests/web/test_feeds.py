"""Given events, those that were and those to come, when a feed is asked for, then it has them all, in order, once."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from jobstore.formats import PROJECTIONS
from jobstore.store import Store
from jobstore.web.app import application
from jobstore.web.hub import HUB
from jobstore.web.problems import Problem
from jobstore.web.resuming import Beginning, begin
from tests.conftest import AsServed, Client
from tests.web.eventstream import Event
from tests.web.feeding import Feed, positions
from tests.web.plugs import HandTail
from tests.web.wire import key_of

STARTED = {"type": "started"}
DONE = {"type": "completed", "results": [1]}


def half(fraction: float) -> dict[str, Any]:
    return {"type": "progressed", "fraction": fraction}


async def log(client: Client) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = (await (await client.ask("GET", "/events?limit=1000")).json())["events"]
    return events


# -- What a feed has ----------------------------------------------------------------------------------------------


async def test_a_feed_has_what_comes_and_nothing_of_what_was(client: Client) -> None:
    job = await client.submit()
    async with Feed(client, "/feed") as feed:
        await feed.opened()
        assert (feed.status, feed.headers["content-type"]) == (200, "text/event-stream")
        assert feed.headers["cache-control"] == "no-store"
        assert (feed.parser.last_event_id, feed.parser.retry) == ("1", 2000)
        await client.report(job, STARTED, half(0.5))
        events = await feed.take(2)
    assert [(event.id, event.type) for event in events] == [("2", "started"), ("3", "progressed")]
    assert [json.loads(event.data) for event in events] == (await log(client))[1:]


@pytest.mark.parametrize("how", ["header", "query"])
async def test_a_feed_begins_where_it_is_asked_to(client: Client, how: str) -> None:
    await client.report(await client.submit(), STARTED, *(half(n / 10) for n in range(1, 9)))
    for asked, first in (("0", 1), ("earliest", 1), ("4", 5), ("9", 10)):
        path, after = ("/feed", asked) if how == "header" else (f"/feed?lastEventId={asked}", None)
        async with Feed(client, path, after) as feed:
            assert positions(await feed.take(11 - first)) == list(range(first, 11))


async def test_the_header_of_a_browser_that_comes_back_wins_over_its_address(client: Client) -> None:
    await client.report(await client.submit(), STARTED, half(0.5))
    async with Feed(client, "/feed?lastEventId=earliest", after="2") as feed:
        assert positions(await feed.take(1)) == [3]


async def test_what_was_and_what_comes_meet_without_a_gap_or_a_repeat(client: Client) -> None:
    """Events come all the while that a long past is being sent."""
    job = await client.submit()
    await client.report(job, STARTED)
    await client.report(job, *({"type": "annotated", "note": str(n)} for n in range(1500)))
    async with Feed(client, "/feed", after="0") as feed:
        for n in range(50):
            await client.report(job, {"type": "annotated", "note": f"later {n}"})
        assert positions(await feed.take(1552)) == list(range(1, 1553))


async def test_accounts_hear_only_of_themselves(client: Client) -> None:
    async with Feed(client, "/feed", account="acme") as mine, Feed(client, "/feed", account="other") as theirs:
        await mine.opened()
        await theirs.opened()
        response = await client.ask("POST", "/jobs", account="other", json={"kind": "secret"})
        assert response.status == 202
        await client.submit("plain")
        assert json.loads((await mine.next()).data)["data"]["kind"] == "plain"
        assert json.loads((await theirs.next()).data)["data"]["kind"] == "secret"


async def test_an_append_on_one_node_is_heard_on_another(client: Client, dsn: str) -> None:
    async with Store(dsn) as store, TestClient(AsServed(application(store))) as http:
        other = Client(http, store)
        other.keys["acme"] = await key_of(client)
        async with Feed(other, "/feed") as feed:
            await feed.opened()
            await client.report(await client.submit(), STARTED)
            assert positions(await feed.take(2)) == [1, 2]


@pytest.fixture
async def behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Client, HandTail]]:
    """A client of a node that has heard of nothing yet of three events, and what the node will hear them from."""
    tail = HandTail(0)
    monkeypatch.setattr(store, "tail", tail)
    async with TestClient(AsServed(application(store))) as http:
        client = Client(http, store)
        await client.report(await client.submit(), STARTED, half(0.5))
        yield client, tail


async def test_who_comes_from_a_node_that_is_ahead_has_nothing_twice(
    store: Store, behind: tuple[Client, HandTail]
) -> None:
    client, tail = behind
    logged = await store.history.of_account(await _id(client))
    async with Feed(client, "/feed", "2") as feed:
        await feed.opened()
        tail.say(*logged[:1])
        tail.say(*logged[1:])
        await client.report(1, half(0.75))
        tail.say(*await store.history.of_account(await _id(client), after=3))
        assert positions(await feed.take(2)) == [3, 4]


async def test_a_client_of_http_1_0_is_sent_no_chunks(client: Client) -> None:
    await client.submit()
    async with Feed(client, "/feed", version="1.0", after="0") as feed:
        assert "transfer-encoding" not in feed.headers
        await feed.take(1)
        await client.submit()
        assert positions(await feed.take(1)) == [2]


# -- Filters ------------------------------------------------------------------------------------------------------

FILTERS = [
    ("", lambda e: True),
    ("?job=1", lambda e: e["job"] == 1),
    ("?job=1,3", lambda e: e["job"] in (1, 3)),
    ("?job=3&job=1", lambda e: e["job"] in (1, 3)),
    ("?type=started,completed", lambda e: e["type"] in ("started", "completed")),
    ("?kind=b", lambda e: e["job"] == 2),
    ("?kind=b&kind=c,d", lambda e: e["job"] in (2, 3)),
    ("?state=running", lambda e: e["type"] in ("started", "progressed")),
    ("?state=completed,queued&job=2", lambda e: e["job"] == 2 and e["type"] in ("queued", "completed", "annotated")),
    ("?kind=a&type=progressed", lambda e: e["job"] == 1 and e["type"] == "progressed"),
    ("?kind=nothing", lambda e: False),
]


@pytest.mark.parametrize(("query", "has"), FILTERS)
async def test_a_filter_picks_the_same_events_of_the_past_and_of_what_comes(
    client: Client, query: str, has: Any
) -> None:
    async with Feed(client, "/feed" + query) as live:
        await live.opened()
        for kind in ("a", "b", "c,d"):
            await client.submit(kind)
        for job in (1, 2, 3):
            await client.report(job, STARTED, half(0.5))
        await client.report(2, DONE, {"type": "annotated", "note": "x"})
        picked = [event["position"] for event in await log(client) if has(event)]
        assert positions(await live.take(len(picked))) == picked
        async with Feed(client, "/feed" + query, after="0") as past:
            assert positions(await past.take(len(picked))) == picked


async def test_the_past_of_a_few_jobs_is_read_from_their_own_histories_in_the_order_of_the_log(client: Client) -> None:
    """The log is long, so the jobs' histories are merged."""
    for _ in range(3):
        await client.report(await client.submit(), STARTED)
    for n in range(4):
        for job in (1, 2, 3):
            await client.report(job, *({"type": "annotated", "note": f"{n} {i}"} for i in range(200)))
    wanted = [event.position async for page in client.store.history.pages_of_account(await _id(client))
              for event in page if event.job in (1, 3) and event.position > 20]  # fmt: skip
    async with Feed(client, "/feed?job=1,3", after="20") as feed:
        assert positions(await feed.take(len(wanted))) == wanted


async def _id(client: Client) -> int:
    return (await client.store.accounts.find("acme")).account_id


# -- Formats ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(PROJECTIONS))
async def test_in_a_format_each_event_has_the_job_as_it_was_after_it(client: Client, name: str) -> None:
    async with Feed(client, f"/feed?format={name}") as live:
        await live.opened()
        job = await client.submit()
        await client.report(job, STARTED, half(0.25), half(0.5))
        await client.report(job, half(0.75), DONE)
        sent = await live.take(6)
    for event in sent:
        response = await client.ask("GET", f"/jobs/{job}?at={event.id}&format={name}", headers={"Host": "test"})
        assert json.loads(event.data) == await response.json()
    async with Feed(client, f"/feed?format={name}", after="0") as past:
        assert await past.take(6) == sent
    async with Feed(client, f"/jobs/{job}/feed?format={name}", after="3") as resumed:
        assert await resumed.take(3) == sent[3:]


async def test_a_job_that_is_older_than_the_feed_is_shown_whole(client: Client) -> None:
    job = await client.submit(args={"a": 1})
    await client.report(job, STARTED, {"type": "output_produced", "output": "x"})
    async with Feed(client, "/feed?format=native") as feed:
        await feed.opened()
        await client.report(job, half(0.5))
        shown = json.loads((await feed.next()).data)
    assert (shown["args"], shown["outputs"], shown["version"]) == ({"a": 1}, ["x"], 4)


async def test_a_vendors_job_path_is_its_feed_too(client: Client) -> None:
    job = await client.submit()
    async with Feed(client, f"/v1/jobs/{job}", headers={"Accept": "text/event-stream"}) as feed:
        await feed.opened()
        await client.report(job, STARTED, half(0.5), DONE)
        events = await feed.rest()
    assert [event.type for event in events] == ["started", "progressed", "completed", "end"]
    assert [json.loads(event.data)["state"] for event in events[:-1]] == ["working", "working", "complete"]
    async with Feed(client, "/v1/jobs/99", headers={"Accept": "text/event-stream"}) as missing:
        assert (missing.status, json.loads(await missing.body())["errors"].keys()) == (404, {"request"})
    async with Feed(client, f"/v1/jobs/{job}", headers={"Accept": "application/json"}) as polled:
        assert json.loads(await polled.body())["state"] == "complete"


# -- The end ------------------------------------------------------------------------------------------------------


async def test_a_jobs_feed_ends_with_the_job_and_is_empty_when_asked_again(client: Client) -> None:
    job = await client.submit()
    await client.submit()
    async with Feed(client, f"/jobs/{job}/feed") as feed, Feed(client, f"/jobs/{job}/feed", version="1.0") as older:
        await feed.opened()
        await older.opened()
        await client.report(2, STARTED)
        await client.report(job, STARTED, DONE)
        events = await feed.rest()
        assert feed.clean
        assert [event.type for event in events] == ["started", "completed", "end"]
        assert [event.type for event in await older.rest()] == ["started", "completed", "end"]
    for asked in (events[-1].id, "5"):
        async with Feed(client, f"/jobs/{job}/feed", after=asked) as again:
            assert again.status == 204
    async with Feed(client, f"/jobs/{job}/feed", after="earliest") as whole:
        assert [event.type for event in await whole.rest()] == ["queued", "started", "completed", "end"]
        assert whole.clean
    async with Feed(client, f"/jobs/{job}/feed") as late:
        assert late.status == 204


async def test_a_job_that_ends_while_a_reader_catches_up_ends_the_feed(
    store: Store, behind: tuple[Client, HandTail]
) -> None:
    """The reader waits for what the node has not heard of; when it catches up, the job has ended."""
    client, tail = behind
    async with Feed(client, "/jobs/1/feed", "2") as feed:
        await feed.opened()
        await client.report(1, DONE)
        tail.say(*await store.history.of_account(await _id(client)))
        assert [event.type for event in await feed.rest()] == ["progressed", "completed", "end"]
        assert feed.clean


async def test_what_is_recorded_after_the_end_is_there_for_who_comes_back(client: Client) -> None:
    job = await client.submit()
    await client.report(job, STARTED, DONE)
    await client.report(job, {"type": "annotated", "note": "x"}, {"type": "removed"})
    async with Feed(client, f"/jobs/{job}/feed", after="3") as feed:
        assert [event.type for event in await feed.rest()] == ["annotated", "removed", "end"]
    async with Feed(client, f"/jobs/{job}/feed", after="5") as again:
        assert again.status == 204


async def test_the_account_feed_does_not_end_with_a_job(client: Client) -> None:
    async with Feed(client, "/feed?job=1,2") as feed:
        await feed.opened()
        await client.report(await client.submit(), STARTED, DONE)
        await client.submit()
        assert [event.type for event in await feed.take(4)] == ["queued", "started", "completed", "queued"]


async def test_a_replay_sends_the_past_and_goes_live(client: Client) -> None:
    job = await client.submit()
    await client.report(job, STARTED, half(0.5))
    async with Feed(client, f"/jobs/{job}/feed?replay=1000000") as feed:
        assert positions(await feed.take(3)) == [1, 2, 3]
        await client.report(job, DONE)
        assert [event.type for event in await feed.rest()] == ["completed", "end"]
    async with Feed(client, f"/jobs/{job}/feed?replay=1000000", after="2") as resumed:
        assert positions(await resumed.rest()) == [3, 4, 4]


async def test_a_replay_keeps_the_jobs_own_pace_times_its_speed(dsn: str) -> None:
    """Between the events lie hours, of which a fast replay makes milliseconds, and a slow one is ended meanwhile."""
    moments = iter(datetime(2026, 1, 31, hour, tzinfo=UTC) for hour in range(24))
    async with Store(dsn, clock=lambda: next(moments)) as store, TestClient(AsServed(application(store))) as http:
        client = Client(http, store)
        job = await client.submit()
        await client.report(job, STARTED)
        await client.report(job, DONE)
        async with Feed(client, f"/jobs/{job}/feed?replay=1000000") as quick:
            assert positions(await quick.rest()) == [1, 2, 3, 3]
        async with Feed(client, f"/jobs/{job}/feed?replay=1") as slow:
            assert positions(await slow.take(1)) == [1]
            assert http.app is not None
            await http.app[HUB].stop()
            assert await slow.rest() == []
            assert (slow.clean, slow.parser.last_event_id) == (True, "1")


# -- What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/feed", {"Authorization": "Bearer nobody"}, 401),
        ("/feed?type=nonsense", {}, 422),
        ("/feed?type=", {}, 422),
        ("/feed?state=done", {}, 422),
        ("/feed?format=nonsense", {}, 422),
        ("/feed?job=", {}, 422),
        ("/feed?job=!", {}, 404),
        ("/feed?kind=" + "&kind=".join(map(str, range(101))), {}, 422),
        ("/feed", {"Last-Event-ID": "-1"}, 422),
        ("/feed", {"Last-Event-ID": "1" * 19}, 422),
        ("/feed?lastEventId=x", {}, 422),
        ("/feed", {"Last-Event-ID": "7"}, 412),
        ("/jobs/9/feed", {}, 404),
        ("/jobs/!/feed", {}, 404),
        ("/jobs/1/feed?replay=x", {}, 422),
        ("/jobs/1/feed?replay=0", {}, 422),
        ("/jobs/1/feed?replay=-1", {}, 422),
        ("/jobs/1/feed?replay=nan", {}, 422),
        ("/jobs/1/feed?replay=inf", {}, 422),
        ("/jobs/1/feed?format=x", {}, 422),
    ],
)
async def test_what_is_wrong_is_said_before_the_stream_begins(
    client: Client, path: str, headers: dict[str, str], status: int
) -> None:
    await client.submit()
    async with Feed(client, path, headers=headers) as feed:
        assert feed.status == status
        assert (await feed.problem())["status"] == status


async def test_a_key_for_one_job_hears_of_that_job_only(client: Client) -> None:
    await client.submit()
    await client.submit()
    _, key = await client.store.accounts.create_job_key(await _id(client), 1)
    for path, status in (("/feed", 403), ("/jobs/2/feed", 403), ("/jobs/1/feed", 200)):
        async with Feed(client, path, headers={"Authorization": f"Bearer {key}"}) as feed:
            assert feed.status == status


async def test_a_head_request_is_not_left_waiting(client: Client) -> None:
    job = await client.submit()
    for path in ("/feed", f"/jobs/{job}/feed"):
        response = await client.ask("HEAD", path)
        assert (response.status, response.content_type) == (200, "text/event-stream")
    assert (await client.ask("HEAD", f"/v1/jobs/{job}", headers={"Accept": "text/event-stream"})).status == 200


def test_a_feed_begins_with_what_is_kept_and_says_what_is_not() -> None:
    assert begin(None, 7, 1) == Beginning(7)
    assert begin(0, 7, 1) == Beginning(0)
    assert begin(7, 7, 1) == Beginning(7)
    assert begin(0, 7, 4) == Beginning(3, (1, 3))
    assert begin(2, 7, 4) == Beginning(3, (3, 3))
    assert begin(3, 7, 4) == Beginning(3)
    assert begin(None, 0, 1) == Beginning(0)
    with pytest.raises(Problem):
        begin(8, 7, 1)


async def test_what_is_not_kept_is_a_gap_in_the_stream(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    await client.report(await client.submit(), STARTED, half(0.5), DONE)
    monkeypatch.setattr("jobstore.web.following.KEPT_FROM", 3)
    async with Feed(client, "/feed", after="0") as feed:
        assert await feed.next() == Event("gap", '{"from":1,"to":2}', "2")
        assert positions(await feed.take(2)) == [3, 4]
