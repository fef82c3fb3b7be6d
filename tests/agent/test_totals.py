"""Totals only grow, lose nothing, and forget the pods that are gone."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.keys import PLATFORM, PLATFORM_KEY, LineKey, Owner
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.split import largest_remainder
from gputally.accounting.states import Basis, OwnerKind, Source, State
from gputally.agent.sample import (
    DeviceInfo,
    DeviceSample,
    GpuProcess,
    ProcessKind,
    ProcessReading,
    Reading,
    Sample,
)
from gputally.agent.totals import KEEP_SERIES, KEEP_US, Totals

MINUTE_US = 60_000_000


def pod(name: str, uid: str = "u") -> Owner:
    return Owner(OwnerKind.POD, "team", name, "main", uid)


def line(owner: Owner, used_us: int = 0, idle_us: int = 0, **more: int) -> Line:
    return Line(LineKey("gpu", owner, Basis.RESERVATION), Source.DEVICE_SAMPLES, used_us, idle_us, **more)


def window(*lines: Line, uuid: str = "GPU-1", capacity_us: int = MINUTE_US) -> Window:
    return Window("c", "n", 0, MINUTE_US, (DeviceWindow(uuid, "H100", capacity_us, lines),))


def free(us: int = MINUTE_US) -> Line:
    return Line(PLATFORM_KEY, Source.NONE, unallocated_us=us)


SPLITS = st.lists(st.integers(0, 1000), min_size=6, max_size=6).filter(any)


@given(st.lists(SPLITS, max_size=8))
def test_states_sum_to_the_capacity_that_was_folded_in(windows: list[list[int]]) -> None:
    """Sum over states = capacity, per device, and a pod's part of it is what its lines say."""
    totals = Totals()
    used = 0
    for weights in windows:
        parts = [Fraction(weight * MINUTE_US, sum(weights)) for weight in weights]
        a, b, c, d, e, f = largest_remainder(MINUTE_US, parts)
        lines = (
            line(pod("a"), a, b, unobserved_us=c),
            Line(LineKey("gpu", PLATFORM, Basis.NONE), Source.NONE, 0, 0, d, e, f),
        )
        totals.fold([window(*lines)], 0)
        used += a
    assert totals.conservation_error_us == 0
    for device in totals.devices(None):
        assert sum(device.time_us.values()) == MINUTE_US * len(windows)
        assert device.time_us[State.USED] == used
    for each in totals.pods():
        assert each.time_us[State.USED] == used


def test_a_window_whose_books_do_not_balance_is_seen() -> None:
    """The metric that must be 0 is not 0."""
    totals = Totals()
    totals.fold([window(free(MINUTE_US - 3))], 0)
    assert totals.conservation_error_us == 3


def test_energy_is_unknown_until_some_of_it_was_known() -> None:
    """None is not 0, and a window without energy takes nothing back."""
    totals = Totals()
    totals.fold([window(line(pod("a"), MINUTE_US))], 0)
    assert (totals.devices(None)[0].energy_mj, totals.pods()[0].energy_mj) == (None, None)
    totals.fold([window(line(pod("a"), MINUTE_US, energy_idle_mj=0, energy_dynamic_mj=7))], 0)
    totals.fold([window(line(pod("a"), MINUTE_US))], 0)
    assert (totals.devices(None)[0].energy_mj, totals.pods()[0].energy_mj) == (7, 7)


def test_a_pods_lines_add_up_to_one_series_a_device() -> None:
    """A pod of the same name that came back goes on counting where its series stands."""
    totals = Totals()
    totals.fold([window(line(pod("a", "1"), 10), line(pod("a", "2"), 20), free(MINUTE_US - 30))], 0)
    totals.fold([window(line(pod("a", "2"), 5), free(MINUTE_US - 5), uuid="GPU-2")], 0)
    assert [(each.pod, each.uuid, each.time_us[State.USED]) for each in totals.pods()] == [
        ("a", "GPU-1", 30),
        ("a", "GPU-2", 5),
    ]


def test_a_pod_has_the_states_that_it_pays_for() -> None:
    """Unallocated time is nobody's; idle 0 is known and stands there."""
    totals = Totals()
    totals.fold([window(line(pod("a"), MINUTE_US))], 0)
    assert totals.pods()[0].time_us == {State.USED: MINUTE_US, State.IDLE: 0, State.UNOBSERVED: 0}


def test_a_pod_that_is_gone_is_forgotten_after_ten_minutes_and_its_device_is_not() -> None:
    """Series of old pods would pile up for ever."""
    totals = Totals()
    totals.fold([window(line(pod("a"), MINUTE_US))], 0)
    totals.fold([window(line(pod("b"), MINUTE_US))], KEEP_US)
    assert [each.pod for each in totals.pods()] == ["a", "b"]
    totals.fold([window(free())], KEEP_US + 1)
    assert [each.pod for each in totals.pods()] == ["b"]
    assert totals.devices(None)[0].time_us[State.USED] == 2 * MINUTE_US


def test_pods_without_room_are_counted_and_the_device_still_has_their_time() -> None:
    """Bounded, and never silently."""
    totals = Totals()
    lines = [line(pod(f"p{number}"), 1) for number in range(KEEP_SERIES + 2)]
    totals.fold([window(*lines, capacity_us=len(lines))], 0)
    assert (len(totals.pods()), totals.series_refused) == (KEEP_SERIES, 2)
    assert totals.devices(None)[0].time_us[State.USED] == len(lines)


def test_a_device_has_the_last_samples_values_only_while_it_is_sampled() -> None:
    """Of a device that is gone the counters stay; of one without a window there are no counters yet."""
    totals = Totals()
    totals.fold([window(free())], 0)
    new = DeviceSample(DeviceInfo("GPU-0", 0, "A30"), Reading(utilization_percent=3, power_mw=5, memory_used_bytes=0))
    silent = DeviceSample(DeviceInfo("GPU-2", 2, "A30"), None, error="no answer")
    first, old, third = totals.devices(Sample(0, 0, (new, silent)))
    assert (first.uuid, first.model, first.time_us, first.energy_mj) == ("GPU-0", "A30", {}, None)
    assert (first.utilization_percent, first.power_mw, first.memory_used_bytes) == (3, 5, 0)
    assert (old.uuid, old.model, old.utilization_percent) == ("GPU-1", "H100", None)
    assert (third.utilization_percent, third.power_mw, third.memory_used_bytes) == (None, None, None)


def test_memory_of_ghosts_is_the_last_full_samples_while_the_device_answers() -> None:
    """Processes are listed more rarely than the rest; of a device that is silent now nothing is known."""
    totals = Totals()
    info = DeviceInfo("GPU-0", 0, "A30")
    ghost = GpuProcess(7, ProcessKind.COMPUTE, 5 << 30)
    full = Sample(0, 0, (DeviceSample(info, Reading(), ProcessReading((ghost,))),), True)
    now = Sample(1, 1, (DeviceSample(info, Reading()),))
    silent = Sample(1, 1, (DeviceSample(info, None, error="no answer"),))
    assert totals.devices(now, full)[0].ghost_memory_bytes == 5 << 30
    assert totals.devices(now)[0].ghost_memory_bytes is None
    assert totals.devices(silent, full)[0].ghost_memory_bytes is None


def test_what_was_handed_out_does_not_change() -> None:
    """A snapshot is immutable: another thread may be reading it."""
    totals = Totals()
    totals.fold([window(free())], 0)
    before = totals.devices(None)[0]
    totals.fold([window(free())], 0)
    assert before.time_us[State.UNALLOCATED] == MINUTE_US
