"""Knows a job's outputs or results as they come in; must not know what one of them looks like."""

from typing import Any

from msgspec import Struct, field


class Items(Struct, omit_defaults=True):
    """Things in order. One with the `key` of an earlier one takes its place."""

    all: list[Any] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)

    def keep(self, item: Any, key: str | None) -> None:
        """One more, or another in the place of the one that has its key."""
        if key is None:
            self.all.append(item)
        elif key in self.keys:
            self.all[self.keys[key]] = item
        else:
            self.keys[key] = len(self.all)
            self.all.append(item)
