"""The meter: samples and reservations in, windows out; the clock is an argument."""

from tests.ticked_node import HOST, INFO, MINE, MINUTE, T0, A, B, Node, S, held_by, line_of

from gputally.accounting.keys import PLATFORM_KEY, Holding, LineKey, Owner
from gputally.accounting.settlement import reserved_key
from gputally.accounting.states import Basis, OwnerKind, Reason, Source
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.reservations.holders import Grant
from gputally.agent.sample import (
    BusySample,
    DeviceInfo,
    DeviceSample,
    GpuProcess,
    Process,
    ProcessBusy,
    ProcessKind,
    ProcessReading,
    Reading,
    Sample,
)


def test_windows_end_on_the_grid_and_follow_each_other() -> None:
    node = Node(now=10)
    node.hold()
    node.run(150)
    node.stop()
    edges = [(w.start_us - T0, w.end_us - T0) for w in node.windows]
    assert edges == [(10 * S, MINUTE), (MINUTE, 2 * MINUTE), (2 * MINUTE, 159 * S)]


def test_a_busy_half_of_a_held_device_is_half_used_half_idle() -> None:
    node = Node()
    node.hold(Grant(A, ("GPU-0",)))
    node.run(121, 50)
    node.stop()
    line = line_of(node, MINE)
    assert (line.used_us, line.idle_us, line.source) == (60 * S, 60 * S, Source.DEVICE_SAMPLES)


def test_energy_of_windows_telescopes_to_the_counters_difference() -> None:
    node = Node()
    node.hold()
    node.run(150)
    node.stop()
    devices = node.devices()
    assert [d.energy_start_mj for d in devices[1:]] == [d.energy_end_mj for d in devices[:-1]]
    assert sum(line.energy_mj or 0 for d in devices for line in d.lines) == 149 * 200


def test_a_reservation_counts_from_the_instant_of_the_kubelets_answer() -> None:
    node = Node()
    node.hold()
    node.run(20)
    node.meter.on_reservations(19 * S, held_by(Grant(A, ("GPU-0",))))
    node.run(20)
    node.meter.on_reservations(39 * S, held_by())
    node.run(21)
    node.stop()
    assert line_of(node, MINE).idle_us == 20 * S
    assert line_of(node, PLATFORM_KEY).unallocated_us == 40 * S


def test_before_the_kubelets_first_answer_nobody_can_say_who_holds_what() -> None:
    node = Node()
    node.run(11)
    node.stop()
    key = LineKey("gpu", PLATFORM_KEY.owner, Basis.NONE, Reason.UNATTRIBUTED)
    assert line_of(node, key).unobserved_us == 10 * S


def test_a_host_without_a_kubelet_has_no_reservations() -> None:
    node = Node(Meter(MeterSettings("c", "n"), lambda _process, _held: (HOST,), kubernetes=False))
    node.run(11, 40, process=40)
    node.stop()
    assert line_of(node, LineKey("gpu", HOST, Basis.PROCESS)).used_us == 4 * S
    assert line_of(node, PLATFORM_KEY).unallocated_us == 6 * S


def test_a_process_on_somebody_elses_device_is_an_intruder_and_the_holder_does_not_pay_for_it() -> None:
    node = Node()
    node.hold(Grant(A, ("GPU-0",)))
    node.run(61, 50, process=20)
    node.stop()
    assert line_of(node, MINE).used_us == 18 * S
    assert line_of(node, LineKey("gpu", HOST, Basis.PROCESS)).intruder_us == 12 * S


def test_a_lost_device_is_unavailable_from_the_error_to_the_next_good_sample() -> None:
    node = Node()
    node.hold(Grant(A, ("GPU-0",)))
    node.run(10)
    node.run(20, reading=None, unavailable=True, detail=None)
    node.run(31)
    node.stop()
    assert line_of(node, PLATFORM_KEY).unavailable_us == 20 * S
    held = line_of(node, MINE)
    assert (held.idle_us, held.held_us) == (40 * S, S)


def test_a_driver_that_does_not_answer_is_unobserved_and_windows_go_on() -> None:
    node = Node()
    node.hold(Grant(A, ("GPU-0",)))
    node.run(11, 50)
    node.silent(190)
    assert len(node.windows) == 3
    node.run(40)
    node.stop()
    unobserved = line_of(node, reserved_key(Holding(A), Reason.NO_SAMPLE)).unobserved_us
    assert unobserved == 190 * S
    assert sum(d.capacity_us for d in node.devices()) == 240 * S


def test_a_device_that_joins_later_has_time_from_its_first_sample_only() -> None:
    node = Node()
    node.hold()
    node.run(30)
    second = DeviceInfo("GPU-1", 1, "H100")
    for _ in range(61):
        wall = node.wall_offset + node.now * S
        samples = tuple(
            DeviceSample(info, Reading((BusySample(wall, 0),), Source.DEVICE_SAMPLES, 0), ProcessReading((), ()))
            for info in (INFO, second)
        )
        node.windows += node.meter.on_sample(Sample(node.now * S, wall, samples))
        node.now += 1
    node.stop()
    joined = [d.capacity_us for d in node.devices() if d.uuid == "GPU-1"]
    assert sum(joined) == 60 * S


def test_a_stop_bills_up_to_the_last_sample() -> None:
    node = Node()
    node.hold()
    node.run(8)
    node.stop()
    assert sum(d.capacity_us for d in node.devices()) == 7 * S


def test_two_readings_of_one_pod_change_hands_without_a_hole() -> None:
    node = Node()
    node.hold(Grant(A, ("GPU-0",)))
    node.run(31, 100)
    node.hold(Grant(B, ("GPU-0",)))
    node.run(30, 100)
    node.stop()
    total = line_of(node, MINE).used_us + line_of(node, reserved_key(Holding(B))).used_us
    assert total == 60 * S


def test_a_new_probe_that_finds_nothing_newer_does_not_make_the_silence_idle() -> None:
    node = Node()
    node.hold(Grant(A, ("GPU-0",)))
    node.run(11, 100)
    node.silent(40)
    wall = node.wall_offset + node.now * S
    empty = Reading((), Source.DEVICE_SAMPLES, 0, energy_mj=node.energy, energy_supported=True,
                    busy_since_us=wall - 10 * S)  # fmt: skip
    node.tick(reading=empty, detail=ProcessReading((), ()))
    node.run(60)
    node.stop()
    assert line_of(node, reserved_key(Holding(A), Reason.NO_SAMPLE)).unobserved_us == 31 * S


def test_windows_shorter_than_the_patience_of_a_value_do_not_hold_it_for_ever() -> None:
    node = Node(Meter(MeterSettings("c", "n", window_us=S), lambda _process, _held: (HOST,), kubernetes=True))
    node.hold(Grant(A, ("GPU-0",)))
    node.run(11, 100)
    node.silent(300)
    node.stop()
    assert line_of(node, MINE).used_us <= 12 * S


def test_energy_that_was_used_in_silence_is_booked_when_the_counter_speaks_again() -> None:
    node = Node()
    node.hold(Grant(A, ("GPU-0",)))
    node.run(11, 50)
    node.silent(190)
    node.energy += 190 * 200
    node.run(40)
    node.stop()
    assert sum(line.energy_mj or 0 for line in node.lines().values()) == 240 * 200


def test_a_holder_whose_uid_is_learnt_later_is_not_an_intruder_on_its_own_device() -> None:
    named = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
    unnamed = Owner(OwnerKind.POD, "research", "train", "main", first_seen_us=5)
    node = Node(Meter(MeterSettings("c", "n"), lambda _process, _held: (named,), kubernetes=True))
    node.hold(Grant(unnamed, ("GPU-0",)))
    node.run(61, 80, process=80)
    node.stop()
    line = line_of(node, reserved_key(Holding(unnamed)))
    assert (line.used_us, line.idle_us, line.intruder_us) == (48 * S, 12 * S, 0)


def test_a_counter_that_takes_the_place_of_an_integral_is_not_one_seconds_energy() -> None:
    node = Node()
    node.hold()
    for second in range(121):
        wall = node.wall_offset + node.now * S
        counter = 5_000_000_000 + second if second > 60 else None
        reading = Reading((BusySample(wall, 0),), Source.DEVICE_SAMPLES, 0, power_mw=100_000, energy_mj=counter,
                          energy_supported=counter is not None)  # fmt: skip
        sample = DeviceSample(INFO, reading, ProcessReading((), ()))
        node.windows += node.meter.on_sample(Sample(node.now * S, wall, (sample,)))
        node.now += 1
    node.stop()
    assert sum(line.energy_mj or 0 for device in node.devices() for line in device.lines) < 60 * 100_000 + 100


def test_a_process_that_ends_keeps_its_owner_for_its_last_seconds() -> None:
    node = Node(
        Meter(MeterSettings("c", "n"), lambda process, _held: (HOST,) if process.process else (), kubernetes=True)
    )
    node.hold(Grant(A, ("GPU-0",)))
    living = GpuProcess(7, ProcessKind.COMPUTE, None, Process(7, 1, None, "user-1000"))
    ending = GpuProcess(7, ProcessKind.COMPUTE)
    node.tick(100, detail=ProcessReading((living,), ()))
    for _ in range(9):
        node.tick(100, detail=None)
    node.tick(100, detail=ProcessReading((ending,), (ProcessBusy(7, 100),)))
    node.stop()
    assert line_of(node, LineKey("gpu", HOST, Basis.PROCESS)).intruder_us == 10 * S
