"""Energy: the counter's difference, exactly; a counter that restarts gives no energy rather than a wrong one."""

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gputally.agent.attribution.energy import Energy, EnergyTrack, IdlePower
from gputally.agent.sample import DeviceInfo, DeviceSample, GpuProcess, ProcessKind, ProcessReading, Reading

INFO = DeviceInfo("GPU-1", 0, "H100")
S = 1_000_000


def counter(mj: int | None) -> DeviceSample:
    return DeviceSample(INFO, Reading(energy_mj=mj, energy_supported=True, power_mw=100_000))


def power(mw: int) -> DeviceSample:
    return DeviceSample(INFO, Reading(power_mw=mw))


def test_energy_between_readings_is_linear_and_rounded_down_at_the_edge() -> None:
    track = EnergyTrack()
    track.observe(0, counter(1000))
    track.observe(3 * S, counter(1100))
    assert track.between(0, S) == Energy(Fraction(100, 3), 33)
    assert track.value_mj(S) == 1033


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=8), st.lists(st.integers(1, 7 * S), max_size=6))
def test_stretches_of_any_cut_sum_to_the_counters_difference(steps: list[int], cuts: list[int]) -> None:
    track, value = EnergyTrack(), 500
    for second, step in enumerate(steps):
        value += step
        track.observe(second * S, counter(value))
    end = (len(steps) - 1) * S
    edges = sorted({0, end, *(cut for cut in cuts if cut < end)})
    parts = [track.between(a, b) for a, b in itertools.pairwise(edges)]
    assert sum(part.whole_mj for part in parts if part) == value - 500 - steps[0]


def test_a_restarted_counter_is_counted_and_its_stretch_has_no_energy() -> None:
    track = EnergyTrack()
    for second, value in enumerate([1000, 1100, 5, 25]):
        track.observe(second * S, counter(value))
    assert track.between(0, 3 * S) == Energy(Fraction(120), 120)
    assert track.breaks(0, 3 * S) == 1


def test_a_missing_reading_is_bridged_by_the_next_one() -> None:
    track = EnergyTrack()
    track.observe(0, counter(0))
    track.observe(S, counter(None))
    assert track.known_us == 0
    track.observe(2 * S, counter(200))
    assert track.between(0, S) == Energy(Fraction(100), 100)


def test_no_reading_is_no_energy_and_not_zero() -> None:
    track = EnergyTrack()
    track.observe(0, DeviceSample(INFO, Reading()))
    assert track.between(0, S) is None
    assert track.value_mj(0) is None


def test_without_a_counter_power_is_integrated_and_marked_as_estimated() -> None:
    track = EnergyTrack()
    track.observe(0, power(100_000))
    track.observe(2 * S, power(300_000))
    assert track.estimated
    assert track.between(0, 2 * S) == Energy(Fraction(400_000), 400_000)


def tick(power_mw: int, *, processes: bool | None) -> DeviceSample:
    found = (GpuProcess(7, ProcessKind.COMPUTE),) if processes else ()
    detail = None if processes is None else ProcessReading(found)
    return DeviceSample(INFO, Reading(power_mw=power_mw), detail)


def test_idle_power_is_known_only_after_a_minute_without_a_process() -> None:
    idle = IdlePower()
    idle.observe(0, tick(70_000, processes=False))
    idle.observe(59 * S, tick(60_000, processes=None))
    assert idle.lowest_mw is None
    idle.observe(60 * S, tick(65_000, processes=False))
    assert idle.lowest_mw == 65_000
    idle.observe(61 * S, tick(63_000, processes=None))
    assert idle.lowest_mw == 63_000


def test_a_process_begins_the_minute_anew() -> None:
    idle = IdlePower()
    idle.observe(0, tick(70_000, processes=False))
    idle.observe(30 * S, tick(70_000, processes=True))
    idle.observe(35 * S, tick(70_000, processes=False))
    idle.observe(70 * S, tick(70_000, processes=None))
    assert idle.lowest_mw is None
