"""Ledger hours looked up rather than worked out: a week of a fleet's postings has a hundred thousand of them."""

from bisect import bisect_right
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from gputally.accounting.ledger_hour import hours


class Calendar:
    """The ledger hours that [from_us, to_us] touches."""

    def __init__(self, zone: ZoneInfo, from_us: int, to_us: int) -> None:
        self._ends = dict(hours(from_us, to_us + 1, zone))
        self._starts = list(self._ends)

    @property
    def starts(self) -> Sequence[int]:
        """When they begin, the oldest first."""
        return self._starts

    @property
    def oldest_us(self) -> int:
        """When the first of them begins."""
        return self._starts[0]

    def start(self, us: int) -> int:
        """When the hour begins that holds an instant."""
        return self._starts[bisect_right(self._starts, us) - 1]

    def end(self, start_us: int) -> int:
        """When the hour ends that begins at `start_us`."""
        return self._ends[start_us]
