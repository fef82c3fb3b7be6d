"""Things that hold from an instant on: until their end if they have one, or until the next of their kind begins."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Generic, Protocol, TypeVar
from zoneinfo import ZoneInfo

from gputally.accounting.ledger_hour import hour_end, hour_start, to_us
from gputally.collector.allocation.period import instant
from gputally.collector.files.yaml_file import Fields, Mistakes, Node, as_text

FOREVER_US = 2**62
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LAST_YEAR = 9000  # what lies later cannot be turned into local time everywhere


class Dated(Protocol):
    """What has a first instant, and may have a last (not included)."""

    @property
    def valid_from_us(self) -> int:
        """Microseconds since the epoch."""

    @property
    def valid_to_us(self) -> int | None:
        """Microseconds since the epoch; None: until the next."""

    @property
    def line(self) -> int:
        """Where it was written."""


Entry = TypeVar("Entry", bound=Dated)


@dataclass(frozen=True, slots=True)
class Span(Generic[Entry]):
    """When an entry is in force: [from_us, to_us)."""

    from_us: int
    to_us: int
    entry: Entry


class Series(Generic[Entry]):
    """Entries of which at most one is in force at a time: the latest begun, unless it has ended."""

    __slots__ = ("_starts", "breakpoints", "spans")

    def __init__(self, entries: Iterable[Entry]) -> None:
        ordered = sorted(entries, key=lambda entry: (entry.valid_from_us, entry.line))
        self.spans: tuple[Span[Entry], ...] = tuple(_spans(ordered))
        self._starts = [span.from_us for span in self.spans]
        # The instants at which something begins or ends.
        self.breakpoints = frozenset(us for span in self.spans for us in (span.from_us, span.to_us) if us != FOREVER_US)

    def at(self, us: int) -> Entry | None:
        """The entry in force at an instant."""
        index = bisect_right(self._starts, us) - 1
        if index < 0 or us >= self.spans[index].to_us:
            return None
        return self.spans[index].entry


def _spans(ordered: list[Entry]) -> Iterator[Span[Entry]]:
    nexts = [*(entry.valid_from_us for entry in ordered[1:]), FOREVER_US]
    for entry, next_us in zip(ordered, nexts, strict=True):
        end_us = FOREVER_US if entry.valid_to_us is None else entry.valid_to_us
        yield Span(entry.valid_from_us, min(end_us, next_us), entry)


def note_overlaps(entries: Iterable[Entry], what: str, mistakes: Mistakes) -> None:
    """Two entries of one series that begin together, or one that would end only after the next began."""
    ordered = sorted(entries, key=lambda entry: (entry.valid_from_us, entry.line))
    for before, after in pairwise(ordered):
        if before.valid_from_us == after.valid_from_us:
            mistakes.add(after.line, f"{what}: line {before.line} is valid from the same instant")
        elif before.valid_to_us is not None and before.valid_to_us > after.valid_from_us:
            mistakes.add(after.line, f"{what}: overlaps line {before.line}, which ends later than this begins")


def gaps(series: Series[Entry]) -> Iterator[tuple[Span[Entry], Span[Entry]]]:
    """Neighbours between which nothing is in force."""
    return ((before, after) for before, after in pairwise(series.spans) if before.to_us < after.from_us)


def read_validity(fields: Fields, zone: ZoneInfo, mistakes: Mistakes) -> tuple[int, int | None] | None:
    """`valid_from` (required) and `valid_to` of an entry, both on a ledger hour of the zone; None where unusable."""
    start = fields.get("valid_from")
    if start is None:
        mistakes.add(fields.line, "valid_from is missing")
        return None
    from_us = read_hour(start, "valid_from", zone, mistakes)
    end = fields.get("valid_to")
    if end is None:
        return None if from_us is None else (from_us, None)
    until_us = read_hour(end, "valid_to", zone, mistakes)
    if from_us is None or until_us is None:
        return None
    if until_us <= from_us:
        mistakes.add(end.line, "valid_to is not after valid_from")
        return None
    return from_us, until_us


def read_hour(node: Node, what: str, zone: ZoneInfo, mistakes: Mistakes) -> int | None:
    """A ledger hour: a day (its midnight in the billing zone), or an instant with its offset on which one begins."""
    text = as_text(node, what, mistakes)
    if text is None:
        return None
    us = _parse(text, zone)
    if us is None:
        expected = "a day such as 2026-11-01, or an instant with its offset such as 2026-11-01T12:00:00Z"
        mistakes.add(node.line, f"{what} {text}: expected {expected}")
        return None
    before = hour_start(us, zone)
    if before != us:
        near = f"{instant(before, zone)} or {instant(hour_end(before, zone), zone)}"
        mistakes.add(node.line, f"{what} {text}: no ledger hour of {zone.key} begins there; the nearest are {near}")
        return None
    return us


def _parse(text: str, zone: ZoneInfo) -> int | None:
    """Microseconds since the epoch; None where the text is neither a day nor an instant."""
    try:
        moment = datetime.fromisoformat(text)
        if not 1970 < moment.year < _LAST_YEAR:
            return None
        if moment.tzinfo is not None:
            return to_us(moment)
    except (ValueError, OverflowError):
        return None
    # A midnight that a change of offset skips is the instant of that change, where a ledger hour begins too.
    return to_us(moment.replace(tzinfo=zone)) if _DAY.fullmatch(text) else None
