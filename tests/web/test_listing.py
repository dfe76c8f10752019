"""Given jobs, when they are listed, then each that was asked for is there, once, newest first."""

import pytest

from tests.conftest import Client

ASKED: list[tuple[str, list[str]]] = [
    ("", ["c", "b", "a", "b", "a"]),
    ("?kind=a", ["a", "a"]),
    ("?user=ann", ["c", "a"]),
    ("?user=b%C3%A9a%20%26%20co", ["b"]),
    ("?state=queued", ["b", "a"]),
    ("?state=running", ["c", "b"]),
    ("?state=running&kind=b&user=b%C3%A9a%20%26%20co", ["b"]),
    ("?state=failed&kind=b", []),
    ("?user=", []),
    ("?limit=2", ["c", "b"]),
    ("?cursor=3", ["b", "a"]),
    ("?cursor=1", []),
]


async def test_a_list_holds_the_jobs_that_were_asked_for_newest_first(client: Client) -> None:
    for kind, user, state in (
        ("a", "ann", "queued"),
        ("b", None, "queued"),
        ("a", None, "failed"),
        ("b", "béa & co", "started"),
        ("c", "ann", "started"),
    ):
        job = await client.submit(kind, user=user)
        if state != "queued":
            await client.report(job, {"type": state})
    for query, kinds in ASKED:
        response = await client.ask("GET", f"/jobs{query}")
        page = await response.json()
        assert [job["kind"] for job in page["jobs"]] == kinds, query
        assert [job["number"] for job in page["jobs"]] == sorted((job["number"] for job in page["jobs"]), reverse=True)
        for job in page["jobs"]:
            assert await (await client.ask("GET", f"/jobs/{job['number']}")).json() == job
        assert (page["next"] is None) == ("next" not in response.links) == (query != "?limit=2")


@pytest.mark.parametrize("query", ["", "&kind=a%26b%20%C3%BC&state=queued"])
async def test_following_next_shows_every_job_exactly_once_while_others_come(client: Client, query: str) -> None:
    numbers = []
    for _ in range(7):
        numbers.append(await client.submit("a&b ü"))
        if query:
            await client.submit("another")
            await client.report(await client.submit("a&b ü"), {"type": "started"})
    address, walked = f"/jobs?limit=2{query}", []
    while address:
        response = await client.ask("GET", address)
        page = await response.json()
        walked += [job["number"] for job in page["jobs"]]
        await client.submit("a&b ü")
        address = response.links["next"]["url"].path_qs if "next" in response.links else ""
        assert bool(address) == (page["next"] is not None)
    assert walked == numbers[::-1]
