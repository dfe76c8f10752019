"""Knows signed notes with Ed25519 (https://c2sp.org/signed-note); must not know what the notes are about.

A note is a text that ends with a newline, an empty line, and a line a signature: `— NAME BASE64`, of a key's id and its
signature over the text. A verifier key is written `NAME+ID+BASE64`, as Go's sumdb/note and its kin take it.
"""

import re
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519: Final = b"\x01"
_LONGEST: Final = 2**20  # bytes of a note; the format asks for some limit
_NAME = re.compile(r"[^\s+]+")
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


class Unproven(Exception):
    """A note, an export or a log is not what it says, or is not known to be; the text says where and how."""


class Verifier(NamedTuple):
    """A key that notes are verified with; `public` are its 32 bytes (RFC 8032)."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The first four bytes of what tells this key from others."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """The key that is written so. Raises Unproven when it is none, or not one of Ed25519."""
        name, _, rest = text.strip().partition("+")
        id, _, encoded = rest.partition("+")
        try:
            raw = b64decode(encoded, validate=True)
            verifier = cls(name, raw[1:])
            Ed25519PublicKey.from_public_bytes(verifier.public)
        except ValueError:
            raise Unproven(f"{text.strip()!r} is not a verifier key: NAME+ID+BASE64") from None
        if not _NAME.fullmatch(name) or raw[:1] != _ED25519 or verifier.id.hex() != id:
            raise Unproven(f"{text.strip()!r} is not a verifier key of Ed25519: its parts do not belong together")
        return verifier

    def open(self, note: str) -> str:
        """The text of a note that this key has signed. Raises Unproven; other keys' signatures are ignored."""
        text, signatures = parts(note)
        mine = [signature[4:] for name, signature in signatures if (name, signature[:4]) == (self.name, self.id)]
        if not mine:
            raise Unproven(f"the note is not signed with the key {self.name}+{self.id.hex()}")
        for signature in mine:
            try:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
            except InvalidSignature:
                raise Unproven(f"the signature of {self.name} is not of this note") from None
        return text


class Signer(NamedTuple):
    """A key that signs notes; `seed` are the 32 bytes of the private key (RFC 8032)."""

    name: str
    seed: bytes

    @property
    def verifier(self) -> Verifier:
        """The key that its notes are verified with."""
        return Verifier(self.name, self._key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The text, which ends with a newline, as a note."""
        signature = b64encode(self.verifier.id + self._key.sign(text.encode())).decode()
        return f"{text}\n— {self.name} {signature}\n"

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def parts(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """A note's text, not verified, and its signatures with their keys' names. Raises Unproven when it is not a note."""
    try:
        size = len(note.encode())
    except UnicodeEncodeError:
        raise Unproven("this is not a signed note: it is not UTF-8") from None
    text, blank, lines = note.rpartition("\n\n")
    if size > _LONGEST or not blank or not lines.endswith("\n") or re.search(r"[\x00-\x09\x0b-\x1f]", note):
        raise Unproven("this is not a signed note: a text, an empty line, and signatures")
    signatures = []
    for line in lines[:-1].split("\n"):
        shape = _SIGNATURE.fullmatch(line)
        try:
            signature = b64decode(shape[2], validate=True) if shape is not None else b""
        except ValueError:
            signature = b""
        if shape is None or len(signature) < 5:
            raise Unproven("this is not a signed note: a signature is malformed")
        signatures.append((shape[1], signature))
    return text + "\n", signatures
