"""The invariants I1 to I3 as equations, through the whole pure pipeline.

Whatever the driver, the kubelet, /proc and the clock say, and in whatever order: the meter's windows keep the books.
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gputally.accounting.invariants import conservation_error_us, violations
from gputally.accounting.keys import Owner
from gputally.accounting.line import Window
from gputally.accounting.states import OwnerKind, Source
from gputally.agent.held import Held
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.reservations.holders import Grant, place
from gputally.agent.sample import (
    BusySample,
    DeviceInfo,
    DeviceSample,
    GpuProcess,
    ProcessBusy,
    ProcessKind,
    ProcessReading,
    Reading,
    Sample,
)
from gputally.proto import telemetry_pb2 as pb
from gputally.proto.codec import decode, encode

S = 1_000_000
MINUTE = 60 * S
T0 = 28_333_333 * MINUTE + 17_000_001  # a wall clock that starts off the grid
REPLICAS = 4
INFOS = tuple(DeviceInfo(f"GPU-{n}", n, "H100", minor=n) for n in range(2))
OWNERS = (
    Owner(OwnerKind.POD, "research", "train", "main", "uid-a"),
    Owner(OwnerKind.POD, "inference", "chat", "main", "uid-b"),
    Owner(OwnerKind.POD, "notebooks", "nb", "lab", first_seen_us=7),
    Owner(OwnerKind.HOST, user="user-1000", unit="session-1.scope"),
)
UNCLEAR = Grant(OWNERS[0], ("of no known shape",))
WHOSE = {1: OWNERS[:1], 2: OWNERS[1:2], 3: OWNERS[3:], 4: OWNERS[:2], 5: ()}  # 4 cannot be told apart, 5 not at all
PROCESSES = tuple(GpuProcess(pid, ProcessKind.COMPUTE) for pid in WHOSE)


def owners(process: GpuProcess, _held: Held) -> tuple[Owner, ...]:
    return WHOSE[process.pid]


@dataclass(frozen=True)
class Told:
    """What the driver says of one device at one tick. `entries`: percents of equal parts of the time since the last."""

    entries: tuple[int | None, ...] | None = ()
    rate: int | None = None
    refused: bool = False
    energy: int | None = 0  # mJ since the last tick; None: no reading this time; below 0: the counter restarted
    counter: bool = True
    power_mw: int | None = None
    detail: ProcessReading | None = None
    trouble: str = ""  # lost, silent, or absent from the sample


@dataclass(frozen=True)
class Tick:
    after_us: int
    told: tuple[Told, ...]
    step_us: int = 0  # of the wall clock


@dataclass(frozen=True)
class Silence:
    after_us: int


@dataclass(frozen=True)
class Kubelet:
    """The kubelet's answer, given that long before it reaches the meter."""

    grants: tuple[Grant, ...]
    late_us: int
    offered: bool
    unclear: bool


Event = Tick | Silence | Kubelet


@dataclass
class Node:
    """A node that carries out the events; it keeps what a real one keeps: clocks, counters, cursors."""

    meter: Meter
    window_us: int
    now_us: int = 5_000_000_000
    wall_offset_us: int = T0 - 5_000_000_000
    counters: dict[str, int] = field(default_factory=dict)
    cursors: dict[str, int] = field(default_factory=dict)
    first_us: dict[str, int] = field(default_factory=dict)  # by the monotonic clock
    last_us: int | None = None
    windows: list[Window] = field(default_factory=list)

    def play(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Kubelet):
                self._answer(event)
                continue
            self.now_us += event.after_us
            if isinstance(event, Tick):
                self._tick(event)
            else:
                self.windows += self.meter.on_time(self.now_us)

    def stop(self) -> None:
        """As the agent does: the last window ends at the last sample."""
        if self.last_us is not None:
            self.windows += self.meter.cut(self.last_us)

    def _answer(self, event: Kubelet) -> None:
        ids = [f"{info.uuid}::{n}" for info in INFOS for n in range(REPLICAS)] if event.offered else []
        grants = (*event.grants, UNCLEAR) if event.unclear else event.grants
        self.meter.on_reservations(self.now_us - event.late_us, lambda devices: place(devices, grants, ids))

    def _tick(self, event: Tick) -> None:
        self.wall_offset_us += event.step_us
        wall_us = self.now_us + self.wall_offset_us
        samples = tuple(
            self._device(info, told, wall_us)
            for info, told in zip(INFOS, event.told, strict=True)
            if told.trouble != "absent"
        )
        for sample in samples:
            self.first_us.setdefault(sample.info.uuid, self.now_us)
        self.last_us = self.now_us
        self.windows += self.meter.on_sample(Sample(self.now_us, wall_us, samples))

    def _device(self, info: DeviceInfo, told: Told, wall_us: int) -> DeviceSample:
        self.counters[info.uuid] = self._counted(info.uuid, told)
        if told.trouble:
            return DeviceSample(info, unavailable=told.trouble == "lost", error=told.trouble)
        return DeviceSample(info, self._reading(info.uuid, told, wall_us), told.detail)

    def _counted(self, uuid: str, told: Told) -> int:
        if told.energy is not None and told.energy < 0:
            return -told.energy
        return self.counters.get(uuid, 10**9) + (told.energy or 0)

    def _reading(self, uuid: str, told: Told, wall_us: int) -> Reading:
        busy = None
        if told.entries is not None:
            cursor = min(self.cursors.get(uuid, 0), wall_us)
            cursor = max(cursor, wall_us - 10 * S)
            self.cursors[uuid] = wall_us if told.entries else cursor
            ends = [cursor + (wall_us - cursor) * n // len(told.entries) for n in range(1, len(told.entries) + 1)]
            busy = tuple(BusySample(end, value) for end, value in zip(ends, told.entries, strict=True))
        return Reading(
            busy,
            Source.DEVICE_SAMPLES if busy is not None else Source.NONE if told.rate is None else Source.DEVICE_RATE,
            told.rate,
            power_mw=told.power_mw,
            energy_mj=self.counters[uuid] if told.counter and told.energy is not None else None,
            energy_supported=told.counter,
            rejected={"utilization-rate": 1} if told.refused else {},
        )


PERCENT = st.integers(0, 100)
SPANS = st.sampled_from([S, S, S, S, 200_000, 1_000_003, 3 * S, 5 * S, 19_999_999, 95 * S, 400 * S])
STEPS = st.sampled_from([*[0] * 20, 40_000, -40_000, 51_000, -51_000, 10 * S, -20 * S, 600 * S, -130 * S])
BUSY = st.lists(st.builds(ProcessBusy, st.integers(1, 6), PERCENT), max_size=4, unique_by=lambda b: b.pid)
TOLD_OF_PROCESSES = st.builds(
    ProcessReading, st.sampled_from([PROCESSES, PROCESSES[:3], (), None]), st.none() | BUSY.map(tuple)
)
DETAILS = st.sampled_from([True, False]).flatmap(lambda due: TOLD_OF_PROCESSES if due else st.none())
TROUBLES = st.sampled_from([*[""] * 20, "lost", "silent", "absent"])
NOBODY_THERE = Told((0,), energy=70_000, power_mw=70_000, detail=ProcessReading((), ()))
QUIET = [Tick(35 * S, (NOBODY_THERE,) * len(INFOS))] * 3  # long enough to learn the power of an idle device


@st.composite
def tellings(draw: st.DrawFn, *, counter: bool) -> Told:
    kind = draw(st.sampled_from(["buffer", "buffer", "buffer", "rate", "nothing"]))
    return Told(
        tuple(draw(st.lists(PERCENT | PERCENT | st.none(), max_size=6))) if kind == "buffer" else None,
        draw(PERCENT) if kind == "rate" else None,
        draw(st.booleans()),
        draw(st.sampled_from([0, 1, 70_001, 612_345, 10**6, -5, None])),
        counter,
        draw(st.none() | st.integers(0, 700_000)),
        draw(DETAILS),
        draw(TROUBLES),
    )


def grants_of(ids: list[str]) -> st.SearchStrategy[Grant]:
    device_ids = st.lists(st.sampled_from(ids), min_size=1, max_size=4, unique=True).map(tuple)
    start = st.none() | st.integers(0, 2)
    return st.builds(Grant, st.sampled_from(OWNERS[:3]), device_ids, start, st.integers(0, 2))


WHOLE = [info.uuid for info in INFOS]
PARTS = [f"{uuid}::{n}" for uuid in WHOLE for n in range(REPLICAS)]
KUBELETS = st.builds(
    Kubelet,
    st.sampled_from([WHOLE, PARTS, PARTS, [*WHOLE, *PARTS, "nvidia0", "GPU-elsewhere"]])
    .flatmap(lambda ids: st.lists(grants_of(ids), max_size=4))
    .map(tuple),
    st.sampled_from([0, 0, 300_000, 2 * S]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([False, False, False, True]),
)


@st.composite
def histories(draw: st.DrawFn, steps: st.SearchStrategy[int] = STEPS) -> list[Event]:
    """Anything that a node can live through, in the order in which the agent learns of it."""
    counters = [draw(st.sampled_from([True, True, False])) for _ in INFOS]
    ticks = st.builds(Tick, SPANS, st.tuples(*(tellings(counter=each) for each in counters)), steps)
    event = ticks | ticks | ticks | KUBELETS | st.builds(Silence, SPANS)
    start = [draw(KUBELETS), *draw(st.sampled_from([[], QUIET]))]
    return start + draw(st.lists(event, min_size=8, max_size=30))


def played(events: list[Event], window_us: int = MINUTE, *, kubernetes: bool = True) -> Node:
    node = Node(Meter(MeterSettings("c", "n", window_us), owners, kubernetes=kubernetes), window_us)
    node.play(events)
    node.stop()
    return node


MANY_WINDOWS = 40  # in a gap: of windows of one second as many as are waited for twice over, the rest would be the same


def shortened(events: list[Event], longest_us: int) -> list[Event]:
    """The history with no gap longer than that."""
    return [
        event if isinstance(event, Kubelet) else replace(event, after_us=min(event.after_us, longest_us))
        for event in events
    ]


def booked(node: Node, uuid: str) -> int:
    return sum(device.capacity_us for window in node.windows for device in window.devices if device.uuid == uuid)


thorough = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def violations_of(node: Node) -> list[str]:
    """I1 to I3."""
    lost = [f"{us} us are nowhere" for us in map(conservation_error_us, node.windows) if us]
    return lost + [violation for window in node.windows for violation in violations(window)]


def windows_are_on_the_grid_no_longer_than_a_cell_and_never_overlap(node: Node) -> None:
    assert all(a.end_us <= b.start_us for a, b in pairwise(node.windows))
    for window in node.windows:
        assert window.start_us // node.window_us == (window.end_us - 1) // node.window_us


def no_more_time_is_booked_than_has_passed(node: Node) -> None:
    """Whatever the wall clock does."""
    for uuid, first_us in node.first_us.items():
        assert booked(node, uuid) <= node.now_us - first_us


def what_was_skipped_lies_between_a_window_and_the_one_before(node: Node) -> None:
    for before, after in pairwise(node.windows):
        assert after.skipped_us <= after.start_us - before.end_us


def the_wire_changes_nothing(node: Node) -> None:
    for window in node.windows:
        sent = encode(window, "agent", "boot", 1)
        assert decode(pb.Window.FromString(sent)) == window
        assert encode(window, "agent", "boot", 1) == sent


@settings(thorough, max_examples=200)
@given(histories(), st.sampled_from([MINUTE, MINUTE, 20 * S, S]), st.booleans())
def test_whatever_a_node_lives_through_its_windows_keep_the_rules(
    events: list[Event], window_us: int, kubernetes: bool
) -> None:
    """To make a history up takes longer than to check it, so each is checked against all of them."""
    node = played(shortened(events, MANY_WINDOWS * window_us), window_us, kubernetes=kubernetes)
    assert violations_of(node) == []
    windows_are_on_the_grid_no_longer_than_a_cell_and_never_overlap(node)
    no_more_time_is_booked_than_has_passed(node)
    what_was_skipped_lies_between_a_window_and_the_one_before(node)
    the_wire_changes_nothing(node)


@thorough
@given(histories(steps=st.just(0)))
def test_every_microsecond_from_a_devices_first_sample_to_the_last_is_booked_once(events: list[Event]) -> None:
    node = played(events)
    for uuid, first_us in node.first_us.items():
        end_us = node.windows[-1].end_us if node.windows else first_us + node.wall_offset_us
        assert booked(node, uuid) == end_us - (first_us + node.wall_offset_us)
    assert not node.windows or node.windows[-1].end_us >= node.last_us + node.wall_offset_us
    assert sum(window.skipped_us + window.waited_us for window in node.windows) == 0
    assert all(a.end_us == b.start_us for a, b in pairwise(node.windows))


@thorough
@given(st.lists(st.tuples(SPANS, st.booleans(), st.integers(0, 10**6), PERCENT), min_size=2, max_size=25))
def test_i2_over_all_windows_the_counters_difference_is_booked(
    ticks: list[tuple[int, bool, int, int]],
) -> None:
    """Late ticks too, and those after windows that closed without one: the energy of a gap is not lost."""
    events: list[Event] = []
    for span, noticed, energy, percent in ticks:
        events += [Silence(span - 1), Tick(1, ())] if noticed else [Tick(span, ())]
        events[-1] = replace(events[-1], told=(Told((percent,), energy=energy),) * len(INFOS))
    node = played(events)
    devices = [device for window in node.windows for device in window.devices]
    if not any(noticed for _, noticed, _, _ in ticks):
        assert all(device.energy_start_mj is not None and device.energy_end_mj is not None for device in devices)
    booked_mj = sum(line.energy_mj or 0 for device in devices for line in device.lines)
    assert booked_mj == sum(len(INFOS) * energy for _, _, energy, _ in ticks[1:])
