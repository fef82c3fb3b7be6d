"""Since when what is held has been idle, and what that cost: out of the postings of the last days, hour by hour.

A spell is measured time with less than 1 % used, unbroken but for two minutes that were not observed. Back to the hour
in which it begins, postings say so by the hour; in that hour, the windows do by the minute. Where the newest postings
wait to be settled, the windows take their place: a spell must not look as if it had begun with the hour.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import BigInteger, Connection, cast, func, or_, select

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.database.schema import dirty_hour, line, posting, window
from gputally.collector.ledger.idle import is_idle
from gputally.collector.now.calendar import Calendar
from gputally.collector.now.latest import Part, Standing
from gputally.collector.rates.cost import time_cost
from gputally.collector.rates.pricing import Pricer

LOOK_BACK_US = 7 * 24 * HOUR_US  # a spell that began before is "at least" so long
UNOBSERVED_US = 2 * 60_000_000  # a spell outlives so much that was not observed
_OWNERS_AT_ONCE = 10_000  # below what either database takes as parameters: each statement scans its hours anew
_HOURS_AT_ONCE = 24  # most spells are shorter than a day, and need no look at the days before
_UNSETTLED_HOURS = 2  # the newest ledger hours, whose windows still arrive

Asked = TypeVar("Asked")


class Stretch(NamedTuple):
    """A stretch of a part: an hour, or a window."""

    start_us: int
    end_us: int
    used_us: int
    idle_us: int
    unobserved_us: int

    @property
    def is_active(self) -> bool:
        """Whether a spell ends with it; where nothing was measured, none does."""
        return self.used_us > 0 and not is_idle(self.used_us, self.idle_us)


@dataclass(frozen=True, slots=True)
class Spell:
    """What is idle, and has been since `since_us`: `idle_us` of it, up to the newest window.

    `before`: it began before the ledger was looked at, `since_us` is only as far as the look went. `cost` is exact, as
    `rates.cost` counts, of the time that has a price; None where none of it has.
    """

    standing: Standing
    since_us: int
    before: bool
    idle_us: int
    cost: int | None
    unpriced_us: int

    @property
    def costs_more(self) -> bool:
        """Whether `cost` lacks something: what has no price, or what was before the ledger was looked at."""
        return self.before or self.unpriced_us > 0


def read_spells(
    connection: Connection, zone: ZoneInfo, pricer: Pricer, standings: Iterable[Standing], now_us: int
) -> list[Spell]:
    """The spells that are going on."""
    idle = [one for one in standings if one.idle and not one.silent(now_us)]
    calendar = Calendar(zone, now_us - LOOK_BACK_US, max([now_us, *(one.end_us for one in idle)]))
    whole = _whole(connection, calendar, idle)
    first = {one.part: _first(one, whole[one.part], calendar) for one in idle}
    windows = _windows(connection, calendar, first)
    return [_spell(one, whole[one.part], windows.get(one.part, ()), pricer, calendar) for one in idle]


def unbroken(stretches: Sequence[Stretch], end_us: int) -> list[Stretch]:
    """The stretches, going back from `end_us`, that one spell is made of; the newest first."""
    found: list[Stretch] = []
    away_us = 0
    for stretch in sorted(stretches, reverse=True):
        away_us += end_us - stretch.end_us + stretch.unobserved_us
        if away_us > UNOBSERVED_US or stretch.is_active:
            break
        if stretch.idle_us:
            away_us = 0
        found.append(stretch)
        end_us = stretch.start_us
    while found and not found[-1].idle_us:
        found.pop()  # it begins with what was measured
    return found


def _whole(connection: Connection, calendar: Calendar, idle: Sequence[Standing]) -> Mapping[Part, list[Stretch]]:
    """The hours, going back, through all of which each was held and idle; a day is read only where all after it is."""
    found: dict[Part, list[Stretch]] = {one.part: [] for one in idle}
    going_on, starts = list(idle), calendar.starts
    for last in range(len(starts), 0, -_HOURS_AT_ONCE):
        of_day = starts[max(0, last - _HOURS_AT_ONCE) : last]
        hours = _hours(connection, calendar, of_day, going_on)
        for one in going_on:
            so_far = found[one.part]
            so_far += _whole_hours(one, hours.get(one.part, ()), so_far[-1].start_us if so_far else one.end_us)
        going_on = [one for one in going_on if found[one.part] and found[one.part][-1].start_us == of_day[0]]
        if not going_on:
            break
    return found


def _whole_hours(one: Standing, hours: Sequence[Stretch], expected_end_us: int) -> Iterator[Stretch]:
    """Of some hours, going back, those through all of which it was held and idle, up to the first that is not."""
    share = one.share
    for hour in sorted(hours, reverse=True):
        end_us = min(hour.end_us, one.end_us)
        held_us = share.numerator * (end_us - hour.start_us) // share.denominator
        missing_us = held_us - hour.idle_us - hour.used_us
        if end_us != expected_end_us or missing_us > UNOBSERVED_US or hour.is_active:
            return
        yield hour
        expected_end_us = hour.start_us


def _first(one: Standing, whole: Sequence[Stretch], calendar: Calendar) -> int | None:
    """The hour before the whole ones, in which the spell begins; None where that is not looked at."""
    start_us = whole[-1].start_us if whole else one.end_us
    return calendar.start(start_us - 1) if start_us > calendar.oldest_us else None


def _spell(
    one: Standing, whole: Sequence[Stretch], windows: Sequence[Stretch], pricer: Pricer, calendar: Calendar
) -> Spell:
    start_us = whole[-1].start_us if whole else one.end_us
    stretches = [*whole, *unbroken([each for each in windows if each.end_us <= start_us], start_us)]
    by_hour: dict[int, int] = defaultdict(int)
    for each in stretches:
        by_hour[calendar.start(each.start_us)] += each.idle_us
    costs = [(us, time_cost(us, pricer.rate(one.place, hour_us).price)) for hour_us, us in by_hour.items()]
    known = [cost for _, cost in costs if cost is not None]
    return Spell(
        one,
        stretches[-1].start_us if stretches else one.start_us,
        bool(stretches) and stretches[-1].start_us <= calendar.oldest_us,
        sum(by_hour.values()),
        sum(known) if known else None,
        sum(us for us, cost in costs if cost is None),
    )


def _hours(
    connection: Connection, calendar: Calendar, starts: Sequence[int], idle: Sequence[Standing]
) -> Mapping[Part, list[Stretch]]:
    """What is idle hour by hour: its postings, or its lines where these wait to be settled."""
    found = _posted(connection, calendar, starts, {one.part.owner_id for one in idle})
    marked = _marked(connection, {start_us for start_us in starts if start_us in calendar.starts[-_UNSETTLED_HOURS:]})
    for hour_us in {hour_us for hour_us, _ in marked}:
        waiting = [one.part for one in idle if (hour_us, one.part.node_id) in marked]
        windows = _windows(connection, calendar, dict.fromkeys(waiting, hour_us))
        for part in waiting:
            settled = [each for each in found[part] if each.start_us != hour_us]
            found[part] = [*settled, *_together(hour_us, calendar.end(hour_us), windows.get(part, ()))]
    return found


def _posted(
    connection: Connection, calendar: Calendar, starts: Sequence[int], owners: Iterable[int]
) -> dict[Part, list[Stretch]]:
    """An hour in which there was activity is not told: like one without a posting, a spell is not longer than it."""
    keys = [posting.c[name] for name in (*Part._fields, "hour_us")]
    used_us, idle_us, _ = sums = [cast(func.sum(posting.c[name]), BigInteger) for name in _STATES]
    found: dict[Part, list[Stretch]] = defaultdict(list)
    for some in _pieces(sorted(owners), _OWNERS_AT_ONCE):
        within = posting.c.hour_us.between(starts[0], starts[-1])
        query = select(*keys, *sums).where(within, posting.c.owner_id.in_(some))
        query = query.group_by(*keys).having(or_(used_us == 0, is_idle(used_us, idle_us)))
        for row in connection.execute(query).all():
            hour_us = row[4]
            found[Part._make(row[:4])].append(Stretch(hour_us, calendar.end(hour_us), *row[5:]))
    return found


def _marked(connection: Connection, hours: Collection[int]) -> Collection[tuple[int, int]]:
    """The (hour, node) of some hours whose postings wait to be settled."""
    if not hours:
        return frozenset()
    query = select(dirty_hour.c.hour_us, dirty_hour.c.node_id).where(dirty_hour.c.hour_us.in_(sorted(hours)))
    return {(hour_us, node_id) for hour_us, node_id in connection.execute(query)}


def _together(start_us: int, end_us: int, windows: Sequence[Stretch]) -> Iterator[Stretch]:
    """The windows of an hour as that hour; nothing where there are none."""
    if windows:
        yield Stretch(start_us, end_us, *(sum(each[at] for each in windows) for at in range(2, len(Stretch._fields))))


def _windows(
    connection: Connection, calendar: Calendar, hours: Mapping[Part, int | None]
) -> Mapping[Part, list[Stretch]]:
    """The windows of the hours in which spells begin, by part."""
    asked: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for of, hour_us in hours.items():
        if hour_us is not None:
            asked[hour_us].add((of.node_id, of.owner_id))
    found: dict[Part, list[Stretch]] = defaultdict(list)
    for hour_us, holders in asked.items():
        for some in _pieces(sorted(holders), _OWNERS_AT_ONCE):
            for part, stretch in _windows_of(connection, hour_us, calendar.end(hour_us), some):
                if (part.node_id, part.owner_id) in holders:
                    found[part].append(stretch)
    return found


def _windows_of(
    connection: Connection, start_us: int, end_us: int, holders: Sequence[tuple[int, int]]
) -> Iterator[tuple[Part, Stretch]]:
    """The windows of an hour, on any of the nodes and of any of the owners: a few more than those of the pairs."""
    nodes, owners = ({pair[at] for pair in holders} for at in (0, 1))
    keys = [window.c.node_id, *(line.c[name] for name in Part._fields[1:]), window.c.start_us, window.c.end_us]
    sums = [cast(func.sum(line.c[name]), BigInteger) for name in _STATES]
    query = select(*keys, *sums).join_from(window, line, line.c.window_id == window.c.id)
    query = query.where(window.c.node_id.in_(sorted(nodes)), line.c.owner_id.in_(sorted(owners)))
    query = query.where(window.c.start_us >= start_us, window.c.start_us < end_us)
    for row in connection.execute(query.group_by(*keys)).all():
        yield Part._make(row[:4]), Stretch._make(row[4:])


_STATES = ("used_us", "idle_us", "unobserved_us")


def _pieces(asked: Sequence[Asked], most: int) -> Iterator[Sequence[Asked]]:
    return (asked[at : at + most] for at in range(0, len(asked), most))
