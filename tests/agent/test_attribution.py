"""Attribution: one device's samples and reservations become stretches that follow each other without a hole."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.settlement import Coverage
from gputally.accounting.states import OwnerKind, Source
from gputally.agent.attribution.account import DeviceAccount, Usage
from gputally.agent.attribution.energy import IdlePower
from gputally.agent.clock import Instant
from gputally.agent.held import NOBODY, UNKNOWN, Held
from gputally.agent.sample import (
    BusySample,
    DeviceInfo,
    DeviceSample,
    GpuProcess,
    ProcessBusy,
    ProcessKind,
    ProcessReading,
    Reading,
)

S = 1_000_000
INFO = DeviceInfo("GPU-0", 0, "H100")
A = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
B = Owner(OwnerKind.POD, "inference", "chat", "main", "uid-b")
OF_A, OF_B = Held((Holding(A),)), Held((Holding(B),))
WHOSE = {1: (A,), 2: (B,), 3: (A, B)}


def owners(process: GpuProcess, _held: Held) -> Sequence[Owner]:
    return WHOSE.get(process.pid, ())


def processes(*pids: int) -> tuple[GpuProcess, ...]:
    return tuple(GpuProcess(pid, ProcessKind.COMPUTE) for pid in pids)


def detail(busy: dict[int, int] | None = None, *pids: int) -> ProcessReading:
    """A process reading: who is on the device, and the percents of those that were busy."""
    return ProcessReading(processes(*(pids or (1, 2, 3))), tuple(ProcessBusy(*each) for each in (busy or {}).items()))


@dataclass
class Device:
    """An account that is fed second by second; the driver's buffer has one entry a second."""

    held: Held = OF_A
    now: int = 0
    ended: list[Usage] = field(default_factory=list)

    def __post_init__(self) -> None:
        first = DeviceSample(INFO, Reading((), Source.DEVICE_SAMPLES), ProcessReading(processes(1, 2, 3), ()))
        self.account = DeviceAccount(Instant(0, 0), first, self.held, S, IdlePower(), owners)

    def tick(
        self,
        percent: int | None = 0,
        told: ProcessReading | None = None,
        *,
        seconds: int = 1,
        energy: int | None = None,
    ) -> None:
        self.now += 1
        reading = Reading((BusySample(self.now * S, percent),), Source.DEVICE_SAMPLES, energy_mj=energy)
        self.account.observe(Instant(self.now * S, 0), DeviceSample(INFO, reading, told))

    def ticks(self, count: int, percent: int | None = 0) -> None:
        for _ in range(count):
            self.tick(percent, detail())

    def trouble(self, *, lost: bool) -> None:
        self.now += 1
        self.account.observe(Instant(self.now * S, 0), DeviceSample(INFO, unavailable=lost))

    def usages(self) -> list[Usage]:
        """Everything that is ready, the open stretch too."""
        self.ended += self.account.advance(self.account.ready_us)
        last = self.account.cut()
        return [*self.ended, *([last] if last else [])]

    def spans(self) -> list[tuple[int, int]]:
        return [(usage.start_us // S, usage.end_us // S) for usage in self.usages()]


def test_time_in_which_nothing_changes_is_one_stretch() -> None:
    device = Device()
    device.ticks(5, 40)
    device.ticks(5, 60)
    [usage] = device.usages()
    assert (usage.start_us, usage.end_us) == (0, 10 * S)
    assert usage.stretch.busy_us == 5 * S
    assert (usage.stretch.holdings, usage.stretch.source) == ((Holding(A),), Source.DEVICE_SAMPLES)


def test_time_is_attributed_only_when_its_processes_are_known() -> None:
    device = Device()
    for _ in range(4):
        device.tick(50)
    assert device.account.ready_us == 0
    device.tick(50, detail())
    assert device.account.ready_us == 5 * S


def test_time_is_attributed_only_when_its_energy_is_known() -> None:
    device = Device()
    device.tick(50, detail(), energy=100)
    device.trouble(lost=False)
    assert device.account.ready_us == S


def test_a_counter_that_gave_no_value_is_not_waited_for() -> None:
    device = Device()
    device.tick(50, detail(), energy=100)
    device.tick(50, detail(), energy=None)
    assert device.account.ready_us == 2 * S


def test_a_new_holder_begins_a_stretch_at_the_instant_of_the_kubelets_word() -> None:
    device = Device()
    device.ticks(3, 100)
    device.account.hold(2_500_000, OF_B)
    device.ticks(3, 100)
    first, second = device.usages()
    assert (first.end_us, second.start_us, second.end_us) == (2_500_000, 2_500_000, 6 * S)
    assert (first.stretch.busy_us, second.stretch.busy_us) == (2_500_000, 3_500_000)
    assert second.stretch.holdings == (Holding(B),)


def test_what_is_attributed_already_is_not_changed_by_a_late_word() -> None:
    device = Device()
    device.ticks(3)
    device.ended += device.account.advance(3 * S)
    device.account.hold(S, OF_B)
    device.ticks(3)
    assert device.spans() == [(0, 3), (3, 6)]


def test_the_same_word_again_changes_nothing() -> None:
    device = Device()
    device.ticks(3)
    device.account.hold(3 * S, OF_A)
    device.ticks(3)
    assert device.spans() == [(0, 6)]


def test_a_device_that_changes_hands_twice_between_samples_has_a_stretch_for_each() -> None:
    device = Device()
    device.ticks(1)
    device.account.hold(1_200_000, NOBODY)
    device.account.hold(1_700_000, OF_B)
    device.ticks(1)
    held = [(usage.stretch.holdings, usage.stretch.duration_us) for usage in device.usages()]
    assert held == [((Holding(A),), 1_200_000), ((), 500_000), ((Holding(B),), 300_000)]


def test_when_nobody_can_say_who_holds_it_the_time_is_unattributed() -> None:
    device = Device(UNKNOWN)
    device.ticks(2)
    device.account.hold(2 * S, OF_A)
    device.ticks(2)
    assert [usage.stretch.coverage for usage in device.usages()] == [Coverage.UNATTRIBUTED, Coverage.MEASURED]


def test_a_lost_device_is_unavailable_from_the_error_to_the_next_good_sample() -> None:
    device = Device()
    device.ticks(2)
    device.trouble(lost=True)
    device.trouble(lost=True)
    device.ticks(3)
    assert [(u.start_us // S, u.end_us // S, u.stretch.available) for u in device.usages()] == [
        (0, 3, True),
        (3, 5, False),
        (5, 7, True),
    ]


def test_silence_that_begins_while_a_device_is_unavailable_stays_unavailable() -> None:
    device = Device()
    device.trouble(lost=True)
    device.trouble(lost=False)
    device.trouble(lost=False)
    device.ticks(2)
    assert [(u.end_us // S, u.stretch.available) for u in device.usages()] == [(1, True), (4, False), (5, True)]


def test_a_rejected_value_is_a_stretch_of_its_own() -> None:
    device = Device()
    device.ticks(2, 50)
    device.ticks(1, None)
    device.ticks(2, 50)
    coverages = [(usage.end_us // S, usage.stretch.coverage) for usage in device.usages()]
    assert coverages == [(2, Coverage.MEASURED), (3, Coverage.INVALID_READING), (5, Coverage.MEASURED)]


def given_up(device: Device, until_us: int) -> list[Usage]:
    device.account.give_up(until_us, until_us)
    return [*device.account.advance(until_us), *filter(None, [device.account.cut()])]


def test_a_short_silence_holds_the_last_value_and_says_so() -> None:
    device = Device()
    device.ticks(3, 50)
    [usage] = given_up(device, 4 * S)
    assert (usage.stretch.busy_us, usage.stretch.held_us) == (2 * S, S)


def test_no_value_is_held_across_a_change_of_reservation() -> None:
    """What the holder before did says nothing of the one after."""
    device = Device()
    device.ticks(3, 50)
    device.account.hold(3_400_000, OF_B)
    before, after = given_up(device, 4 * S)
    assert (before.end_us, before.stretch.held_us) == (3_400_000, 400_000)
    assert after.stretch.coverage is Coverage.NO_SAMPLE


def test_a_process_is_busy_evenly_over_the_time_since_the_query_before() -> None:
    device = Device()
    for _ in range(3):
        device.tick(80)
    device.account.hold(3 * S, OF_B)
    device.tick(80)
    device.tick(80, detail({1: 50, 2: 30}))
    first, second = device.usages()
    assert first.stretch.process_busy_us == {A: 1_500_000, B: 900_000}
    assert second.stretch.process_busy_us == {A: 1_000_000, B: 600_000}


def test_a_process_of_several_owners_is_split_evenly() -> None:
    device = Device()
    device.tick(99, detail({3: 99}))
    [usage] = device.usages()
    assert usage.stretch.process_busy_us == {A: Fraction(99 * S, 200), B: Fraction(99 * S, 200)}


def test_a_process_that_ended_since_the_query_before_is_still_charged_to_its_owner() -> None:
    device = Device()
    device.tick(70, ProcessReading((), (ProcessBusy(1, 70),)))
    [usage] = device.usages()
    assert usage.stretch.process_busy_us == {A: 700_000}


def test_a_process_that_nobody_knows_explains_nothing() -> None:
    device = Device()
    device.tick(70, detail({7: 70}, 1))
    [usage] = device.usages()
    assert (usage.stretch.busy_us, usage.stretch.process_busy_us) == (700_000, {})


def test_a_list_that_could_not_be_read_keeps_the_names_of_the_one_before() -> None:
    device = Device()
    device.tick(70, ProcessReading(None, (ProcessBusy(1, 70),)))
    [usage] = device.usages()
    assert usage.stretch.process_busy_us == {A: 700_000}


def test_where_the_driver_cannot_tell_per_process_nobody_is_known_to_be_busy() -> None:
    device = Device()
    device.tick(70, ProcessReading(processes(1), None))
    [usage] = device.usages()
    assert (usage.stretch.busy_us, usage.stretch.process_busy_us) == (700_000, {})


def test_what_is_cut_is_over_and_the_next_stretch_begins_there() -> None:
    device = Device()
    device.ticks(3)
    assert device.account.advance(2 * S) == []
    cut = device.account.cut()
    assert cut is not None
    assert (cut.start_us, cut.end_us) == (0, 2 * S)
    assert device.account.cut() is None
    assert device.spans() == [(2, 3)]


HELDS = st.sampled_from([OF_A, OF_B, NOBODY, UNKNOWN])
EVENTS = st.one_of(
    st.tuples(st.just("tick"), st.none() | st.integers(0, 100), st.none() | st.just(detail({1: 30, 3: 20}))),
    st.tuples(st.sampled_from(["lost", "silent"]), st.none(), st.none()),
    st.tuples(st.just("hold"), HELDS, st.integers(-3 * S, 0)),
    st.tuples(st.just("give up"), st.none(), st.none()),
)


@given(st.lists(EVENTS, max_size=25))
def test_stretches_follow_each_other_and_hold_no_more_busy_time_than_time(
    events: list[tuple[str, object, object]],
) -> None:
    device = Device()
    for what, one, other in events:
        if what == "tick":
            device.tick(one, other)  # type: ignore[arg-type]
        elif what == "hold":
            device.account.hold(device.now * S + other, one)  # type: ignore[operator, arg-type]
        elif what == "give up":
            device.ended += given_up(device, device.now * S)
        else:
            device.trouble(lost=what == "lost")
    device.ended += given_up(device, device.now * S)
    assert sum(usage.stretch.duration_us for usage in device.ended) == device.now * S
    assert all(a.end_us == b.start_us for a, b in pairwise(device.ended))
    for usage in device.ended:
        assert 0 <= usage.stretch.busy_us <= usage.stretch.duration_us
        assert 0 <= usage.stretch.held_us <= usage.stretch.duration_us
