"""Whatever clients write is recorded as they wrote it, or refused alone; none of it is taken for anything else."""

from typing import Any

import orjson
import pytest

from jobstore.job import commands as c
from jobstore.store import Store
from jobstore.store.request import Append, Appended
from tests.store.asking import new_job, note, outcomes, query
from tests.store.sound import assert_sound

CONTROLS = "".join(map(chr, range(1, 32)))
STRANGE = ["\x1f", "\x1e", "\x1c", CONTROLS, "\n", '"', "\\", "\\x1f", "\\N", "{}", "NULL", "'", "\u2028", "\ue000",
           "é", "🦉", "\x7f", "", " "]  # fmt: skip


def said(request: Append) -> str | None:
    """The note that a request asks to record."""
    [command] = request.commands
    assert isinstance(command, c.Annotate)
    return command.note


@pytest.mark.parametrize("with_nul", [False, True], ids=["", "beside NUL"])
async def test_no_text_is_taken_for_anything_but_itself(
    node: Store, store: Store, account: int, dsn: str, with_nul: bool
) -> None:
    job = await new_job(store, account)
    requests = []
    for i, text in enumerate([*STRANGE, *(["\0"] if with_nul else [])]):
        requests += [note(account, job, f"{i} {text}"), note(account, job, f"by {i}"), note(account, job, f"key {i}")]
        requests[-2].by = f"a{text}b"
        requests[-1].key, requests[-1].digest = f"k{i}{text}", bytes(32)
    done = await outcomes(*map(node.ledger.append, requests))
    recorded = [request for request, outcome in zip(requests, done, strict=True) if isinstance(outcome, Appended)]
    lost = [request for request in requests if request not in recorded]
    assert all(set(f"{request.by}{request.key}") & {*CONTROLS, "\0"} for request in lost), lost
    rows = await query(dsn, "SELECT by, trace, data FROM events WHERE type = 'annotated' ORDER BY version")
    assert [(row["by"], row["trace"], orjson.loads(row["data"])["note"]) for row in rows] == [
        (request.by, request.key, said(request)) for request in recorded
    ]
    await assert_sound(dsn)


@pytest.mark.parametrize("text", ["", "\x1f", CONTROLS, "x" * 300_000], ids=["empty", "separator", "controls", "long"])
async def test_a_payload_comes_back_as_the_bytes_it_was(node: Store, store: Store, account: int, text: str) -> None:
    job = await new_job(store, account)
    data: Any = {"text": text, text[:100]: [text, None, 1.5, 2**63 - 1, -(2**63), 1e-300, True, {}]}
    [done] = await outcomes(node.ledger.append(Append(account, job, (c.Annotate(note=text, data=data),), "acme/tests")))
    assert isinstance(done, Appended)
    [entry] = await store.history.of_job(account, job, after=2)
    assert entry.recorded() == done.events[0]
    assert orjson.loads(entry.data)["data"] == data
