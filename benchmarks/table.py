"""The one table: each figure beside its ceiling, which is the same work done the fastest known way in the same run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_HEAD = ("figure", "", "unit", "ceiling", "", "ratio", "target", "")


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be: a predicate, and the same in words."""

    text: str
    holds: Callable[["Figure"], bool]


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured. `ceiling` names the same work done the fastest known way, `least` is what that took.

    `kept`: the ratio is one of CPU times, lower is better, and `make bench-quick` compares it with the kept one.
    """

    name: str
    value: float
    unit: str
    ceiling: str = ""
    least: float | None = None
    target: Target | None = None
    kept: bool = False

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of its ceiling; None where it has none."""
        return self.value / self.least if self.least else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return self.target.holds(self) if self.target else None


def ratio_at_most(most: float) -> Target:
    """For what costs: at most so many times its ceiling."""
    return Target(f"<= {most:g} x", lambda figure: figure.ratio is not None and figure.ratio <= most)


def ratio_at_least(least: float) -> Target:
    """For a rate: at least this part of its ceiling."""
    return Target(f">= {least:g} x", lambda figure: figure.ratio is not None and figure.ratio >= least)


def at_most(most: float) -> Target:
    """At most so much, in the figure's own unit."""
    return Target(f"<= {most:,g}", lambda figure: figure.value <= most)


def at_least(least: float) -> Target:
    """At least so much, in the figure's own unit."""
    return Target(f">= {least:,g}", lambda figure: figure.value >= least)


def page(figures: Sequence[Figure]) -> str:
    """The table as text, and a line that counts what is missed."""
    rows = [_HEAD, *map(_cells, figures)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([*lines, "", _summary(figures)]) + "\n"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Numbers stand at the right of their column."""
    cells = [
        cell.rjust(width) if at in (1, 4, 5) else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _cells(figure: Figure) -> tuple[str, ...]:
    verdict = {None: "", True: "met", False: "NOT MET"}[figure.met]
    ratio = "" if figure.ratio is None else f"{number(figure.ratio)} x"
    least = "" if figure.least is None else number(figure.least)
    target = figure.target.text if figure.target else ""
    return (figure.name, number(figure.value), figure.unit, figure.ceiling, least, ratio, target, verdict)


def _summary(figures: Iterable[Figure]) -> str:
    verdicts = [figure.met for figure in figures if figure.met is not None]
    return f"targets: {verdicts.count(True)} met, {verdicts.count(False)} not met"


def number(value: float) -> str:
    """Three digits that say something, and every digit before the point."""
    if not value:
        return "0"
    digits = max(0, 2 - len(str(int(abs(value)))) + 1) if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"
