"""Knows what remains of a payload when what was said in it is taken out; must not know why, or where it is kept.

A job's `uid` and `kind` always remain: without them it could be neither found nor told. Whatever else remains stays as
it was written, to the byte.
"""

from collections.abc import Collection
from typing import Final, get_args

import msgspec

from jobstore.job import codec
from jobstore.job.events import Event, JobErased

REMAINS: Final = frozenset(("uid", "kind"))
FIELDS: Final = (
    frozenset(field for event in get_args(Event) if event is not JobErased for field in event.__struct_fields__)
    - REMAINS
)
"""What can be erased of events, by name."""

_ERASED: Final = codec.NAMES[JobErased]
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def remains(type: str, data: str, fields: Collection[str]) -> str:
    """The payload `data`, of an event stored as `type`, without `fields`, or without any where none is named.

    A claim is made of the arguments, so it goes with them. What says that something was erased stays whole.
    """
    if type == _ERASED:
        return data
    gone = {*fields, "claim"} if "args" in fields else fields
    members = _decode(data)
    kept = {name: value for name, value in members.items() if name in REMAINS or (fields and name not in gone)}
    return data if len(kept) == len(members) else _encode(kept).decode()
