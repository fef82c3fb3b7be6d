"""Since when something is idle: by windows in the hour where it began, by whole hours after, and never by a guess."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, insert, select
from tests.windows import START_US, all_received, device, pod, reserved, unallocated, window

from gputally.accounting.keys import WHOLE_GPU, LineKey
from gputally.accounting.ledger_hour import HOUR_US, hour_end, hour_start
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.states import Basis, Reason, Source
from gputally.collector.allocation.query import WHOLE, Scope
from gputally.collector.database.engine import reading, writing
from gputally.collector.database.schema import posting
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.now.calendar import Calendar
from gputally.collector.now.latest import FORGOTTEN_US, FRESH_US, read_latest
from gputally.collector.now.spells import UNOBSERVED_US, Spell, Stretch, read_spells, unbroken
from gputally.collector.rates.cost import SCALE
from gputally.collector.rates.pricing import read_pricer

UTC = ZoneInfo("UTC")
MINUTE_US = 60_000_000
CARD = b"""\
version: 1
currency: EUR
prices:
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: 2026-01-01, per_gpu_hour: 3.60}
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: "2026-07-01T02:00:00Z", per_gpu_hour: 7.20}
"""

HOLDER = pod("research", "train-0")


@dataclass(frozen=True, slots=True)
class Minutes:
    """So many minutes of one kind: idle, used, unobserved, free, another's, silent; or `lightly` used."""

    kind: str
    count: int


def device_of(kind: str) -> DeviceWindow:
    used = {"used": 48_000_000, "lightly": 300_000}.get(kind, 0)
    if kind == "free":
        return device(unallocated(MINUTE_US))
    if kind == "unobserved":
        key = LineKey(WHOLE_GPU, HOLDER, Basis.RESERVATION, Reason.NO_UTILISATION)
        return device(Line(key, Source.NONE, unobserved_us=MINUTE_US))
    owner = pod("vision", "other-0") if kind == "another's" else HOLDER
    return device(reserved(owner, used, MINUTE_US - used))


def history(*minutes: Minutes) -> list[Window]:
    kinds = [one.kind for one in minutes for _ in range(one.count)]
    return [
        window(device_of(kind), start_us=START_US + at * MINUTE_US) for at, kind in enumerate(kinds) if kind != "silent"
    ]


def book(engine: Engine, windows: Sequence[Window], card: bytes | None = CARD) -> None:
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=windows[-1].end_us)
    if card:
        apply_file(engine, Kind.RATES, card, "ann@laptop", 1)
    settle(engine, UTC)


def spells(engine: Engine, now_us: int, scope: Scope = WHOLE) -> list[Spell]:
    with reading(engine) as connection:
        standings = read_latest(connection, now_us, scope)
        return read_spells(connection, UTC, read_pricer(connection, UTC), standings, now_us)


def minute(found: Spell) -> int:
    """When it began, in minutes from the history's start."""
    return (found.since_us - START_US) // MINUTE_US


@pytest.mark.parametrize(
    ("minutes", "began"),
    [
        ([Minutes("used", 20), Minutes("idle", 10)], 20),  # within the hour
        ([Minutes("used", 37), Minutes("idle", 150)], 37),  # in an hour past
        ([Minutes("used", 60), Minutes("idle", 61)], 60),  # at the edge of an hour
        ([Minutes("free", 70), Minutes("idle", 70)], 70),  # the pod came
        ([Minutes("another's", 70), Minutes("idle", 70)], 70),  # and another was there before
        ([Minutes("idle", 80), Minutes("another's", 3), Minutes("idle", 70)], 83),
        ([Minutes("idle", 30), Minutes("unobserved", 2), Minutes("idle", 10)], 0),  # two minutes are outlived
        ([Minutes("idle", 30), Minutes("unobserved", 3), Minutes("idle", 10)], 33),
        ([Minutes("idle", 30), Minutes("silent", 2), Minutes("idle", 10)], 0),
        ([Minutes("idle", 30), Minutes("silent", 3), Minutes("idle", 10)], 33),
        ([Minutes("idle", 130), Minutes("silent", 3), Minutes("idle", 70)], 133),
        ([Minutes("idle", 30), Minutes("used", 1), Minutes("idle", 70)], 31),
        ([Minutes("idle", 30), Minutes("lightly", 5), Minutes("idle", 70)], 0),  # less than 1 %
        ([Minutes("idle", 200)], 0),
    ],
)
def test_a_spell_began_when_it_began(engine: Engine, minutes: list[Minutes], began: int) -> None:
    windows = history(*minutes)
    book(engine, windows)
    (found,) = spells(engine, windows[-1].end_us)
    assert (minute(found), found.before) == (began, False)


@pytest.mark.parametrize("settled", [0, 1, 60, 119, 120, 124])
def test_windows_that_wait_to_be_settled_do_not_make_a_spell_begin_anew(engine: Engine, settled: int) -> None:
    windows = history(Minutes("idle", 125))
    for some in (windows[:settled], windows[settled:]):
        if some:
            settle(engine, UTC)
            Committer(engine, UTC, max_age_us=None).commit(all_received(some), now_us=some[-1].end_us)
    apply_file(engine, Kind.RATES, CARD, "ann@laptop", 1)
    (found,) = spells(engine, windows[-1].end_us)
    settle(engine, UTC)
    assert spells(engine, windows[-1].end_us) == [found]
    assert (minute(found), found.idle_us) == (0, 125 * MINUTE_US)


def test_a_spell_of_some_hours_reads_one_day_of_the_ledger(engine: Engine) -> None:
    windows = history(Minutes("used", 61), Minutes("idle", 150))
    book(engine, windows)
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    spells(engine, windows[-1].end_us)
    assert sum("FROM posting" in statement for statement in asked) == 1


@pytest.mark.parametrize("kind", ["used", "unobserved", "free"])
def test_what_was_last_used_unobserved_or_free_is_not_idle(engine: Engine, kind: str) -> None:
    windows = history(Minutes("idle", 90), Minutes(kind, 1))
    book(engine, windows)
    assert spells(engine, windows[-1].end_us) == []


def test_who_holds_what_on_a_silent_node_is_not_known(engine: Engine) -> None:
    windows = history(Minutes("idle", 90))
    book(engine, windows)
    end_us = windows[-1].end_us
    assert len(spells(engine, end_us + FRESH_US)) == 1
    assert spells(engine, end_us + FRESH_US + 1) == []
    with reading(engine) as connection:
        assert [one.silent(end_us + FRESH_US + 1) for one in read_latest(connection, end_us + FRESH_US + 1, WHOLE)] == [
            True
        ]
        assert read_latest(connection, end_us + FORGOTTEN_US + MINUTE_US, WHOLE) == []


def test_each_hour_has_its_price(engine: Engine) -> None:
    """Half an hour and an hour at 3.60, ten minutes at 7.20."""
    windows = history(Minutes("used", 30), Minutes("idle", 100))
    book(engine, windows)
    (found,) = spells(engine, windows[-1].end_us)
    assert found.idle_us == 100 * MINUTE_US
    assert found.cost == (SCALE * 36 * 90 + SCALE * 72 * 10) // 600


def test_without_a_price_the_cost_is_not_known(engine: Engine) -> None:
    windows = history(Minutes("idle", 70))
    book(engine, windows, card=None)
    (found,) = spells(engine, windows[-1].end_us)
    assert (found.cost, found.unpriced_us) == (None, 70 * MINUTE_US)


@pytest.mark.parametrize(
    ("scope", "count"),
    [
        (WHOLE, 1),
        (Scope(frozenset({"research"})), 1),
        (Scope(frozenset({"vision"})), 0),
        (Scope(None, frozenset({"east"})), 1),
        (Scope(frozenset({"research"}), frozenset({"west"})), 0),
        (Scope(frozenset()), 0),
    ],
)
def test_only_what_may_be_seen_leaves_the_database(engine: Engine, scope: Scope, count: int) -> None:
    windows = history(Minutes("idle", 10))
    book(engine, windows)
    assert len(spells(engine, windows[-1].end_us, scope)) == count


def test_a_spell_longer_than_the_look_back_is_at_least_so_long(engine: Engine) -> None:
    """Eight days of postings, of which seven are looked at."""
    days = [
        window(device_of("idle"), start_us=START_US + at * HOUR_US + left * MINUTE_US)
        for at in range(8 * 24)
        for left in range(60)
        if at in (0, 191)
    ]
    book(engine, days)
    with writing(engine) as connection:
        row = connection.execute(select(posting).where(posting.c.hour_us == START_US)).mappings().one()
        gone = posting.delete().where(posting.c.hour_us.between(START_US + 1, START_US + 190 * HOUR_US))
        connection.execute(gone)
        connection.execute(insert(posting), [{**row, "hour_us": START_US + at * HOUR_US} for at in range(1, 191)])
    (found,) = spells(engine, days[-1].end_us)
    assert found.before
    assert found.idle_us == 7 * 24 * HOUR_US


def stretches() -> st.SearchStrategy[list[Stretch]]:
    """Minutes of any kind, some missing."""
    kinds = st.sampled_from([(0, 60), (0, 0), (30, 30), (60, 0), None])
    return st.lists(kinds, max_size=30).map(lambda found: list(_placed(found)))


def _placed(kinds: Iterable[tuple[int, int] | None]) -> Iterable[Stretch]:
    for at, kind in enumerate(kinds):
        if kind is not None:
            used, idle = kind
            yield Stretch(at * 60, at * 60 + 60, used, idle, 60 - used - idle)


@given(stretches(), st.integers(0, 30))
def test_a_spell_is_idle_all_through_and_as_long_as_it_can_be(found: list[Stretch], more: int) -> None:
    scaled = [Stretch(*(value * 1_000_000 for value in one)) for one in found]
    end_us = 30 * MINUTE_US + more * MINUTE_US
    spell = unbroken(scaled, end_us)
    assert all(not one.used_us for one in spell)
    assert not spell or spell[-1].idle_us
    edges = [end_us, *(one.start_us for one in spell if one.idle_us)]
    ends = [one.end_us for one in spell if one.idle_us]
    assert all(edge - end <= UNOBSERVED_US for edge, end in zip(edges, ends, strict=False))
    assert unbroken(list(reversed(scaled)), end_us) == spell


@pytest.mark.parametrize("name", ["UTC", "Asia/Kolkata", "Australia/Lord_Howe", "Europe/Berlin"])
@given(start_us=st.integers(1_790_000_000_000_000, 1_795_000_000_000_000), length_us=st.integers(0, 60 * HOUR_US))
def test_the_calendar_says_what_the_ledger_says(name: str, start_us: int, length_us: int) -> None:
    zone = ZoneInfo(name)
    calendar = Calendar(zone, start_us, start_us + length_us)
    for us in (start_us, start_us + length_us // 2, start_us + length_us):
        assert calendar.start(us) == hour_start(us, zone)
        assert calendar.end(calendar.start(us)) == hour_end(hour_start(us, zone), zone)
    assert (calendar.oldest_us, calendar.starts[-1]) == (
        hour_start(start_us, zone),
        hour_start(start_us + length_us, zone),
    )
