"""Busy time: readings become pieces that follow each other without overlap or hole."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.settlement import Coverage
from gputally.accounting.states import Source
from gputally.agent.attribution.busy import BusyTrack, Piece
from gputally.agent.sample import BusySample, Reading

S = 1_000_000


def buffer(*entries: tuple[float, int | None]) -> Reading:
    busy = tuple(BusySample(round(end * S), percent) for end, percent in entries)
    return Reading(busy=busy, busy_source=Source.DEVICE_SAMPLES)


def rate(percent: int | None) -> Reading:
    return Reading(busy_source=Source.DEVICE_RATE, utilization_percent=percent)


def track() -> BusyTrack:
    return BusyTrack(0, S, buffer())


def busy_us(pieces: list[Piece]) -> float:
    return sum(p.ppm * (p.end_us - p.start_us) for p in pieces) / 1_000_000


def test_a_buffer_entry_covers_the_time_since_the_entry_before_it() -> None:
    pieces = track().extend(S, buffer((0.2, 50), (0.4, 100), (1.0, 10)), 0)
    assert [(p.start_us, p.end_us, p.ppm) for p in pieces] == [
        (0, 200_000, 500_000),
        (200_000, 400_000, 1_000_000),
        (400_000, S, 100_000),
    ]


def test_time_that_the_buffer_has_not_reached_waits_for_the_next_tick() -> None:
    busy = track()
    busy.extend(S, buffer((0.4, 5), (0.8, 5)), 0)
    assert busy.known_us == 800_000
    pieces = busy.extend(2 * S, buffer((1.2, 100), (1.6, 90), (2.0, 100)), 0)
    assert pieces[0] == Piece(800_000, 1_200_000, 1_000_000, Coverage.MEASURED, Source.DEVICE_SAMPLES)


def test_no_newer_entry_is_idle_up_to_the_instant_it_was_asked_and_work_begins_there_exactly() -> None:
    busy = track()
    pieces = [piece for t in (1, 2, 3) for piece in busy.extend(t * S, buffer(), 0)]
    pieces += busy.extend(4 * S, buffer((3.25, 100), (3.5, 100), (3.75, 100), (4.0, 100)), 0)
    assert busy_us(pieces) == S
    assert [p.end_us for p in pieces if p.ppm == 0][-1] == 3 * S


def test_asking_sooner_than_the_driver_samples_does_not_make_work_idle() -> None:
    busy = track()
    pieces = [piece for tick in range(1, 10) for piece in busy.extend(tick * S // 10, buffer(), 0)]
    pieces += busy.extend(S, buffer((0.95, 100)), 0)
    assert busy_us(pieces) == 950_000


def test_a_rejected_value_is_unobserved_for_its_own_time_only() -> None:
    pieces = track().extend(S, buffer((0.5, 40), (1.0, None)), 0)
    assert [(p.coverage, p.ppm) for p in pieces] == [(Coverage.MEASURED, 400_000), (Coverage.INVALID_READING, 0)]


def test_a_late_tick_is_filled_from_the_drivers_own_buffer() -> None:
    busy = track()
    busy.extend(S, buffer((0.5, 0), (1.0, 0)), 0)
    pieces = busy.extend(6 * S, buffer(*((1 + k / 2, 80) for k in range(1, 11))), 0)
    assert busy_us(pieces) == 4 * S
    assert not any(p.held for p in pieces)


def test_what_the_buffer_no_longer_holds_is_unobserved_as_a_whole_when_it_is_long() -> None:
    busy = track()
    busy.extend(S, buffer((0.5, 100), (1.0, 100)), 0)
    pieces = busy.extend(30 * S, buffer(*((20 + k / 2, 80) for k in range(1, 21))), 0)
    assert pieces[0] == Piece(S, 20 * S, 0, Coverage.NO_SAMPLE)


def test_a_short_hole_holds_the_last_value_and_says_so() -> None:
    busy = track()
    busy.extend(S, buffer((0.5, 70), (1.0, 70)), 0)
    pieces = busy.extend(4 * S, buffer((3.0, 80), (3.5, 80), (4.0, 80)), 0)
    assert pieces[0] == Piece(S, 2_500_000, 700_000, Coverage.MEASURED, Source.DEVICE_SAMPLES, held=True)


def test_without_a_buffer_the_rate_stands_for_the_interval_before_it() -> None:
    busy = BusyTrack(0, S, rate(10))
    assert busy.extend(S, rate(60), 0) == [Piece(0, S, 600_000, Coverage.MEASURED, Source.DEVICE_RATE)]


def test_a_rate_does_not_stand_for_a_long_silence() -> None:
    busy = BusyTrack(0, S, rate(10))
    assert busy.extend(5 * S, rate(60), 0) == [Piece(0, 5 * S, 0, Coverage.NO_SAMPLE)]


def test_a_device_that_cannot_tell_is_not_idle() -> None:
    assert track().extend(S, Reading(), 0)[0].coverage is Coverage.NO_UTILISATION


def test_a_long_silence_of_a_device_that_cannot_tell_had_no_sample() -> None:
    assert track().extend(9 * S, Reading(), 0)[0].coverage is Coverage.NO_SAMPLE


def test_what_a_device_told_before_it_could_no_longer_tell_is_not_held() -> None:
    busy = BusyTrack(0, S, rate(90))
    busy.extend(S, Reading(), 0)
    assert busy.give_up(2 * S, 2 * S, hold=True)[0].coverage is Coverage.NO_SAMPLE


def test_a_rate_that_was_refused_at_the_border_is_an_invalid_reading() -> None:
    refused = replace(rate(None), rejected={"utilization-over-100": 1})
    assert BusyTrack(0, S, rate(1)).extend(S, refused, 0)[0].coverage is Coverage.INVALID_READING


def test_the_drivers_stamps_are_moved_onto_the_agents_timeline() -> None:
    pieces = track().extend(S, buffer((0.51, 40), (1.01, 50)), -10_000)
    assert [p.end_us for p in pieces] == [500_000, S]


def test_giving_up_on_a_short_time_holds_and_on_a_long_time_does_not() -> None:
    busy = BusyTrack(0, S, rate(40))
    assert busy.give_up(2 * S, 2 * S, hold=True)[0].held
    assert busy.give_up(5 * S, 5 * S, hold=True)[0].coverage is Coverage.NO_SAMPLE
    assert busy.give_up(5 * S, 5 * S, hold=True) == []


_ENTRIES = st.lists(st.tuples(st.integers(1, 40), st.none() | st.integers(0, 100)), max_size=6)


@given(st.lists(_ENTRIES, min_size=1, max_size=12))
def test_pieces_follow_each_other_whatever_the_driver_says(ticks: list[list[tuple[int, int | None]]]) -> None:
    busy, pieces, end = track(), [], 0.0
    for number, steps in enumerate(ticks, 1):
        entries = []
        for step, percent in steps:
            end += step / 10
            entries.append((end, percent))
        pieces += busy.extend(max(number * S, round(end * S)), buffer(*entries), 0)
    pieces += busy.give_up(round(end * S) + 9 * S, round(end * S) + 9 * S, hold=True)
    assert pieces[0].start_us == 0
    assert all(a.end_us == b.start_us for a, b in pairwise(pieces))
    assert all(p.start_us < p.end_us for p in pieces)


def test_a_reading_that_did_not_ask_for_activity_says_nothing_of_it() -> None:
    """The next one that asks tells of that time, too: neither a gap nor idle time is made of it."""
    busy = BusyTrack(0, S // 10, buffer())
    unasked = Reading(busy_source=Source.DEVICE_SAMPLES, utilization_percent=99)
    assert [busy.extend(k * S // 10, unasked, 0) for k in range(1, 10)] == [[]] * 9
    pieces = busy.extend(S, buffer((0.2, 50), (0.4, 50), (0.6, 50), (0.8, 50), (1.0, 50)), 0)
    assert sum(piece.end_us - piece.start_us for piece in pieces) == S
    assert {(piece.ppm, piece.held) for piece in pieces} == {(500_000, False)}


def test_entries_that_follow_each_other_and_say_the_same_are_one_piece() -> None:
    """A GPU at rest or at its limit says the same for long. What nobody knows is not the same as rest."""
    pieces = track().extend(2 * S, buffer((0.5, 0), (1.0, 0), (1.5, None), (2.0, 0)), 0)
    assert [(p.end_us, p.coverage) for p in pieces] == [
        (S, Coverage.MEASURED),
        (1_500_000, Coverage.INVALID_READING),
        (2 * S, Coverage.MEASURED),
    ]
