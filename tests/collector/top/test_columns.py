"""What fits: names may be cut, figures and states never, and what goes goes in a known order."""

from hypothesis import given
from hypothesis import strategies as st
from tests.collector.top.facts import facts, spell, standing

from gputally.collector.top.columns import DROPPED, GAPS, layout
from gputally.collector.top.rows import Column, Row, rows

HEADINGS = {column: column.value for column in Column}
NONE: frozenset[Column] = frozenset()
KEPT = (Column.POD, Column.STATE, Column.COST)
CUTTABLE = {Column.NAMESPACE, Column.POD, Column.CONTAINER, Column.NODE, Column.PART, Column.MODEL}


def some(name: str = "chat-7c9d8b6f5-x2k4q", namespace: str = "inference-of-the-day") -> list[Row]:
    one = standing(name, namespace=namespace, idle=60, memory_gib=61, node="gpu-node-00017")
    return rows(facts([one], [spell(one, 100, 12_345)]))


def needed(widths: dict[Column, int], gap: int) -> int:
    return sum(widths.values()) + gap * (len(widths) - 1)


def test_without_a_width_everything_is_there_in_full() -> None:
    found = layout(some(), HEADINGS, NONE, None)
    assert list(found.widths) == list(Column)
    assert found.widths[Column.POD] == len("chat-7c9d8b6f5-x2k4q")


def test_the_heading_by_which_rows_are_sorted_is_whole_however_narrow_the_terminal_is() -> None:
    sorted_by = {**HEADINGS, Column.NAMESPACE: f"{Column.NAMESPACE.value}▲"}
    assert layout(some(), sorted_by, NONE, 80).widths[Column.NAMESPACE] >= len("NAMESPACE▲")


def test_eighty_columns_tell_who_holds_how_much_since_when_and_for_how_much() -> None:
    found = layout(some(), HEADINGS, NONE, 80)
    asked = (Column.NAMESPACE, Column.POD, Column.NODE, Column.GPUS, Column.STATE, Column.BUSY, Column.LASTS)
    assert {*asked, Column.MEMORY, Column.RATE, Column.COST} <= found.widths.keys()


def test_a_column_that_is_hidden_takes_no_room() -> None:
    hidden = frozenset({Column.NAMESPACE})
    assert Column.NAMESPACE not in layout(some(), HEADINGS, hidden, None).widths


@given(st.integers(1, 250))
def test_what_goes_goes_in_the_defined_order(width: int) -> None:
    gone = [column for column in Column if column not in layout(some(), HEADINGS, NONE, width).widths]
    assert set(gone) == set(DROPPED[: len(gone)])


@given(st.integers(1, 250), st.text("abc-", min_size=1, max_size=60), st.text("ns-", min_size=1, max_size=60))
def test_figures_are_whole_in_any_width_and_lines_fit_where_they_can(width: int, name: str, namespace: str) -> None:
    found = some(name, namespace)
    laid = layout(found, HEADINGS, NONE, width)
    full = layout(found, HEADINGS, NONE, None).widths
    widths = dict(laid.widths)
    assert set(KEPT) <= widths.keys()
    assert laid.gap in GAPS
    assert all(cells == full[column] for column, cells in widths.items() if column not in CUTTABLE)
    assert needed(widths, laid.gap) <= max(width, needed({column: widths[column] for column in KEPT}, 1))
    assert all(cells <= full[column] for column, cells in widths.items())
