"""Divided hour by hour, as it is stored, idle time has the kinds that it has when all windows are looked at at once."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.idle_histories import BEGIN_US, History, PodPart, histories, kinds_at_once, windows_of

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.waste.division import Share, divide
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.life import ENDED_AFTER_US, Life, has_ended
from gputally.collector.waste.part import Part, Use, part_of, relinked
from gputally.collector.waste.spell import Spell, Spells, Window, spells
from gputally.collector.waste.told import Told
from gputally.collector.waste.told import windows_of as merged


def by_hour(history: History) -> dict[int, dict[PodPart, list[Window]]]:
    found: defaultdict[int, dict[PodPart, list[Window]]] = defaultdict(dict)
    for part, minutes in history.items():
        for window in windows_of(minutes):
            found[window.start_us // HOUR_US * HOUR_US].setdefault(part, []).append(window)
    return found


def use_of(windows: list[Window]) -> Use | None:
    used = [window for window in windows if window.used_us]
    return Use(min(one.start_us for one in used), max(one.end_us for one in used)) if used else None


def life_of(history: History, part: PodPart, *, ended: bool) -> Life:
    use = use_of([window for minutes in history.values() for window in windows_of(minutes)])
    own = use_of([w for other in history if other.partition == part.partition for w in windows_of(history[other])])
    return Life(*(use or (None, None)), part_used=own is not None, ended=ended)


def kinds_by_hour(history: History, *, ended: bool) -> dict[PodPart, dict[Kind, Share]]:
    hours = by_hour(history)
    found = {part: dict.fromkeys(Kind, Share()) for part in history}
    for hour_us, of_hour in hours.items():
        use = use_of([window for windows in of_hour.values() for window in windows])
        for part, windows in of_hour.items():
            before, after = (spells(hours.get(hour_us + by, {}).get(part, [])) for by in (-HOUR_US, HOUR_US))
            divided = divide(
                hour_us, part_of(windows, use, before.tail, after.head), life_of(history, part, ended=ended)
            )
            found[part] = {kind: added(found[part][kind], divided[kind]) for kind in Kind}
    return found


def added(one: Share, other: Share) -> Share:
    return Share(one.us + other.us, one.provisional_us + other.provisional_us)


@given(histories(), st.booleans())
@settings(max_examples=60)
def test_hours_tell_the_same_as_all_windows_at_once(history: History, ended: bool) -> None:
    """Also of spells that go on over the edge of an hour, and of lives that begin or end within one. The five kinds sum
    to idle, and no kind is negative, or more provisional than it is long; nothing is once the pod has ended."""
    found = kinds_by_hour(history, ended=ended)
    assert found == kinds_at_once(history, ended=ended)
    for part, kinds in found.items():
        assert sum(share.us for share in kinds.values()) == sum(one.idle_us for one in history[part].values())
        assert all(0 <= share.provisional_us <= share.us for share in kinds.values())
        assert not (ended and any(share.provisional_us for share in kinds.values()))


@given(histories())
@settings(max_examples=40)
def test_what_is_final_of_a_living_pod_stays_when_it_ends(history: History) -> None:
    """Only what was said to be provisional moves, and the kinds that it moves to only grow by it."""
    living, ended = (kinds_by_hour(history, ended=each) for each in (False, True))
    for part in history:
        for kind in Kind:
            before, after = living[part][kind], ended[part][kind]
            assert after.us >= before.us - before.provisional_us


@given(histories(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_what_an_hour_tells_in_one_row_makes_the_same_parts(history: History, dice: Random) -> None:
    """In whatever order the database put it together; idle windows that touch each other tell everything, and so do
    those between which there are only used ones."""
    hours = by_hour(history)
    for hour_us, of_hour in hours.items():
        use = use_of([window for windows in of_hour.values() for window in windows])
        for part, windows in of_hour.items():
            if not any(window.is_idle for window in windows):
                continue
            before, after = (spells(hours.get(hour_us + by, {}).get(part, [])) for by in (-HOUR_US, HOUR_US))
            again = told_again(dice.sample(windows, len(windows)), use)
            if again is None:
                assert not touching([window for window in windows if window.is_idle])
                assert not touching(measured(windows))
            else:
                found = part_of(again, use, before.tail, after.head)
                whole_us = sum(window.idle_us for window in windows)
                assert found._replace(idle_us=whole_us) == part_of(windows, use, before.tail, after.head)


def touching(windows: list[Window]) -> bool:
    return all(a.end_us == b.start_us for a, b in pairwise(windows))


def measured(windows: list[Window]) -> list[Window]:
    return [window for window in windows if window.used_us or window.idle_us]


def told_again(windows: list[Window], use: Use | None) -> list[Window] | None:
    """What the database makes of windows, and what is made of that."""
    rows = [(w.start_us, w.end_us, w.idle_us, memory_digit(w)) for w in windows if w.is_idle]
    covered_us = sum(window.end_us - window.start_us for window in measured(windows))
    whole_us = max(window.end_us for window in windows) - min(window.start_us for window in windows)
    return merged(Told(rows, use_of(windows), covered_us == whole_us), use)


def memory_digit(window: Window) -> int:
    return 2 if window.memory_byte_s is None else int(window.memory_byte_s > 0)


@given(histories())
def test_other_neighbours_change_only_what_is_long(history: History) -> None:
    """A part that is linked anew is the part that it would have been with these neighbours from the beginning."""
    hours = by_hour(history)
    for hour_us, of_hour in hours.items():
        for part, windows in of_hour.items():
            before, after = (spells(hours.get(hour_us + by, {}).get(part, [])) for by in (-HOUR_US, HOUR_US))
            linked = part_of(windows, None, before.tail, after.head)
            assert relinked(part_of(windows, None), windows, linked.linked) == linked


def minute(at: int, used_us: int = 0, idle_us: int = 60_000_000, memory: int | None = 1) -> Window:
    return Window(BEGIN_US + at * 60_000_000, BEGIN_US + (at + 1) * 60_000_000, used_us, idle_us, memory)


@pytest.mark.parametrize(("minutes", "forgotten"), [(29, 0), (30, 30)])
def test_a_spell_is_long_from_half_an_hour_on(minutes: int, forgotten: int) -> None:
    """By sums and by windows, within an hour and over the edge of one."""
    windows = [minute(at) for at in range(minutes)]
    assert part_of(windows, None).after_forgotten_us == forgotten * 60_000_000
    before, after = (spells([minute(at) for at in found]) for found in (range(-10, 0), range(minutes - 10)))
    assert part_of([minute(at) for at in range(-10, 0)], None, None, after.head).linked == (0 if minutes == 29 else 2)
    assert part_of([minute(at) for at in range(minutes - 10)], None, before.tail).linked == (0 if minutes == 29 else 1)


def test_a_spell_survives_two_minutes_and_no_more() -> None:
    spans = [(0, 1), (3, 4), (7, 8)]
    assert spells([minute(first) for first, _ in spans]).all == (
        Spell(minute(0).start_us, minute(3).end_us),
        Spell(minute(7).start_us, minute(7).end_us),
    )


def test_use_ends_a_spell_and_a_trace_of_it_does_not() -> None:
    """600 ms of a minute are 1 %: no longer idle."""
    trace, use = minute(1, 599_999, 59_400_001), minute(1, 600_000, 59_400_000)
    assert len(spells([minute(0), trace, minute(2)]).all) == 1
    assert len(spells([minute(0), use, minute(2)]).all) == 2


@pytest.mark.parametrize(
    ("windows", "head", "tail"),
    [
        ([minute(0), minute(1)], (0, 2), (0, 2)),
        ([minute(0), minute(1, 60_000_000, 0)], (0, 1), None),
        ([minute(0, 60_000_000, 0), minute(1)], None, (1, 2)),
        ([], None, None),
    ],
)
def test_an_edge_has_a_spell_where_no_use_lies_beyond(
    windows: list[Window], head: tuple[int, int] | None, tail: tuple[int, int] | None
) -> None:
    found: Spells = spells(windows)
    edges = [None if each is None else Spell(*(BEGIN_US + at * 60_000_000 for at in each)) for each in (head, tail)]
    assert [found.head, found.tail] == edges


LIVED = Life(BEGIN_US, BEGIN_US + HOUR_US, part_used=True, ended=False)
PART = Part(3_600, 0, 0, 0, 3_600, 1_000, 600)


@pytest.mark.parametrize(
    ("life", "hour_us", "kinds"),
    [
        (Life(None, None, part_used=False, ended=False), BEGIN_US, {Kind.WAITING: Share(3_600, 3_600)}),
        (Life(None, None, part_used=False, ended=True), BEGIN_US, {Kind.OVER_ASKED: Share(3_600)}),
        (Life(BEGIN_US, BEGIN_US + 1, part_used=False, ended=False), BEGIN_US, {Kind.OVER_ASKED: Share(3_600, 3_600)}),
        (LIVED, BEGIN_US - HOUR_US, {Kind.WAITING: Share(3_600)}),
        (
            LIVED,
            BEGIN_US + HOUR_US,
            {Kind.AFTER: Share(600, 600), Kind.FORGOTTEN: Share(1_000, 1_000), Kind.BETWEEN: Share(2_000, 2_000)},
        ),
        (Life(BEGIN_US, BEGIN_US + HOUR_US, True, True), BEGIN_US + HOUR_US, {Kind.AFTER: Share(3_600)}),
        (
            Life(BEGIN_US, BEGIN_US + 3 * HOUR_US, True, True),
            BEGIN_US + HOUR_US,
            {Kind.FORGOTTEN: Share(1_000), Kind.BETWEEN: Share(2_600)},
        ),
    ],
    ids=["unborn", "never used", "one of several", "before", "after, living", "after, ended", "in between"],
)
def test_an_hour_without_use_is_of_the_first_kind_that_fits(
    life: Life, hour_us: int, kinds: Mapping[Kind, Share]
) -> None:
    assert divide(hour_us, PART, life) == {**dict.fromkeys(Kind, Share()), **kinds}


@pytest.mark.parametrize(
    ("node_until_us", "gone_after_us", "known", "ended"),
    [
        (ENDED_AFTER_US, 0, False, False),
        (ENDED_AFTER_US + 1, 0, False, True),
        (None, 0, False, False),
        (None, 1, False, True),
        (0, 0, True, True),
    ],
    ids=["not long enough", "its node goes on", "silence", "long silence", "the API says so"],
)
def test_a_pod_has_ended_where_that_is_known(
    node_until_us: int | None, gone_after_us: int, known: bool, ended: bool
) -> None:
    assert has_ended(0, node_until_us, gone_after_us, known=known) is ended
