"""Stacked bars: time by state as parts of a line, drawn as SVG without a script or a style of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gputally.accounting.states import State
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.web import words

HELD = (State.USED, State.IDLE, State.UNOBSERVED)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: where it begins and how long it is, in percent of the whole line, as SVG takes it."""

    state: str
    x: str
    width: str


@dataclass(frozen=True, slots=True)
class Bar:
    """`label` says in words what the bar shows."""

    label: str
    segments: tuple[Segment, ...]


def bar(amounts: Amounts, line_us: int, states: Sequence[State] = tuple(State)) -> Bar:
    """Time by state on a line that stands for `line_us`."""
    shown = _shown(amounts.by_state, states)
    return Bar(_hours(shown) or "no time", _segments(shown, line_us))


def bar_now(states_us: Sequence[int], line_us: int) -> Bar:
    """A window's time by state, of a line that stands for `line_us`: hours say nothing of a minute, parts do."""
    shown = _shown(states_us)
    parts = (f"{state} {words.percent(us, line_us)}" for state, us in shown.items())
    return Bar(", ".join(parts) or "no time", _segments(shown, line_us))


def _shown(states_us: Sequence[int], states: Sequence[State] = tuple(State)) -> dict[State, int]:
    times = dict(zip(State, states_us, strict=True))
    return {state: times[state] for state in states if times[state]}


def _segments(times: Mapping[State, int], line_us: int) -> tuple[Segment, ...]:
    found, at = [], 0
    for state, us in times.items():
        found.append(Segment(state.value, percent(at, line_us), percent(us, line_us)))
        at += us
    return tuple(found)


def percent(us: int, line_us: int) -> str:
    """A place on a line, as SVG takes it."""
    return f"{100 * us / line_us if line_us else 0:.3f}%"


def _hours(times: Mapping[State, int]) -> str:
    texts = words.hours(list(times.values()))
    return ", ".join(f"{state} {text} h" for state, text in zip(times, texts, strict=True))
