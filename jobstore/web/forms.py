"""Knows how a form is read as the object that it means: `job[id]=1&names[]=a` is {"job": {"id": "1"}, "names": ["a"]}.

Source: application/x-www-form-urlencoded (WHATWG URL, 5.1); the brackets are a habit of many clients, no standard.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final
from urllib.parse import parse_qsl

from jobstore.web.problems import Problem

MOST: Final = 1000  # fields
DEEPEST: Final = 8  # brackets

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


def parse(body: bytes) -> dict[str, Any]:
    """What a form means. Raises Problem."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST, errors="strict")
    except UnicodeDecodeError:
        raise Problem("bad-request", "the form is not UTF-8") from None
    except ValueError:
        raise Problem("malformed", f"a form has at most {MOST} fields") from None
    return nest(pairs)


def nest(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Pairs of names and values as an object. Of a name that comes twice the last value counts. Raises Problem."""
    whole: dict[str, Any] = {}
    for name, value in pairs:
        check(name, value)
        found = _NAME.fullmatch(name)
        keys = [found[1], *_BRACKETS.findall(found[2])] if found else [name]
        if len(keys) > DEEPEST:
            raise Problem("malformed", f"nested deeper than {DEEPEST} levels")
        _put(whole, name, keys, value)
    return whole


def _put(whole: dict[str, Any], name: str, keys: list[str], value: str) -> None:
    """Put `value` where `keys` lead; an empty key, which only the last may be, adds to an array."""
    here: Any = whole
    for key, after in pairwise(keys):
        here = here.setdefault(key, [] if after == "" else {}) if isinstance(here, dict) and key else None
    if isinstance(here, list) and keys[-1] == "":
        here.append(value)
    elif isinstance(here, dict) and (keys[-1] or here is whole) and not isinstance(here.get(keys[-1]), dict | list):
        here[keys[-1]] = value
    else:
        raise Problem("malformed", f"{name} is at odds with the rest of the form")


def check(*texts: str) -> None:
    """Raises Problem for a text that cannot be stored."""
    for text in texts:
        if "\0" in text or (not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text)):
            raise Problem("malformed", "a text contains the character NUL or half a character, which cannot be stored")
