"""Whole-number functions of wall time that are constant between edges and repeat each week; integrals are exact.

Times are microseconds since the Unix epoch; a week begins on Monday at 00:00 UTC. Every answer is in closed form, so
it costs the same for any instant, in any order.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
WEEK_US = 7 * DAY_US
FOREVER_US = 2**63 - 1
_FIRST_MONDAY_US = 4 * DAY_US  # 1970-01-05; the epoch was a Thursday


@dataclass(frozen=True, slots=True)
class Pattern:
    """A function of time: `values[i]` from offset `edges[i]` of the week on; 0 outside [from_us, until_us).

    `sums[i]` is the integral over the week up to `edges[i]`, with the whole week's at the end. Made by `weekly`.
    """

    edges: tuple[int, ...]
    values: tuple[int, ...]
    sums: tuple[int, ...]
    from_us: int = 0
    until_us: int = FOREVER_US

    def at(self, us: int) -> int:
        """The value at this instant; at an edge, the value that begins there."""
        if not self.from_us <= us < self.until_us:
            return 0
        offset = (us - _FIRST_MONDAY_US) % WEEK_US
        return self.values[bisect_right(self.edges, offset) - 1]

    def integral(self, start_us: int, end_us: int) -> int:
        """The integral over [start_us, end_us), in value-microseconds; exact."""
        start = max(start_us, self.from_us)
        end = min(end_us, self.until_us)
        return self._since_first_monday(end) - self._since_first_monday(start) if start < end else 0

    def _since_first_monday(self, us: int) -> int:
        weeks, offset = divmod(us - _FIRST_MONDAY_US, WEEK_US)
        i = bisect_right(self.edges, offset) - 1
        return weeks * self.sums[-1] + self.sums[i] + self.values[i] * (offset - self.edges[i])

    def run_start(self, us: int) -> int | None:
        """When the value that holds at this instant began; None where it is 0."""
        if not self.at(us):
            return None
        offset = (us - _FIRST_MONDAY_US) % WEEK_US
        i = bisect_right(self.edges, offset) - 1
        start = us - offset + self.edges[i]
        if i == 0 and self.values[-1] == self.values[0]:
            start = us - offset - WEEK_US + self.edges[-1] if len(self.values) > 1 else self.from_us
        return max(start, self.from_us)

    def changes(self, start_us: int, end_us: int) -> Iterator[int]:
        """The instants in [start_us, end_us) at which an edge of the weekly pattern stands, in order."""
        week = start_us - (start_us - _FIRST_MONDAY_US) % WEEK_US
        while week < end_us:
            yield from (week + edge for edge in self.edges if start_us <= week + edge < end_us)
            week += WEEK_US

    @property
    def repeats(self) -> bool:
        """Whether it changes within the week, and so comes back."""
        return len(self.values) > 1

    def times(self, other: "Pattern") -> "Pattern":
        """The product of two functions."""
        edges = sorted({*self.edges, *other.edges})
        steps = [(edge, _value_in_week(self, edge) * _value_in_week(other, edge)) for edge in edges]
        return weekly(steps, max(self.from_us, other.from_us), min(self.until_us, other.until_us))

    def scaled(self, factor: int) -> "Pattern":
        """The function times a constant."""
        steps = zip(self.edges, (value * factor for value in self.values), strict=True)
        return weekly(steps, self.from_us, self.until_us)


def weekly(steps: Iterable[tuple[int, int]], from_us: int = 0, until_us: int = FOREVER_US) -> Pattern:
    """A pattern from (offset into the week, value from there on); the last step holds on into the next week."""
    ordered = sorted(dict(steps).items())
    if ordered[0][0] > 0:
        ordered.insert(0, (0, ordered[-1][1]))
    kept = [step for i, step in enumerate(ordered) if i == 0 or step[1] != ordered[i - 1][1]]
    edges = tuple(edge for edge, _ in kept)
    values = tuple(value for _, value in kept)
    return Pattern(edges, values, _running_sums(edges, values), from_us, until_us)


def constant(value: int, from_us: int = 0, until_us: int = FOREVER_US) -> Pattern:
    """The same value at all times of [from_us, until_us)."""
    return weekly([(0, value)], from_us, until_us)


def peak(patterns: Sequence[Pattern]) -> tuple[int, int]:
    """The highest value that the sum of the patterns ever takes, and the first instant at which it is found."""
    instants = sorted(set(_instants(patterns))) or [0]
    best = max(instants, key=lambda us: (_sum(patterns, us), -us))
    return _sum(patterns, best), best


def _instants(patterns: Sequence[Pattern]) -> Iterator[int]:
    """Every instant at which the sum can change, up to repetition: a week from each bound, or to the next bound."""
    bounds = sorted({us for line in patterns for us in (line.from_us, line.until_us)})
    for start, following in pairwise(bounds):
        yield start
        for line in patterns:
            yield from line.changes(start, min(following, start + WEEK_US))


def _sum(patterns: Sequence[Pattern], us: int) -> int:
    return sum(line.at(us) for line in patterns)


def _value_in_week(line: Pattern, offset: int) -> int:
    return line.values[bisect_right(line.edges, offset) - 1]


def _running_sums(edges: tuple[int, ...], values: tuple[int, ...]) -> tuple[int, ...]:
    sums = [0]
    for value, start, end in zip(values, edges, (*edges[1:], WEEK_US), strict=True):
        sums.append(sums[-1] + value * (end - start))
    return tuple(sums)
