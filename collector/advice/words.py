"""Advice in words: one sentence for each, with its numbers."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from gputally.accounting.ledger_hour import HOUR_US, from_us
from gputally.collector.advice.advice import Advice, Details, Fit, IdleNotebook, OffHours, Stretch, Unused

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WEEK = 7 * 24
_GIGABYTE = 10**9

TITLES = {
    "unused-gpus": "GPUs never used",
    "fits-mig": "Would fit a MIG profile",
    "idle-notebook": "Idle notebook",
    "idle-off-hours": "Idle off hours",
}


def says(advice: Advice, zone: ZoneInfo) -> str:
    """The sentence; instants in the zone."""
    say: Callable[[Any, ZoneInfo], str] = _SAYS[type(advice.details)]
    return say(advice.details, zone)


def who(advice: Advice) -> str:
    """The pod that it is about, or the workload, where it is about all of its pods."""
    pods = advice.subject.pods
    return f"pod/{pods[0]}" if isinstance(advice.details, Unused | IdleNotebook) and pods else advice.subject.workload


def _unused(of: Unused, zone: ZoneInfo) -> str:
    what = "GPUs" if of.whole else "parts of GPUs"
    since = f"held since {_instant(of.since_us, zone)}"
    return f"used {of.used} of its {of.parts} {what}, and {of.never} never, {since}"


def _fit(of: Fit, _zone: ZoneInfo) -> str:
    memory = f"at most {of.peak_bytes / _GIGABYTE:,.1f} GB of memory held"
    busy = f"busy {_percent(of.busy_permille)} of the time, {_percent(of.busiest_permille)} in the busiest hour"
    return f"{memory}, {busy}: fits {of.profile} of {of.model} ({of.slices}/{of.of} of it)"


def _notebook(of: IdleNotebook, zone: ZoneInfo) -> str:
    days, hours = divmod((of.until_us - of.since_us) // HOUR_US, 24)
    least = "at least " if of.before else ""
    length = f"{days} d {hours} h" if hours else f"{days} d"
    memory = "" if of.memory_bytes is None else f", with {of.memory_bytes / _GIGABYTE:,.1f} GB of memory held"
    count = "its GPU" if of.parts == 1 else f"all {of.parts} of its GPUs"
    return f"{count} idle for {least}{length}, since {_instant(of.since_us, zone)}{memory}"


def _off_hours(of: OffHours, zone: ZoneInfo) -> str:
    times = f"each of {of.times} times in {of.days} days"
    return f"all replicas idle {stretches(of.stretches)} ({zone.key}), {of.hours} hours a week, {times}"


_SAYS: dict[type[Details], Callable[[Any, ZoneInfo], str]] = {
    Unused: _unused,
    Fit: _fit,
    IdleNotebook: _notebook,
    OffHours: _off_hours,
}


def stretches(found: Sequence[Stretch]) -> str:
    """`Mon to Thu 20:00–06:00, Fri 20:00–Mon 06:00`."""
    if any(one.length == _WEEK for one in found):
        return "at all hours"
    days: dict[tuple[int, int], list[int]] = defaultdict(list)
    for one in found:
        days[one.first % 24, one.length].append(one.first // 24)
    return ", ".join(_of_days(of, first, length) for (first, length), of in days.items())


def _of_days(days: Sequence[int], first: int, length: int) -> str:
    ends = first + length
    until = f"{ends % 24:02}:00"
    if length <= 24:
        return f"{_named(days)} {first:02}:00–{until}"
    return ", ".join(f"{_DAYS[day]} {first:02}:00–{_DAYS[(day + ends // 24) % 7]} {until}" for day in days)


def _named(days: Sequence[int]) -> str:
    """`daily`, `Mon to Thu`, or each by its name."""
    if len(days) == len(_DAYS):
        return "daily"
    if len(days) > 2 and days[-1] - days[0] == len(days) - 1:
        return f"{_DAYS[days[0]]} to {_DAYS[days[-1]]}"
    return ", ".join(_DAYS[day] for day in days)


def _percent(permille: int) -> str:
    return f"{permille // 10}.{permille % 10} %"


def _instant(us: int, zone: ZoneInfo) -> str:
    local = from_us(us).astimezone(zone)
    return f"{local.day} {local:%b %Y, %H:%M}"
