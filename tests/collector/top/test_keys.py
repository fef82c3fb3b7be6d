"""What keys do: known sequences, no effect of unknown ones, and a view that stays within the rows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.top.draw import Frame, Shown
from gputally.collector.top.keys import SORTS, Key, after, keys
from gputally.collector.top.rows import By, Sort

FRAME = Frame((), 10, 57)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (b"q", [Key.QUIT]),
        (b"\x1b[A\x1bOBjk", [Key.UP, Key.DOWN, Key.DOWN, Key.UP]),
        (b"\x1b[5~\x1b[6~ ", [Key.PAGE_UP, Key.PAGE_DOWN, Key.PAGE_DOWN]),
        (b"gG\x1b[H\x1b[F", [Key.HOME, Key.END, Key.HOME, Key.END]),
        (b"chp", [Sort.COST, Sort.RATE, Key.BY]),
        (b"\x1b[1;5C\x1b[99~x\xff", []),  # what is not known is not taken for the letters in it
    ],
)
def test_bytes_become_keys(typed: bytes, found: list[Key | Sort]) -> None:
    assert list(keys(typed)) == found


def test_every_order_has_a_key() -> None:
    assert set(SORTS.values()) == set(Sort)


def test_the_same_order_again_is_reversed_and_another_begins_at_the_top() -> None:
    shown = after(Sort.COST, Shown(first=7), FRAME)
    assert (shown.reverse, shown.first) == (True, 0)
    assert after(Sort.BUSY, shown, FRAME) == Shown(Sort.BUSY)


def test_parts_are_shown_and_put_together_again() -> None:
    apart = after(Key.BY, Shown(first=3), FRAME)
    assert (apart.by, apart.first) == (By.PARTITION, 0)
    assert after(Key.BY, apart, FRAME) == Shown()


@pytest.mark.parametrize(
    ("key", "first"),
    [(Key.UP, 19), (Key.DOWN, 21), (Key.PAGE_UP, 10), (Key.PAGE_DOWN, 30), (Key.HOME, 0), (Key.END, 47)],
)
def test_scrolling_moves_by_a_row_a_page_or_all(key: Key, first: int) -> None:
    assert after(key, Shown(first=20), FRAME).first == first


@given(st.binary(max_size=30), st.integers(0, 30), st.integers(1, 20))
def test_whatever_is_typed_the_view_stays_within_the_rows(typed: bytes, count: int, body: int) -> None:
    shown, last = Shown(), Frame((), body, count)
    for key in keys(typed):
        shown = replace(after(key, shown, last), problem="")
        assert 0 <= shown.first <= max(0, count - body)
