"""A period cut at instants, as SQL that says in which piece a posting's hour lies."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import case, literal_column
from sqlalchemy.sql.elements import ColumnElement


def piece_of(
    hour_us: ColumnElement[Any], edges: Sequence[int], numbers: Sequence[int] | None = None
) -> ColumnElement[Any]:
    """The number of the piece that holds `hour_us`; piece i begins at edges[i], so the first holds all before edges[1].

    It is `numbers[i]`, or without numbers i itself.

    A tree of comparisons rather than a list: a posting in a month of hours is placed by ten of them, not by hundreds.
    """
    return _tree(hour_us, edges, range(len(edges)) if numbers is None else numbers, 0, len(edges))


def _tree(
    hour_us: ColumnElement[Any], edges: Sequence[int], numbers: Sequence[int], first: int, end: int
) -> ColumnElement[Any]:
    if end - first <= 1:
        return literal_column(str(numbers[first]))
    middle = (first + end) // 2
    # Our own integers, written out: thousands of bound parameters would cost more than they protect.
    before = hour_us < literal_column(str(edges[middle]))
    earlier, later = ((first, middle), (middle, end))
    return case((before, _tree(hour_us, edges, numbers, *earlier)), else_=_tree(hour_us, edges, numbers, *later))
