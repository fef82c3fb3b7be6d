"""A frame on a terminal: nothing wider or higher than it, and what is there is there in words as well as in colours."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.collector.top.facts import NOON_US, facts, spell, standing

from gputally.collector.top.draw import Frame, Shown, Size, frame
from gputally.collector.top.facts import Facts, Where
from gputally.collector.top.keys import HELP
from gputally.collector.top.rows import Sort


def fleet(pods: int = 30) -> Facts:
    parts = [standing(f"train-{at}", idle=60, uuid=f"GPU-{at:08}") for at in range(pods)]
    return facts(parts, [spell(one, 5, at) for at, one in enumerate(parts)])


def lines(found: Frame) -> list[str]:
    return [line.plain for line in found.lines]


def shown(size: Size, sort: Shown = Shown(), found: Facts | None = None) -> list[str]:  # noqa: B008 - frozen
    return lines(frame(found or fleet(), NOON_US, sort, size, HELP))


@given(width=st.integers(24, 200), height=st.integers(1, 60), pods=st.integers(0, 40), ascii_only=st.booleans())
def test_a_frame_fits_the_terminal_where_anything_does(width: int, height: int, pods: int, *, ascii_only: bool) -> None:
    """One row stands in any, and no column is narrower than its figures."""
    found = lines(frame(fleet(pods), NOON_US, Shown(), Size(width, height, ascii_only), HELP))
    least = lines(frame(fleet(pods), NOON_US, Shown(), Size(width, 1, ascii_only), HELP))
    assert len(found) <= max(height, len(least))
    assert all(len(line) <= max(width, 30) for line in found)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_frame_is_as_high_as_the_terminal_where_there_is_more(width: int) -> None:
    assert len(shown(Size(width, 24))) == 24


def test_what_is_below_is_counted_and_scrolled_to() -> None:
    top = shown(Size(80, 24))
    assert any(line.startswith("1–") and " of 30" in line for line in top)
    assert "train-29" in "".join(top)
    down = shown(Size(80, 24), Shown(first=20))
    assert "train-29" not in "".join(down)
    assert "train-0" in "".join(down)


def test_without_a_terminal_all_rows_are_there_and_no_keys() -> None:
    found = lines(frame(fleet(), NOON_US, Shown(), Size(None)))
    assert sum("train-" in line for line in found) == 30
    assert not any("quit" in line for line in found)


def test_the_order_is_marked_in_the_heading() -> None:
    (heading,) = (line for line in shown(Size(120, 24)) if "STATE" in line)
    assert "SPELL▼" in heading
    (heading,) = (line for line in shown(Size(120, 24), Shown(Sort.NAME)) if "STATE" in line)
    assert "NAMESPACE▲" in heading
    (heading,) = (
        line for line in shown(Size(120, 24, ascii_only=True), Shown(Sort.BUSY, reverse=True)) if "ST" in line
    )
    assert "BUSY^" in heading


def test_states_are_told_by_patterns_and_words_and_not_by_colour_alone() -> None:
    _, bar, legend, *_ = shown(Size(80, 24), found=facts([standing(used=30, idle=30)]))
    assert bar == "█" * 40 + "▓" * 40
    assert legend.startswith("█ used 0.5  ▓ idle 0.5")
    _, bar, *_ = shown(Size(80, 24, ascii_only=True), found=facts([standing(used=30, idle=30)]))
    assert bar == "#" * 40 + "=" * 40


def test_a_terminal_without_unicode_gets_what_it_can_show() -> None:
    drawn = shown(Size(80, 24, ascii_only=True), found=facts([standing(used=30, idle=30)]))
    assert {char for line in drawn[:3] for char in line if not char.isascii()} == set()


def test_a_namespace_or_a_node_that_was_asked_for_is_no_column() -> None:
    found = facts([standing(used=60)], where=Where("vision", "gpu-1"))
    (heading,) = (line for line in shown(Size(120, 24), found=found) if "STATE" in line)
    assert "NAMESPACE" not in heading
    assert "NODE" not in heading


def test_a_problem_is_said_with_what_was_known_before() -> None:
    drawn = shown(Size(80, 24), Shown(problem="database x cannot be used: gone"))
    assert "database x cannot be used: gone" in drawn
    assert any("train-29" in line for line in drawn)


def test_before_anything_is_known_there_is_no_figure() -> None:
    found = frame(None, NOON_US, Shown(problem="reading the database"), Size(80, 24), HELP)
    assert lines(found)[0] == "GPU Tally  reading the database"
    assert not any(char.isdigit() for line in lines(found) for char in line)


def test_nobody_and_nothing_are_told_apart() -> None:
    assert "nothing is known" in shown(Size(80, 24), found=facts([]))


def test_rich_draws_it_without_folding_a_line() -> None:
    out = io.StringIO()
    found = frame(fleet(), NOON_US, Shown(), Size(50, 24), HELP)
    Console(file=out, width=50, force_terminal=True, color_system="truecolor").print(found.drawn)
    assert out.getvalue().count("\n") == len(found.lines)
    assert "\x1b[38;2;240;153;79m" in out.getvalue()  # idle, in the colour of the pages
