"""A frame, drawn with rich: the header, as many rows as there is room for, and the keys."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.text import Text

from gputally.accounting.states import State
from gputally.collector.top.columns import FIGURES, Layout, layout
from gputally.collector.top.facts import Facts, Where
from gputally.collector.top.header import Header, cells, header
from gputally.collector.top.rows import By, Column, Row, Sort, ordered, rows

# The colours of the pages, each with a pattern of its own: a colour alone tells not everybody something.
_STYLES = {
    State.USED: "#5f93ee",
    State.IDLE: "#f0994f",
    State.UNALLOCATED: "#8497ab",
    State.UNAVAILABLE: "#d9667d",
    State.UNOBSERVED: "#9aa5b3",
}
_PATTERNS = dict(zip(State, "█▓░▚╱", strict=True))
_LETTERS = dict(zip(State, "#=.x/", strict=True))  # where the terminal has no more
_MUTED, _WARNING = "dim", "bold #d9667d"
_SORTED_BY = {
    Sort.COST: Column.COST,
    Sort.RATE: Column.RATE,
    Sort.SINCE: Column.LASTS,
    Sort.BUSY: Column.BUSY,
    Sort.MEMORY: Column.MEMORY,
    Sort.NAME: Column.NAMESPACE,
}
Styles = Callable[[Column], str]
_APART = 2  # cells between two figures of the header
_SPACE = 3  # lines: the headings of the table, and an empty one on each side of it
_UNBOUNDED = 60  # of a bar, where no terminal says how wide


@dataclass(frozen=True, slots=True)
class Size:
    """The terminal in cells; None where there is none, or no end to it."""

    width: int | None
    height: int | None = None
    ascii_only: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """What of the facts is shown, and what else there is to say."""

    sort: Sort = Sort.COST
    by: By = By.CONTAINER
    reverse: bool = False
    first: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame's lines. `body` is how many rows there is room for (None: for all), `count` how many there are."""

    lines: tuple[Text, ...]
    body: int | None
    count: int

    @property
    def drawn(self) -> Group:
        """What rich prints."""
        return Group(*self.lines)


def listed(facts: Facts, shown: Shown) -> list[Row]:
    """The rows as they are shown, from the first to the last."""
    return ordered(rows(facts, shown.by), shown.sort, reverse=shown.reverse)


def frame(
    facts: Facts | None,
    now_us: int,
    shown: Shown,
    size: Size,
    keys: Sequence[str] = (),
    found: Sequence[Row] | None = None,
) -> Frame:
    """The frame as of `now_us`; `keys` explains the keyboard, where there is one.

    `found` is what `listed` gives, from whoever has it at hand: it takes a second for ten thousand GPUs.
    """
    if facts is None:
        lines = [*_packed([Text("GPU Tally", "bold"), *_problem(shown)], size), *_packed(_muted(keys), size)]
        return Frame(tuple(lines), 0, 0)
    top = list(_top(header(facts, now_us), shown, size))
    found = listed(facts, shown) if found is None else found
    foot = len(list(_packed(_muted(("99999–99999 of 99999", *keys)), size))) if keys else 0
    body = None if size.height is None else max(1, size.height - len(top) - foot - _SPACE)
    last = len(found) if body is None else shown.first + body
    table = list(_table(found, slice(shown.first, last), facts, shown, size))
    where = () if not keys or not found else (f"{shown.first + 1}–{min(last, len(found))} of {len(found)}",)
    bottom = [Text(), *_packed(_muted((*where, *keys)), size)] if keys else []
    return Frame((*top, Text(), *table, *bottom), body, len(found))


def _top(head: Header, shown: Shown, size: Size) -> Iterator[Text]:
    yield from _packed([Text("GPU Tally", "bold"), *(Text(part) for part in head.title)], size)
    yield _bar(head.times, size)
    yield from _packed([_legend(state, gpus, size) for state, gpus in head.by_state], size)
    idle = [Text(figure, f"bold {_STYLES[State.IDLE]}") for figure in head.idle]
    yield from _packed([*(Text(figure) for figure in head.figures), *idle], size)
    yield from _packed([Text(line, _WARNING) for line in head.warnings], size)
    yield from _packed(_problem(shown), size)


def _problem(shown: Shown) -> list[Text]:
    return [Text(shown.problem, _WARNING)] if shown.problem else []


def _muted(texts: Sequence[str]) -> list[Text]:
    return [Text(text, _MUTED) for text in texts]


def _bar(times: Sequence[int], size: Size) -> Text:
    widths = cells(times, size.width or _UNBOUNDED)
    parts = zip(State, widths, strict=True)
    return _line(*(Text(_pattern(state, size) * width, _STYLES[state]) for state, width in parts))


def _legend(state: State, gpus: str, size: Size) -> Text:
    return _line(Text(_pattern(state, size), _STYLES[state]), Text(f" {state} {gpus}"))


def _pattern(state: State, size: Size) -> str:
    return (_LETTERS if size.ascii_only else _PATTERNS)[state]


def _packed(items: Sequence[Text], size: Size) -> Iterator[Text]:
    """The items on as many lines as it takes, none of them broken unless it is wider than the terminal."""
    line = Text()
    for item in items:
        if line and size.width is not None and line.cell_len + _APART + item.cell_len > size.width:
            yield line
            line = Text()
        line = _line(line, Text(" " * _APART), item) if line else item
        while size.width is not None and line.cell_len > size.width:
            head, line = line.divide([size.width])
            yield head
    if line:
        yield line


def _table(found: Sequence[Row], seen: slice, facts: Facts, shown: Shown, size: Size) -> Iterator[Text]:
    """The heading and the rows that are seen; widths are those of all, so that scrolling moves nothing."""
    if not found:
        yield Text("nobody holds a GPU" if facts.standings else "nothing is known", _MUTED)
        return
    headings = _headings(shown, size)
    laid = layout(found, headings, _hidden(facts.where, shown.by), size.width)
    yield _line(*_cells(headings, laid, lambda column: "bold" if column is _SORTED_BY[shown.sort] else _MUTED))
    for row in found[seen]:
        yield _line(*_cells(row.cells, laid, _style_of(row)))


def _headings(shown: Shown, size: Size) -> dict[Column, str]:
    texts = {column: column.value for column in Column}
    column = _SORTED_BY[shown.sort]
    ascending = (shown.sort is Sort.NAME) is not shown.reverse
    arrow = ("^" if ascending else "v") if size.ascii_only else ("▲" if ascending else "▼")
    return {**texts, column: texts[column] + arrow}


def _hidden(where: Where, by: By) -> frozenset[Column]:
    """A column that would say the same in every row."""
    told = {Column.NAMESPACE: where.namespace, Column.NODE: where.node, Column.GPUS: by is By.PARTITION or None}
    return frozenset(column for column, value in told.items() if value is not None)


def _style_of(row: Row) -> Styles:
    state = _STYLES[row.state] if row.state else ""
    return lambda column: _MUTED if row.silent else state if column is Column.STATE else ""


def _cells(texts: Mapping[Column, str], laid: Layout, style: Styles) -> Iterator[Text]:
    for at, (column, width) in enumerate(laid.widths.items()):
        gap = " " * laid.gap if at else ""
        yield Text(gap + _fitted(texts[column], width, right=column in FIGURES), style(column))


def _fitted(text: str, width: int, *, right: bool) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - cell_len(text)) + text if right else set_cell_size(text, width)


def _line(*parts: Text) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="crop")
