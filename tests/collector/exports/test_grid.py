"""Tables for a terminal: what is drawn here is what rich would draw, and where it does not fit, rich does it."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from gputally.collector.exports import grid as module
from gputally.collector.exports.grid import Column, Grid, drawn

FIGURES = Column("GPU-hours", figures=True)
COLUMNS = st.lists(
    st.builds(Column, st.sampled_from(("team", "", "namespace", "名前")), st.booleans(), st.booleans()),
    min_size=1,
    max_size=5,
)
TEXTS = st.text(st.sampled_from("abz 0.,–名e\u0301\t\n[]:%"), max_size=12).map(str.strip)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    columns = [Column("team"), *draw(COLUMNS), FIGURES]  # rich has no room for a last column without any text
    grid = Grid(columns)
    for texts in draw(st.lists(st.lists(TEXTS, max_size=len(columns) - 2), max_size=6)):
        if draw(st.booleans()):
            grid.section()
        grid.add("search", *texts)  # a row without any text would be cut off at the end
    return grid


def of(columns: Sequence[Column], *rows: Sequence[str]) -> Grid:
    grid = Grid(columns)
    for row in rows:
        grid.add(*row)
    return grid


@settings(max_examples=150)
@given(grids(), st.none() | st.integers(min_value=1, max_value=60))
def test_it_looks_as_rich_draws_it(grid: Grid, width: int | None) -> None:
    assert drawn(grid, width) == module._by_rich(grid, width)


def test_figures_stand_to_the_right_and_sections_apart() -> None:
    grid = of([Column("team"), FIGURES], ("search", "1.00"))
    grid.section()
    grid.add("", "10.00")
    assert drawn(grid, None) == " team    GPU-hours\n ─────────────────\n search       1.00\n\n             10.00\n"


def test_names_are_folded_to_a_terminal_and_figures_are_whole() -> None:
    grid = of([Column("team"), FIGURES], ("a-team-with-a-long-name", "123,456.00"))
    text = drawn(grid, 24)
    assert "123,456.00" in text
    assert max(map(len, text.splitlines())) <= 24
