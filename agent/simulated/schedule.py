"""The schedule texts of a scenario file: instants, durations, weekly hours and weekly steps. All clocks are UTC."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from gputally.accounting.ledger_hour import to_us
from gputally.agent.simulated.pattern import DAY_US, SECOND_US, WEEK_US, Pattern, weekly

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_UNITS_US = {"ms": 1_000, "s": SECOND_US, "m": 60 * SECOND_US, "h": 3_600 * SECOND_US, "d": DAY_US}
_DURATION = re.compile(r"(\d{1,6})(ms|s|m|h|d)")
_CLOCK = re.compile(r"(\d\d):(\d\d)(?::(\d\d))?")
_SHORTEST_CYCLE_US = 10 * SECOND_US  # a week of the shortest cycle is 60 480 edges for each of its steps


class ScheduleError(ValueError):
    """A text that is not what its place asks for; the message says what was expected."""


def duration(text: str) -> int:
    """Microseconds of `90s`, `250ms`, `5m`, `8h` or `2d`."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ScheduleError(f"{text!r} is not a duration such as 90s, 250ms, 5m, 8h or 2d")
    return int(match[1]) * _UNITS_US[match[2]]


def instant(text: str, start_us: int) -> int:
    """Microseconds since the epoch of an RFC 3339 instant, or of `+90s` after the scenario's start."""
    if text.startswith("+"):
        return start_us + duration(text[1:])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ScheduleError(f"{text!r} is not an instant such as 2025-03-01T08:00:00Z or +90s (after the start)")
    return to_us(moment)


def hours(texts: Sequence[str]) -> Pattern:
    """1 within the weekly spans, 0 outside: `22:00-06:00`, `mon-fri 08:00-18:00`, `sat,sun`; a span past midnight
    belongs to the day on which it begins."""
    spans = [span for text in texts for span in _spans(text)]
    edges = {0} | {edge % WEEK_US for span in spans for edge in span}
    return weekly((edge, int(any(start <= edge < end for start, end in spans))) for edge in edges)


def weekly_steps(steps: Mapping[str, int]) -> Pattern:
    """A value from each `mon-fri 08:00` (or `08:00`, on every day) on, until the next one."""
    found: dict[int, int] = {}
    for text, value in steps.items():
        days, clock = _split_days(text)
        for day in days:
            offset = day * DAY_US + _clock(clock, text) % DAY_US
            if offset in found:
                raise ScheduleError(f"{text!r} sets a time that another step sets too")
            found[offset] = value
    if not found:
        raise ScheduleError("there is no step")
    return weekly(found.items())


def cycle_steps(every: str, steps: Mapping[str, int]) -> Pattern:
    """A value from each duration after the beginning of a cycle on; the first cycle of a day begins at midnight."""
    length = duration(every)
    if length < _SHORTEST_CYCLE_US or DAY_US % length:
        raise ScheduleError(f"{every!r} should be at least 10s and divide a day without remainder")
    offsets = {duration(text): value for text, value in steps.items()}
    if not offsets or max(offsets) >= length:
        raise ScheduleError(f"the steps should be durations shorter than {every}, such as 0s")
    return weekly((start + offset, value) for start in range(0, WEEK_US, length) for offset, value in offsets.items())


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """The (start, end) offsets into the week of one text; one that runs past Sunday goes on at the week's start."""
    days, clocks = _split_days(text)
    start, end = _clocks(clocks, text)
    for day in days:
        begin, finish = day * DAY_US + start, day * DAY_US + end
        yield begin, min(finish, WEEK_US)
        if finish > WEEK_US:
            yield 0, finish - WEEK_US


def _clocks(text: str, whole: str) -> tuple[int, int]:
    if not text:
        return 0, DAY_US
    first, _, last = text.partition("-")
    start, end = _clock(first, whole) % DAY_US, _clock(last, whole)
    return start, end if end > start else end + DAY_US


def _clock(text: str, whole: str) -> int:
    """Microseconds after midnight of `08:00`, `08:00:30` or `24:00`."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ScheduleError(f"{whole!r}: {text!r} is not a time such as 08:00 (UTC)")
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    seconds = hour * 3600 + minute * 60 + second
    if minute > 59 or second > 59 or seconds > 86_400:
        raise ScheduleError(f"{whole!r}: {text!r} is not a time of day")
    return seconds * SECOND_US


def _split_days(text: str) -> tuple[list[int], str]:
    """The days (0 is Monday) that a text begins with, every day where it names none, and the rest."""
    head, _, rest = text.partition(" ")
    if not head[:1].isalpha():
        return list(range(7)), text
    return sorted({day for part in head.split(",") for day in _day_range(part, text)}), rest


def _day_range(part: str, whole: str) -> Iterator[int]:
    first, _, last = part.partition("-")
    if first not in _DAYS or (last or first) not in _DAYS:
        raise ScheduleError(f"{whole!r}: {part!r} is not a day or a range of days such as mon or mon-fri")
    start, end = _DAYS.index(first), _DAYS.index(last or first)
    yield from (day % 7 for day in range(start, end + 1 if end >= start else end + 8))
