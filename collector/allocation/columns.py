"""Columns of integers, added up by group: a fleet's sums come by thousands, and to go row by row takes several times as
long.

What may be unknown is None; of a group it is unknown only where nobody in it knows it.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import count
from typing import Generic, TypeAlias, TypeVar

Column: TypeAlias = Sequence[int | None]

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Groups(Generic[_Key]):
    """Which group each of some rows belongs to; `keys` are the groups', in the order of their first rows."""

    def __init__(self, keys: Iterable[_Key]) -> None:
        places: defaultdict[_Key, int] = defaultdict(count().__next__)
        self.of: Sequence[int] = list(map(places.__getitem__, keys))
        self.keys: Sequence[_Key] = list(places)

    def __len__(self) -> int:
        return len(self.keys)

    def put_in_order(self, order: Sequence[int]) -> None:
        """Let the groups stand in the order of these, their places so far."""
        rank = [0] * len(order)
        for place, at in enumerate(order):
            rank[at] = place
        self.of = picked(rank, self.of)
        self.keys = picked(self.keys, order)

    def sums(self, column: Column) -> Column:
        """The sum of each group."""
        if not any(column):
            return self._of_nothing(column)
        found = [0] * len(self.keys)
        try:
            for at, value in zip(self.of, column, strict=True):
                found[at] += value  # type: ignore[operator]  # raises where something is unknown
        except TypeError:
            return self._known(column)
        return found

    def _of_nothing(self, column: Column) -> Column:
        """Of zeros, of what is unknown, or of both."""
        told = set(column)
        return [*told] * len(self.keys) if len(told) == 1 else self._known(column)

    def _known(self, column: Column) -> Column:
        found: list[int | None] = [None] * len(self.keys)
        for at, value in zip(self.of, column, strict=True):
            if value is not None:
                found[at] = value + (found[at] or 0)
        return found


def sum_of(column: Column) -> int | None:
    """The sum of what is known."""
    try:
        return sum(column) if column else None  # type: ignore[arg-type]  # raises where something is unknown
    except TypeError:
        known = [value for value in column if value is not None]
        return sum(known) if known else None


def picked(column: Sequence[_Value], at: Iterable[int]) -> Sequence[_Value]:
    """The values at some places."""
    return list(map(column.__getitem__, at))
