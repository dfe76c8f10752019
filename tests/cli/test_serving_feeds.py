"""`jobstore serve` and its feeds: for how long, for which pages, and what becomes of them when the server ends."""

import signal
from pathlib import Path

import aiohttp
import pytest

from tests.cli.serving import run, serving
from tests.web.eventstream import Parser

PAGE = "https://app.example.com"


async def test_feeds_end_cleanly_when_the_server_is_told_to_end(data: Path) -> None:
    with serving("--data", data, "--cors", PAGE, "--cors", "https://other.example.com") as served:
        headers = {"Authorization": f"Bearer {served.key}", "Origin": PAGE}
        async with aiohttp.ClientSession(served.address, headers=headers) as http, http.get("/feed") as feed:
            assert feed.headers["Access-Control-Allow-Origin"] == PAGE
            parser = Parser()
            parser.feed(await feed.content.readuntil(b"\n\n"))
            async with http.post("/jobs", json={"kind": "x"}) as response:
                assert response.status == 202
            (event,) = parser.feed(await feed.content.readuntil(b"\n\n"))
            assert (event.type, event.id) == ("queued", "1")
            served.process.send_signal(signal.SIGTERM)
            assert parser.feed(await feed.read()) == []  # raises when the last chunk is missing
            assert parser.last_event_id == "1"
        assert served.process.wait(20) == 0
        assert served.errors() == ""


async def test_a_feed_ends_after_its_life(data: Path) -> None:
    with serving("--data", data, "--feed-life", "1") as served:
        headers = {"Authorization": f"Bearer {served.key}"}
        async with aiohttp.ClientSession(served.address, headers=headers) as http, http.get("/feed") as feed:
            assert await feed.read() == b"retry: 2000\nid: 0\n\nid: 0\n\n"


@pytest.mark.parametrize("wrong", [("--cors", "app.example.com"), ("--cors", PAGE + "/"), ("--feed-life", "0")])
def test_wrong_use_is_told(wrong: tuple[str, str]) -> None:
    done = run("serve", "--dsn", "postgresql://nowhere", *wrong)
    assert (done.returncode, wrong[0] in done.stderr) == (2, True)
