"""Signed notes are those of https://c2sp.org/signed-note: read, written and refused alike."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobstore.store.checkpoints import Checkpoint, unverified
from jobstore.store.notes import Signer, Unproven, Verifier, parts

# The example of golang.org/x/mod/sumdb/note.
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SEED = "810a1402d5146c8d84f2443330f54080ebf98ee17d9c74f6252fc5d5c7283173"
LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
NOTE = f"{TEXT}\n{LINE}"


def test_the_example_of_another_implementation_is_read_and_written() -> None:
    verifier = Verifier.parse(KEY)
    assert (str(verifier), verifier.open(NOTE)) == (KEY, TEXT)
    signer = Signer("PeterNeumann", bytes.fromhex(SEED))
    assert (signer.verifier, signer.sign(TEXT)) == (verifier, NOTE)


def test_signatures_of_unknown_keys_are_ignored_and_a_wrong_one_of_a_known_key_is_not() -> None:
    other = Signer("other.example/log", bytes(32))
    line = other.sign(TEXT).removeprefix(f"{TEXT}\n")
    same_name = Signer("PeterNeumann", bytes(32)).sign(TEXT).removeprefix(f"{TEXT}\n")
    for lines in (LINE + line, line + LINE, same_name + LINE, line * 16 + LINE):
        assert Verifier.parse(KEY).open(f"{TEXT}\n{lines}") == TEXT
    wrong = Signer("x", bytes(32)).sign("another text\n").rpartition("\n\n")[2]
    with pytest.raises(Unproven, match="not of this note"):
        Signer("x", bytes(32)).verifier.open(f"{TEXT}\n{wrong}")
    with pytest.raises(Unproven, match="not signed with the key"):
        Verifier.parse(KEY).open(f"{TEXT}\n{line}")


@pytest.mark.parametrize("note", [
    "", "\n", "text\n", f"{TEXT}{LINE}", NOTE.rstrip("\n"), f"{NOTE}\n", NOTE.replace("—", "-"), f"{TEXT}\n— a b\n",
    f"{TEXT}\n— a AAAA\n", f"{TEXT}\n—  AAAAAAAA\n", NOTE.replace("If", "I\tf"), NOTE.replace("If", "I\rf"),
    f"{TEXT}\n{LINE}x\n", f"{TEXT}\n{LINE[:-2]}!\n", "\ud800" + NOTE, "x" * 2**20 + NOTE,
])  # fmt: skip
def test_what_is_not_a_note_is_refused(note: str) -> None:
    with pytest.raises(Unproven):
        parts(note)


@pytest.mark.parametrize("key", [
    "", "x", "a+b", "a+b+c", KEY[:-4], KEY.replace("c74f20a3", "c74f20a4"), KEY.replace("Peter", "Paul"),
    KEY.replace("ARpc", "AhpC"), KEY.replace("PeterN", "Peter N"), KEY.removeprefix("PeterNeumann"),
])  # fmt: skip
def test_what_is_not_a_verifier_key_is_refused(key: str) -> None:
    with pytest.raises(Unproven):
        Verifier.parse(key)


lines = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))), min_size=1, max_size=5)


@given(st.binary(min_size=32, max_size=32), lines)
def test_what_is_signed_verifies_and_nothing_else_does(seed: bytes, lines: list[str]) -> None:
    signer, text = Signer("example.com/log", seed), "".join(f"{line}\n" for line in lines)
    note = signer.sign(text)
    assert Verifier.parse(str(signer.verifier)).open(note) == text
    with pytest.raises(Unproven):
        signer.verifier.open(f"x{note}")


@pytest.mark.parametrize(("old", "new"), [
    ("\n12\n", "\n012\n"), ("\n12\n", "\n-1\n"), ("\n12\n", "\n1_2\n"), ("\n12\n", "\n\n"), ("account ", ""),
    ("time ", "time x"), ("Z\n", "\n"), (b64encode(bytes(32)).decode(), b64encode(bytes(31)).decode()),
    (b64encode(bytes(32)).decode(), "?"),
])  # fmt: skip
def test_a_note_that_is_no_checkpoint_is_refused(old: str, new: str) -> None:
    text = f"log\n12\n{b64encode(bytes(32)).decode()}\naccount acme\ntime 2026-01-31T12:00:00.000000Z\n"
    assert Checkpoint.parse(text).text() == text
    assert unverified(Signer("log", bytes(32)).sign(text)) == Checkpoint.parse(text)
    assert text.replace(old, new) != text
    with pytest.raises(Unproven):
        Checkpoint.parse(text.replace(old, new))
