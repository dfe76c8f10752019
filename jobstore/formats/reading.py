"""Knows how to read what was written loosely: a query's parameters, and free JSON. Must not know any vendor."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from jobstore.formats.contract import Asked, Failure, json, number

T = TypeVar("T")

# -- Parameters ---------------------------------------------------------------------------------------------------


def wrong(name: str, says: str) -> Failure:
    """The failure of a field that is missing or wrong."""
    return Failure("malformed", f"{name}: {says}", fields={name: [says]})


def whole(asked: Asked, name: str, *, least: int, most: int, default: int) -> int:
    """The whole number that a parameter writes. Raises Failure."""
    text = asked.first(name)
    if text is None:
        return default
    value = 0 if text == "0" else number(text)
    if value is None or not least <= value <= most:
        raise wrong(name, f"must be a whole number from {least} to {most}")
    return value


def choice(asked: Asked, name: str, choices: Mapping[str, T], default: str) -> T:
    """What the word of a parameter stands for. Raises Failure."""
    word = asked.first(name)
    if word is None:
        word = default
    if word not in choices:
        raise wrong(name, f"must be one of {', '.join(choices)}")
    return choices[word]


# -- Numbers and free JSON --------------------------------------------------------------------------------------------


def plain(fraction: float) -> int | float:
    """A fraction as the vendors write it: all and nothing as 1 and 0."""
    return int(fraction) if fraction in (0, 1) else fraction


def integer(value: Any) -> int | None:
    """`value`, if it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def string(value: Any) -> str | None:
    """`value`, if it is a text."""
    return value if isinstance(value, str) else None


def moment(value: Any) -> datetime | None:
    """The moment that an ISO 8601 text writes; without an offset it is UTC."""
    try:
        at = datetime.fromisoformat(value)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def text(said: Any) -> str:
    """Any JSON as a text: of an array one thing a line, of an object one field a line, of null nothing."""
    match said:
        case None:
            return ""
        case str():
            return said
        case list():
            return "\n".join(map(text, said))
        case dict():
            return "\n".join(f"{name}: {text(value)}" for name, value in said.items())
        case _:
            return json(said).decode()
