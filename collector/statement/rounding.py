"""Rounding by largest remainder over a whole file, in bounded memory: the file's lines come several times.

The printed amounts add up to the exact sum rounded once (halves up), each of them is its exact amount rounded down or
up, and those with the largest remainders are rounded up; equal remainders go to the earlier line.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import gcd

HOUR = 3_600_000_000  # microseconds of an hour, and millijoules of a kilowatt-hour
DIGITS = 9  # of GPU-hours and kilowatt-hours in files
MOST_BUCKETS = 65_536  # remainders that are told apart at a time


class Rounding:
    """Rounds values of 1/`scale` to units of 10^-`digits`. First `look` at all of them until `settled`, then `round`;
    each takes them some at a time.

    One look settles it unless there are more different remainders than MOST_BUCKETS; each further look tells that many
    more apart, among those where the line between up and down runs.
    """

    def __init__(self, scale: int, digits: int) -> None:
        common = gcd(scale, 10**digits)
        self._times: int = 10**digits // common
        self._unit = scale // common
        self._low, self._high = 0, self._unit  # the remainders that are still to be told apart
        self._ups = -1  # how many of them are rounded up; not known before the first look
        self._start()

    def _start(self) -> None:
        self._width = 1
        self._buckets = Counter[int]()
        self._rest = 0  # the sum of all remainders

    def look(self, values: Iterable[int]) -> None:
        """Take the next values of the file."""
        times, unit, low, high, width = self._times, self._unit, self._low, self._high, self._width
        rests = [value * times % unit for value in values]
        self._rest += sum(rests)
        self._buckets.update([(rest - low) // width for rest in rests if low <= rest < high])
        while len(self._buckets) > MOST_BUCKETS:
            self._coarsen()

    def settled(self) -> bool:
        """Whether the looks were enough; called after each of them."""
        if self._ups < 0:
            self._ups = (2 * self._rest + self._unit) // (2 * self._unit)
        ups = self._ups
        if not ups:
            self._low = self._high  # nothing is rounded up
        for bucket in sorted(self._buckets, reverse=True):
            count = self._buckets[bucket]
            if count >= ups > 0:
                self._narrow(bucket, ups)
                break
            ups -= count
        done = self._high - self._low <= 1
        self._start()
        return done

    def round(self, values: Iterable[int]) -> list[int]:
        """The next values in units, in the order of the looks."""
        column = [value * self._times for value in values]
        down = self._lifted(column, self._high)
        if not self._ups:
            return down
        up = self._lifted(column, self._low)
        between = sum(up) - sum(down)
        if between > self._ups:
            return self._first_up(up, down)
        self._ups -= between
        return up

    def _lifted(self, column: Sequence[int], least: int) -> list[int]:
        """Units, those up whose remainder is `least` or more."""
        unit = self._unit
        lift = unit - least
        return [(value + lift) // unit for value in column]

    def _first_up(self, up: Sequence[int], down: Sequence[int]) -> list[int]:
        """As many of those that are neither certainly up nor certainly down as are still to be."""
        found = []
        for higher, lower in zip(up, down, strict=True):
            found.append(higher if self._ups else lower)
            self._ups -= bool(self._ups) and higher > lower
        return found

    def _narrow(self, bucket: int, ups: int) -> None:
        low = self._low + bucket * self._width
        self._low, self._high, self._ups = low, min(low + self._width, self._high), ups

    def _coarsen(self) -> None:
        """Twice as wide: some buckets stay apart, so that each look tells something."""
        finer, self._buckets = self._buckets, Counter()
        self._width *= 2
        for bucket, count in finer.items():
            self._buckets[bucket // 2] += count


def settle(roundings: Sequence[Rounding], look: Callable[[Sequence[Rounding]], None]) -> None:
    """Have `look` show the whole file to the roundings that ask for it, until all are settled."""
    waiting = list(roundings)
    while waiting:
        look(waiting)
        waiting = [rounding for rounding in waiting if not rounding.settled()]


def look_known(rounding: Rounding, values: Sequence[int | None]) -> None:
    """Show the next values, of which some are not known."""
    rounding.look([value for value in values if value is not None])


def round_known(rounding: Rounding, values: Sequence[int | None]) -> Sequence[int | None]:
    """The next values, of which some are not known and stay so."""
    if None not in values:
        return rounding.round(values)  # type: ignore[arg-type]
    known = iter(rounding.round(value for value in values if value is not None))
    return [None if value is None else next(known) for value in values]


def rounded(values: Sequence[int], scale: int, digits: int) -> list[int]:
    """Values of 1/`scale` in units of 10^-`digits`, when all of them are at hand."""
    rounding = Rounding(scale, digits)

    settle([rounding], lambda _asking: rounding.look(values))
    return rounding.round(values)


def hours(values: Iterable[int], digits: int) -> list[str]:
    """Microseconds as hours, or millijoules as kilowatt-hours, with decimals that add up."""
    return [fixed(units, digits) for units in rounded(list(values), HOUR, digits)]


def fixed(units: int, digits: int) -> str:
    """Units of 10^-`digits` as a decimal."""
    sign, units = "-" if units < 0 else "", abs(units)
    if not digits:
        return f"{sign}{units}"
    return f"{sign}{units // 10**digits}.{units % 10**digits:0{digits}d}"


def fixed_column(units: Iterable[int | None], digits: int) -> list[str | None]:
    """The same of many; where equal ones come often, each is made once. None stays."""
    column = list(units)
    different = set(column)
    if None in different or len(different) * 2 <= len(column) or not digits:
        texts = {value: None if value is None else fixed(value, digits) for value in different}
        return list(map(texts.__getitem__, column))
    known: list[int] = column  # type: ignore[assignment]  # None is not among them
    if min(known) < 0:
        return [fixed(value, digits) for value in known]
    form, one = f"%d.%0{digits}d", 10**digits
    return [form % divmod(value, one) for value in known]
