"""Totals only grow, lose nothing, and forget the pods that are gone."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.keys import PLATFORM, PLATFORM_KEY, LineKey, Owner
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.split import largest_remainder
from gputally.accounting.states import Basis, OwnerKind, Source, State
from gputally.agent.held import NOBODY, Held
from gputally.agent.last_sample import STALE_US
from gputally.agent.sample import (
    CallTimes,
    DeviceInfo,
    DeviceSample,
    GpmReading,
    GpuProcess,
    InstanceReading,
    MigInstance,
    Process,
    ProcessKind,
    ProcessReading,
    Reading,
    Sample,
    Vitals,
)
from gputally.agent.snapshot import PartitionSnapshot
from gputally.agent.spell_file import SpellFile
from gputally.agent.totals import KEEP_SERIES, KEEP_US, LARGEST_XID, Totals

MINUTE_US = 60_000_000
NO_FILE = SpellFile(Path("/nonexistent"))


def nobody(_process: GpuProcess, _held: Held) -> tuple[Owner, ...]:
    return ()


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
    totals = Totals(nobody, NO_FILE)
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
    for device in totals.devices():
        assert sum(device.time_us.values()) == MINUTE_US * len(windows)
        assert device.time_us[State.USED] == used
    for each in totals.pods():
        assert each.time_us[State.USED] == used


def test_a_window_whose_books_do_not_balance_is_seen() -> None:
    """The metric that must be 0 is not 0."""
    totals = Totals(nobody, NO_FILE)
    totals.fold([window(free(MINUTE_US - 3))], 0)
    assert totals.conservation_error_us == 3


def test_energy_is_unknown_until_some_of_it_was_known() -> None:
    """None is not 0, and a window without energy takes nothing back."""
    totals = Totals(nobody, NO_FILE)
    totals.fold([window(line(pod("a"), MINUTE_US))], 0)
    assert (totals.devices()[0].energy_mj, totals.pods()[0].energy_mj) == (None, None)
    totals.fold([window(line(pod("a"), MINUTE_US, energy_idle_mj=0, energy_dynamic_mj=7))], 0)
    totals.fold([window(line(pod("a"), MINUTE_US))], 0)
    assert (totals.devices()[0].energy_mj, totals.pods()[0].energy_mj) == (7, 7)


def test_a_pods_lines_add_up_to_one_series_a_device() -> None:
    """A pod of the same name that came back goes on counting where its series stands."""
    totals = Totals(nobody, NO_FILE)
    totals.fold([window(line(pod("a", "1"), 10), line(pod("a", "2"), 20), free(MINUTE_US - 30))], 0)
    totals.fold([window(line(pod("a", "2"), 5), free(MINUTE_US - 5), uuid="GPU-2")], 0)
    assert [(each.pod, each.uuid, each.time_us[State.USED]) for each in totals.pods()] == [
        ("a", "GPU-1", 30),
        ("a", "GPU-2", 5),
    ]


def test_a_pod_has_the_states_that_it_pays_for() -> None:
    """Unallocated time is nobody's; idle 0 is known and stands there."""
    totals = Totals(nobody, NO_FILE)
    totals.fold([window(line(pod("a"), MINUTE_US))], 0)
    assert totals.pods()[0].time_us == {State.USED: MINUTE_US, State.IDLE: 0, State.UNOBSERVED: 0}


def test_a_pod_that_is_gone_is_forgotten_after_ten_minutes_and_its_device_is_not() -> None:
    """Series of old pods would pile up for ever."""
    totals = Totals(nobody, NO_FILE)
    totals.fold([window(line(pod("a"), MINUTE_US))], 0)
    totals.fold([window(line(pod("b"), MINUTE_US))], KEEP_US)
    assert [each.pod for each in totals.pods()] == ["a", "b"]
    totals.fold([window(free())], KEEP_US + 1)
    assert [each.pod for each in totals.pods()] == ["b"]
    assert totals.devices()[0].time_us[State.USED] == 2 * MINUTE_US


def test_pods_without_room_are_counted_and_the_device_still_has_their_time() -> None:
    """Bounded, and never silently."""
    totals = Totals(nobody, NO_FILE)
    lines = [line(pod(f"p{number}"), 1) for number in range(KEEP_SERIES + 2)]
    totals.fold([window(*lines, capacity_us=len(lines))], 0)
    assert (len(totals.pods()), totals.series_refused) == (KEEP_SERIES, 2)
    assert totals.devices()[0].time_us[State.USED] == len(lines)


def see(totals: Totals, *devices: DeviceSample, full: bool = False, wall_us: int = 0) -> None:
    totals.observe(Sample(0, wall_us, devices, full), lambda _: NOBODY)


def test_a_device_has_the_last_samples_values_only_while_it_is_sampled() -> None:
    """Of a device that is gone the counters stay; of one without a window there are no counters yet."""
    totals = Totals(nobody, NO_FILE)
    totals.fold([window(free())], 0)
    reading = Reading(utilization_percent=3, power_mw=5, memory_used_bytes=0)
    new = DeviceSample(DeviceInfo("GPU-0", 0, "A30"), reading)
    silent = DeviceSample(DeviceInfo("GPU-2", 2, "A30"), None, error="no answer")
    lost = DeviceSample(DeviceInfo("GPU-3", 3, "A30"), None, unavailable=True)
    see(totals, new, silent, lost)
    first, old, third, fourth = totals.devices()
    assert (first.uuid, first.model, first.time_us, first.energy_mj) == ("GPU-0", "A30", {}, None)
    assert (first.reading, first.available) == (reading, True)
    assert (old.uuid, old.model, old.reading, old.available) == ("GPU-1", "H100", None, None)
    assert (third.reading, third.available, fourth.reading, fourth.available) == (None, None, None, False)
    totals.unsample()
    assert [(each.uuid, each.reading, each.available) for each in totals.devices()] == [("GPU-1", None, None)]


def test_costly_values_are_the_last_full_samples_while_the_device_answers() -> None:
    """Processes are listed more rarely than the rest; of a device that is silent now nothing is known."""
    totals = Totals(nobody, NO_FILE)
    info = DeviceInfo("GPU-0", 0, "A30")
    ghost = GpuProcess(7, ProcessKind.COMPUTE, 5 << 30)
    full = DeviceSample(info, Reading(), ProcessReading((ghost,), vitals=Vitals(50)))
    see(totals, DeviceSample(info, Reading()))
    assert (totals.devices()[0].ghost_memory_bytes, totals.devices()[0].vitals) == (None, None)
    see(totals, full, full=True)
    see(totals, DeviceSample(info, Reading()))
    assert (totals.devices()[0].ghost_memory_bytes, totals.devices()[0].vitals) == (5 << 30, Vitals(50))
    see(totals, DeviceSample(info, None, error="no answer"))
    assert (totals.devices()[0].ghost_memory_bytes, totals.devices()[0].vitals) == (None, None)


def test_figures_of_quality_stand_until_the_next_but_not_for_ever() -> None:
    """GPM answers every few seconds; what is half a minute old tells of another time."""
    totals = Totals(nobody, NO_FILE)
    mig = MigInstance("MIG-1", 7, 0, 1, "1g.10gb")
    info = DeviceInfo("GPU-0", 0, "H100", mig_enabled=True, instances=(mig,))
    gpm = GpmReading(0, 1, 370_000)
    see(totals, DeviceSample(info, Reading(gpm=gpm, instances=(InstanceReading("MIG-1", 5, 9, gpm, True),))))
    now = DeviceSample(info, Reading(instances=(InstanceReading("MIG-1", 6, 9, None, True),)))
    see(totals, now, wall_us=STALE_US)
    (device,) = totals.devices()
    assert device.quality == gpm
    assert device.partitions == (PartitionSnapshot(mig, 6, 9, gpm),)
    see(totals, now, wall_us=STALE_US + 2)
    (device,) = totals.devices()
    assert (device.quality, device.partitions) == (None, (PartitionSnapshot(mig, 6, 9, None),))


def test_xids_are_counted_by_device_and_code_and_unknown_codes_are_few() -> None:
    """The number of series must not depend on what a driver makes up."""
    totals = Totals(nobody, NO_FILE)
    info = DeviceInfo("GPU-0", 0, "H100")
    see(totals, DeviceSample(info, Reading(), xids=(31, 31)))
    see(totals, DeviceSample(info, Reading(), xids=(2**40, 10_000)))
    (device,) = totals.devices()
    assert (device.xids, device.last_xid) == ({31: 2, LARGEST_XID: 2}, 10_000)


def test_times_of_the_drivers_calls_add_up() -> None:
    totals = Totals(nobody, NO_FILE)
    for _ in range(2):
        calls = (CallTimes("b", (1, 0), 5), CallTimes("a", (0, 1), 7))
        totals.observe(Sample(0, 0, (), calls=calls), lambda _: NOBODY)
    assert totals.calls() == (CallTimes("a", (0, 2), 14), CallTimes("b", (2, 0), 10))


def test_use_without_a_reservation_is_told_apart_by_whether_somebody_else_held_it() -> None:
    """Time that nobody held is the user's; what somebody else held is a memo, and an alert."""
    totals = Totals(nobody, NO_FILE)
    process = Line(LineKey("gpu", pod("a"), Basis.PROCESS), Source.PROCESS_SAMPLES, 10, intruder_us=7)
    host = Line(LineKey("gpu", Owner(OwnerKind.HOST, user="u"), Basis.PROCESS), Source.PROCESS_SAMPLES, 20)
    totals.fold([window(line(pod("a"), 5), process, host, free(MINUTE_US - 35))], 0)
    (device,), (found,) = totals.devices(), totals.pods()
    assert device.unreserved_us == {OwnerKind.POD: 10, OwnerKind.HOST: 20}
    assert device.intruder_us == {OwnerKind.POD: 7, OwnerKind.HOST: 0}
    assert (found.unreserved_us, found.intruder_us, found.time_us[State.USED]) == (10, 7, 15)


def test_a_pods_memory_is_what_its_processes_hold_now() -> None:
    """It is known only while the device answers and its processes can be told."""
    totals = Totals(lambda process, held: (pod("a"),), NO_FILE)
    totals.fold([window(line(pod("a"), 5), free(MINUTE_US - 5), uuid="GPU-0")], 0)
    assert totals.pods()[0].memory_bytes is None
    info = DeviceInfo("GPU-0", 0, "H100")
    one = GpuProcess(7, ProcessKind.COMPUTE, 5 << 30, Process(7, 1))
    see(totals, DeviceSample(info, Reading(), ProcessReading((one, replace(one, pid=8)))), full=True)
    assert totals.pods()[0].memory_bytes == 10 << 30
    see(totals, DeviceSample(info, None, error="no answer"))
    assert totals.pods()[0].memory_bytes is None


def test_what_was_handed_out_does_not_change() -> None:
    """A snapshot is immutable: another thread may be reading it."""
    totals = Totals(nobody, NO_FILE)
    totals.fold([window(free())], 0)
    before = totals.devices()[0]
    totals.fold([window(free())], 0)
    assert before.time_us[State.UNALLOCATED] == MINUTE_US
