"""One tick: what is asked when, and a device in trouble that does not keep the others from being read."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.agent.sampled_node import GPU_PROCESS, PARTED, PROCESS, T0, A, B, Node, S
from tests.fakes import FakeDriver, FakeProcesses

from gputally.agent.probe.sampler import (
    Cadence,
    DeviceSilent,
    DeviceUnavailable,
    Driver,
    DriverEvents,
    DriverReplaced,
    DriverUnavailable,
    Processes,
    Sampler,
)
from gputally.agent.sample import (
    CallTimes,
    DeviceInfo,
    DeviceSample,
    GpuProcess,
    ProcessKind,
    Reading,
    Sample,
)


@pytest.fixture
def node() -> Node:
    return Node()


def first(sample: Sample) -> DeviceSample:
    return sample.devices[0]


def test_the_fakes_are_what_the_sampler_asks_for() -> None:
    driver: Driver = FakeDriver([A])
    processes: Processes = FakeProcesses()
    assert driver.devices()
    assert processes.resolve(1) is None


def test_a_sample_carries_both_clocks_of_the_instant_before_the_driver_was_asked() -> None:
    node = Node()
    node.tick()
    sample = node.tick()
    assert (sample.monotonic_us, sample.wall_us) == (S, T0 + S)
    assert [device.info for device in sample.devices] == [A, B]


def test_the_time_that_it_takes_to_wake_gpus_is_before_their_first_sample() -> None:
    """What is read after it is not of before it: energy and a device's time begin together."""
    node = Node()
    enumerate_devices = node.driver.devices

    def slowly() -> Sequence[DeviceInfo]:
        node.monotonic.now_us += 40 * S
        node.wall.now_us += 40 * S
        return enumerate_devices()

    node.driver.devices = slowly  # type: ignore[method-assign]
    sample = node.tick()
    assert (sample.monotonic_us, sample.wall_us, sample.took_us) == (40 * S, T0 + 40 * S, 40 * S)


def test_processes_are_asked_for_every_five_seconds_and_at_once() -> None:
    details = [first(sample).detail is not None for sample in Node().ticks(11)]
    assert [n for n, detail in enumerate(details) if detail] == [0, 5, 10]


def test_a_tick_that_comes_a_little_early_does_not_put_processes_off_to_the_next() -> None:
    node = Node()
    node.tick(after_us=5 * S - 100_000)
    assert first(node.tick()).detail is not None


def test_a_full_sample_asks_for_processes_whether_or_not_they_are_due() -> None:
    node = Node()
    node.tick()
    assert all(device.detail for device in node.tick(full=True).devices)


def test_devices_are_enumerated_once_a_minute() -> None:
    node = Node()
    node.ticks(121)
    assert node.driver.count("devices") == 3


def test_a_device_that_appears_is_found_at_the_next_enumeration() -> None:
    node = Node()
    node.tick()
    node.driver.infos.append(DeviceInfo("GPU-c", 2, "H100"))
    assert [len(sample.devices) for sample in node.ticks(61)].index(3) == 59


def test_a_lost_device_is_unavailable_and_the_others_are_read() -> None:
    node = Node()
    node.driver.broken["read", "GPU-a"] = DeviceUnavailable("GPU is lost")
    lost, good = node.tick().devices
    assert (lost.unavailable, lost.reading, lost.detail, lost.error) == (True, None, None, "GPU is lost")
    assert good.reading is not None
    assert good.detail is not None


def test_a_silent_device_has_no_reading_and_is_not_unavailable() -> None:
    node = Node()
    node.driver.broken["read", "GPU-a"] = DeviceSilent("Unknown Error")
    silent = first(node.tick())
    assert (silent.unavailable, silent.reading, silent.error) == (False, None, "Unknown Error")


def test_a_device_that_fails_is_enumerated_anew_at_once_and_then_ever_more_rarely(node: Node) -> None:
    """A device that was reset may have other handles; but to enumerate wakes and initialises GPUs."""
    node.tick()
    node.driver.broken["read", "GPU-a"] = DeviceSilent("Unknown Error")
    enumerated = [node.enumerates() for _ in range(130)]
    assert [n for n, did in enumerate(enumerated) if did] == [1, 2, 4, 8, 16, 32, 64, 124]
    del node.driver.broken["read", "GPU-a"]
    assert sum(node.enumerates() for _ in range(60)) == 1


def test_a_second_device_that_fails_is_not_kept_waiting_by_the_first(node: Node) -> None:
    node.driver.broken["read", "GPU-a"] = DeviceUnavailable("GPU is lost")
    node.ticks(20)
    node.driver.broken["read", "GPU-b"] = DeviceSilent("its MIG devices have changed")
    assert [node.enumerates() for _ in range(2)] == [False, True]


def test_a_device_that_fails_again_later_is_enumerated_at_once_again(node: Node) -> None:
    for _ in range(2):
        node.ticks(3)
        node.driver.broken["read", "GPU-a"] = DeviceSilent("Unknown Error")
        assert [node.enumerates() for _ in range(3)] == [False, True, True]
        node.driver.broken.clear()


# ---- what the driver tells of its own accord ----


def test_a_change_of_partitions_is_enumerated_before_anything_is_read(node: Node) -> None:
    node.tick()
    node.driver.infos[0] = PARTED
    node.driver.told = DriverEvents(changed=True)
    assert first(node.tick()).info == PARTED
    assert not node.enumerates()


def test_xids_are_part_of_the_next_sample_of_their_device(node: Node) -> None:
    node.tick()
    node.driver.told = DriverEvents({"GPU-b": (31, 43)})
    assert [device.xids for device in node.tick().devices] == [(), (31, 43)]
    assert [device.xids for device in node.tick().devices] == [(), ()]


def test_xids_are_not_lost_with_samples_that_failed(node: Node) -> None:
    node.tick()
    node.driver.broken["devices", ""] = DriverUnavailable("no driver")
    for xid in (48, 63):
        node.driver.told = DriverEvents({"GPU-a": (xid,)}, changed=True)
        with pytest.raises(DriverUnavailable):
            node.tick()
    node.driver.broken.clear()
    assert first(node.tick()).xids == (48, 63)


def test_a_gpu_that_fell_off_the_bus_is_unavailable_until_the_next_good_reading(node: Node) -> None:
    node.tick()
    node.driver.told = DriverEvents({"GPU-a": (79,)})
    lost = first(node.tick())
    assert (lost.unavailable, lost.reading, lost.xids) == (True, None, (79,))
    assert "fallen off the bus" in lost.error
    good = first(node.tick())
    assert not good.unavailable
    assert good.reading is not None


def test_other_xids_leave_a_device_as_it_is(node: Node) -> None:
    node.driver.told = DriverEvents({"GPU-a": (13, 48, 94)})
    assert not first(node.tick()).unavailable


# ---- processes ----


def test_processes_that_could_not_be_asked_are_unknown_and_the_reading_stands() -> None:
    node = Node()
    node.driver.broken["read_processes", "GPU-a"] = DeviceSilent("Unknown Error")
    sample = first(node.tick())
    assert sample.reading is not None
    assert sample.detail is None


def test_a_list_that_the_driver_cannot_give_is_unknown_and_an_empty_one_is_nobody() -> None:
    node = Node()
    node.driver.on_device = {"GPU-a": None, "GPU-b": ()}
    unknown, nobody = (device.detail for device in node.tick().devices)
    assert unknown is not None
    assert nobody is not None
    assert (unknown.processes, nobody.processes) == (None, ())


def test_each_process_is_looked_up_in_proc() -> None:
    detail = first(Node().tick()).detail
    assert detail is not None
    assert detail.processes == (GpuProcess(7, ProcessKind.COMPUTE, 1 << 30, PROCESS),)


@pytest.mark.parametrize(
    ("command", "server"),
    [("nvidia-cuda-mps", True), ("nvidia-cuda-mps-server", False), ("python", False), ("", False)],
)
def test_the_mps_server_is_told_from_its_clients_by_the_name_that_the_kernel_keeps(command: str, server: bool) -> None:
    node = Node(processes=FakeProcesses({7: replace(PROCESS, command=command)}))
    detail = first(node.tick()).detail
    assert detail is not None
    assert [process.server for process in detail.processes or ()] == [server]


def test_a_process_that_has_ended_since_stays_on_the_list_without_an_identity() -> None:
    """Its memory may still be held: it is not dropped."""
    node = Node()
    node.processes.alive.clear()
    detail = first(node.tick()).detail
    assert detail is not None
    assert detail.processes == (GPU_PROCESS,)


@pytest.mark.parametrize("where", [("read", "GPU-a"), ("read_processes", "GPU-b"), ("devices", "")])
def test_a_driver_that_was_replaced_ends_the_sample(where: tuple[str, str]) -> None:
    node = Node()
    node.driver.broken[where] = DriverReplaced("driver and library do not fit")
    with pytest.raises(DriverReplaced):
        node.tick()


def test_a_driver_that_went_away_is_enumerated_anew_when_it_is_back() -> None:
    node = Node()
    node.driver.broken["devices", ""] = DriverUnavailable("no driver")
    with pytest.raises(DriverUnavailable):
        node.tick()
    node.driver.broken.clear()
    assert len(node.tick().devices) == 2


def test_a_pause_between_the_two_clocks_is_not_a_step_of_the_wall_clock() -> None:
    """The process is stopped for 60 ms (as by a CPU limit) after it read the first clock: both are read again."""

    class Time:
        now_us, pauses = 0, 1

        def monotonic(self) -> int:
            return self.now_us

        def wall(self) -> int:
            self.now_us += 60_000 * self.pauses
            self.pauses = 0
            return T0 + self.now_us

    clock = Time()
    sample = Sampler(FakeDriver([A]), FakeProcesses(), Cadence(), clock.monotonic, clock.wall).sample()
    assert sample.wall_us - sample.monotonic_us == T0


def test_a_sample_says_how_long_it_took_and_a_full_one_how_long_the_calls() -> None:
    """The driver's times are handed over with the costly values, every few seconds."""

    class Slow(FakeDriver):
        def read(self, uuid: str) -> Reading:
            node.monotonic.now_us += 700
            return super().read(uuid)

        def call_times(self) -> tuple[CallTimes, ...]:
            return (CallTimes("nvmlDeviceGetSamples", (1,), 700),)

    node = Node(Slow([A, B]))
    first, second = node.ticks(2)
    assert (first.full, first.took_us, [each.call for each in first.calls]) == (True, 1400, ["nvmlDeviceGetSamples"])
    assert (second.full, second.took_us, second.calls) == (False, 1400, ())


def test_samples_that_follow_faster_than_a_driver_measures_do_not_all_ask_for_activity(node: Node) -> None:
    """Its buffer keeps what was not asked for; a full sample asks for all, as it may be the last."""
    node.sampler = Sampler(node.driver, node.processes, Cadence(S // 10), node.monotonic, node.wall)
    for _ in range(10):
        node.tick(after_us=S // 10)
    assert (node.driver.count("read"), node.driver.count("read_lightly")) == (2 * 2, 2 * 8)
    before = node.driver.count("read")
    node.tick(after_us=S // 10)
    node.tick(full=True, after_us=S // 10)
    assert node.driver.count("read") == before + 2


def test_slower_samples_ask_for_everything_however_soon_one_comes(node: Node) -> None:
    """What was not asked for when a GPU is lost, nobody can ask for any more."""
    for early_us in (0, S // 2, 0, S * 9 // 10):
        node.tick(after_us=S - early_us)
    assert node.driver.count("read_lightly") == 0
