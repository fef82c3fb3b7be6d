"""A device's window: stretches are settled exactly, and rounded once for all of them together."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.invariants import violations
from gputally.accounting.keys import PLATFORM_KEY, REPLICA, Holding, Owner
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.settlement import Coverage, Stretch, reserved_key
from gputally.accounting.states import OwnerKind, Reason, Source
from gputally.agent.attribution.account import Usage
from gputally.agent.attribution.energy import EnergyTrack
from gputally.agent.sample import DeviceInfo, DeviceSample, Reading
from gputally.agent.window import DeviceFold

S = 1_000_000
INFO = DeviceInfo("GPU-0", 0, "H100")
A, B, C = (Owner(OwnerKind.POD, "ns", name, "main", f"uid-{name}") for name in "abc")
MINE = Holding(A)


def counter(*readings: tuple[int, int | None]) -> EnergyTrack:
    """The device's energy counter: (instant in µs, mJ; None where it could not be read)."""
    track = EnergyTrack()
    for at_us, energy_mj in readings:
        track.observe(at_us, DeviceSample(INFO, Reading(energy_mj=energy_mj, energy_supported=True)))
    return track


def closed(*stretches: Stretch, track: EnergyTrack | None = None, idle_mw: int | None = None) -> DeviceWindow:
    """The window of stretches that follow each other from 0 on."""
    fold, at_us = DeviceFold(0), 0
    for stretch in stretches:
        fold.fold([Usage(at_us, at_us + stretch.duration_us, stretch)])
        at_us += stretch.duration_us
    return fold.close(INFO, track or EnergyTrack(), idle_mw, lambda *_: None)


def line(device: DeviceWindow, holding: Holding, reason: Reason = Reason.NONE) -> Line:
    return next(each for each in device.lines if each.key == reserved_key(holding, reason))


def held(seconds: int, busy_us: Fraction | int = 0, *holdings: Holding, **facts: object) -> Stretch:
    facts = {"source": Source.DEVICE_SAMPLES, **facts}
    return Stretch(seconds * S, holdings or (MINE,), busy_us=Fraction(busy_us), **facts)


def test_stretches_of_one_line_are_summed() -> None:
    device = closed(held(10, 4 * S), held(20, 5 * S))
    mine = line(device, MINE)
    assert (mine.used_us, mine.idle_us, device.capacity_us) == (9 * S, 21 * S, 30 * S)


def test_fractions_are_rounded_once_for_the_window_not_once_a_stretch() -> None:
    """Three times a third of a microsecond is one microsecond."""
    device = closed(*[held(1, Fraction(1, 3))] * 3)
    assert line(device, MINE).used_us == 1


def test_equal_remainders_go_to_the_earlier_line() -> None:
    thirds = [Holding(owner, REPLICA, Fraction(1, 3)) for owner in (C, A, B)]
    device = closed(held(1, 0, *thirds))
    assert [(each.key.owner.pod, each.idle_us) for each in device.lines] == [
        ("a", 333_334),
        ("b", 333_333),
        ("c", 333_333),
    ]


def test_lines_stand_in_the_order_of_their_keys_whatever_came_first() -> None:
    one, other = held(1, 0, MINE), held(1, 0, Holding(B))
    keys = [each.key for each in closed(one, other).lines]
    assert keys == [each.key for each in closed(other, one).lines] == sorted(keys, key=lambda key: key.text)


def test_a_line_without_time_or_energy_is_left_out() -> None:
    device = closed(held(5, 0), Stretch(S, available=False))
    assert {each.key for each in device.lines} == {reserved_key(MINE), PLATFORM_KEY}
    assert PLATFORM_KEY not in {each.key for each in closed(held(5, 0)).lines}


def test_an_intruder_has_a_line_though_its_states_are_all_0() -> None:
    device = closed(held(10, 3 * S, process_busy_us={B: Fraction(2 * S)}))
    [intruder] = [each for each in device.lines if each.key.owner == B]
    assert (intruder.capacity_us, intruder.intruder_us) == (0, 2 * S)


def test_memos_are_rounded_down() -> None:
    quarter = Holding(A, REPLICA, Fraction(1, 4))
    stretch = held(1, 0, quarter, process_busy_us={A: Fraction(2 * S, 3)}, held_us=10)
    mine = line(closed(stretch), quarter)
    assert (mine.burst_us, mine.held_us) == (416_666, 2)


def test_time_that_was_not_measured_has_no_source_and_a_line_of_its_own() -> None:
    device = closed(held(10, 5 * S), held(20, coverage=Coverage.NO_SAMPLE))
    assert line(device, MINE).source is Source.DEVICE_SAMPLES
    dark = line(device, MINE, Reason.NO_SAMPLE)
    assert (dark.unobserved_us, dark.source) == (20 * S, Source.NONE)


def test_energy_is_the_counters_difference_at_the_windows_edges() -> None:
    device = closed(held(10, 4 * S), held(20, 5 * S), track=counter((0, 1000), (30 * S, 4001)))
    assert (device.energy_start_mj, device.energy_end_mj, device.energy_breaks) == (1000, 4001, 0)
    assert line(device, MINE).energy_dynamic_mj == 3001


def test_a_window_between_two_readings_gets_its_part_of_their_difference() -> None:
    fold = DeviceFold(2 * S)
    fold.fold([Usage(2 * S, 4 * S, held(2))])
    device = fold.close(INFO, counter((0, 0), (10 * S, 1005)), None, lambda *_: None)
    assert (device.energy_start_mj, device.energy_end_mj) == (201, 402)
    assert line(device, MINE).energy_dynamic_mj == 201


def test_without_a_reading_energy_is_unknown_not_0() -> None:
    device = closed(held(10))
    assert (device.energy_start_mj, device.energy_end_mj) == (None, None)
    assert line(device, MINE).energy_mj is None


def test_a_line_that_was_there_only_while_energy_was_unknown_has_none_beside_those_that_have_some() -> None:
    """What it used is not known; 0 would say that it used nothing."""
    theirs = Holding(B)
    device = closed(held(10), held(10, 0, theirs), track=counter((10 * S, 500), (20 * S, 800)))
    assert (line(device, MINE).energy_mj, line(device, theirs).energy_mj) == (None, 300)
    assert violations(Window("c", "n", 0, 20 * S, (device,))) == []


def test_a_counter_that_stood_still_is_0_not_unknown() -> None:
    device = closed(held(10), track=counter((0, 500), (10 * S, 500)))
    assert line(device, MINE).energy_dynamic_mj == 0


def test_the_idle_part_is_absent_where_the_idle_power_is_not_known() -> None:
    track = counter((0, 0), (10 * S, 2_000_000))
    assert line(closed(held(10), track=track), MINE).energy_idle_mj is None
    known = line(closed(held(10), track=track, idle_mw=70_000), MINE)
    assert (known.energy_idle_mj, known.energy_dynamic_mj) == (700_000, 1_300_000)


def test_a_counter_that_restarted_gives_no_energy_for_the_stretch_between_its_readings() -> None:
    track = counter((0, 9000), (10 * S, 9500), (20 * S, 40), (30 * S, 340))
    device = closed(held(30), track=track)
    assert device.energy_breaks == 1
    assert line(device, MINE).energy_dynamic_mj == 500 + 300


SHARES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(
    lambda parts: tuple(
        Holding(owner, REPLICA, Fraction(part, sum(parts) + 1)) for owner, part in zip((A, B, C), parts, strict=False)
    )
)
STRETCHES = st.builds(
    Stretch,
    st.integers(1, 10 * S),
    SHARES | st.just((MINE,)) | st.just(()),
    coverage=st.sampled_from(Coverage),
    available=st.booleans(),
    busy_us=st.just(Fraction(1, 7)) | st.just(Fraction(0)),
    process_busy_us=st.dictionaries(st.sampled_from((A, B, C)), st.fractions(0, 10 * S, max_denominator=700)),
    source=st.sampled_from(Source),
)


@given(
    st.lists(STRETCHES, min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(1, 30 * S), st.none() | st.integers(0, 10**7)), max_size=5),
    st.none() | st.integers(0, 700_000),
)
def test_whatever_the_stretches_the_parts_sum_to_the_whole(
    stretches: list[Stretch], steps: list[tuple[int, int | None]], idle_mw: int | None
) -> None:
    at_us, energy_mj, readings = -S, 10**6, [(-S, 10**6)]
    for after_us, more_mj in steps:
        at_us += after_us
        energy_mj += more_mj or 0
        readings.append((at_us, None if more_mj is None else energy_mj))
    device = closed(*stretches, track=counter(*readings), idle_mw=idle_mw)
    assert device.capacity_us == sum(stretch.duration_us for stretch in stretches)
    assert violations(Window("c", "n", 0, device.capacity_us, (device,))) == []
