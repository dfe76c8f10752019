"""Given an account, when anybody of it asks where its log ends, then the answer can be proved by others' software."""

from base64 import b64decode, b64encode
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from tests.conftest import Client
from tests.store.asking import query


def opened(note: str, key: str) -> list[str]:
    """The lines of a note's text, by the rules of c2sp.org/signed-note and another implementation of Ed25519."""
    name, id, encoded = key.rstrip("\n").split("+", 2)
    algorithm, public = b64decode(encoded)[:1], b64decode(encoded)[1:]
    assert algorithm == b"\x01"
    assert sha256(f"{name}\n".encode() + algorithm + public).digest()[:4].hex() == id
    assert note.isprintable() or set(note) - {"\n"} == {c for c in note if c.isprintable()}
    text, _, signatures = note.rpartition("\n\n")
    (line,) = signatures.removesuffix("\n").split("\n")
    dash, signer, signature = line.split(" ")
    assert (dash, signer) == ("\N{EM DASH}", name)
    assert b64encode(b64decode(signature)).decode() == signature
    assert b64decode(signature)[:4].hex() == id
    VerifyKey(public).verify(f"{text}\n".encode(), b64decode(signature)[4:])
    return text.split("\n")


async def test_a_checkpoint_says_where_the_log_ends_and_verifies_elsewhere(client: Client, dsn: str) -> None:
    await client.submit()
    for positions in (1, 2):
        note = await client.ask("GET", "/checkpoint")
        key = await client.ask("GET", "/checkpoint/key")
        assert (note.status, note.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        origin, size, hash, account, at = opened(await note.text(), await key.text())
        assert origin == (await key.text()).partition("+")[0]
        assert (size, account) == (str(positions), "account acme")
        ((stored,),) = await query(dsn, "SELECT hash FROM events ORDER BY position DESC LIMIT 1")
        assert b64decode(hash) == stored
        since = datetime.now(UTC) - datetime.fromisoformat(at.removeprefix("time "))
        assert 0 <= since.total_seconds() < 60
        assert (await client.report(1, {"type": "annotated", "note": "x"})).status == 200


async def test_another_text_or_key_does_not_verify(client: Client) -> None:
    note = await (await client.ask("GET", "/checkpoint")).text()
    key = await (await client.ask("GET", "/checkpoint/key")).text()
    assert opened(note, key)[1] == "0"
    with pytest.raises(BadSignatureError):
        opened(note.replace("\n0\n", "\n1\n"), key)
    other = await (await client.ask("GET", "/checkpoint/key", account="other")).text()
    assert other != key
    with pytest.raises(AssertionError):
        opened(note, other)


async def test_a_key_is_made_once_and_kept(client: Client, dsn: str) -> None:
    first = await (await client.ask("GET", "/checkpoint/key")).text()
    client.store.checkpoints._signers.clear()
    assert await (await client.ask("GET", "/checkpoint/key")).text() == first
    assert len(await query(dsn, "SELECT FROM signing_keys")) == 1


async def test_only_who_may_read_the_account_is_told(client: Client) -> None:
    for path in ("/checkpoint", "/checkpoint/key"):
        assert (await client.http.request("GET", path)).status == 401
        assert (await client.ask("POST", path)).status == 405
