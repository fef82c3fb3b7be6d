"""Process lists become intervals: utilisation is spread evenly, memory stands until the next list."""

from collections.abc import Sequence
from fractions import Fraction

from gputally.accounting.keys import PLATFORM, REPLICA, Holding, Owner
from gputally.accounting.states import OwnerKind
from gputally.agent.attribution.process_track import NOTHING, ProcessTrack
from gputally.agent.held import NOBODY, Held, HeldInstance
from gputally.agent.sample import GpuProcess, Process, ProcessBusy, ProcessKind, ProcessReading

S = 1_000_000
A = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
B = Owner(OwnerKind.POD, "inference", "chat", "main", "uid-b")
WHOSE = {1: (A,), 2: (B,), 3: (A, B)}


def owners(process: GpuProcess, _held: Held) -> Sequence[Owner]:
    return WHOSE.get(process.pid, ()) if process.process else ()


def on(pid: int, memory: int | None = 100, *, alive: bool = True, kind: ProcessKind = ProcessKind.COMPUTE,
       instance: str = "", server: bool = False) -> GpuProcess:  # fmt: skip
    return GpuProcess(pid, kind, memory, Process(pid, 1) if alive else None, instance, server)


def listing(*processes: GpuProcess, busy: tuple[ProcessBusy, ...] | None = ()) -> ProcessReading:
    return ProcessReading(processes, busy)


def track(*first: GpuProcess, held: Held = NOBODY) -> ProcessTrack:
    return ProcessTrack(0, owners, held, listing(*first))


def test_memory_stands_from_its_list_to_the_next() -> None:
    processes = track(on(1, 100))
    [first] = processes.extend(5 * S, None, listing(on(1, 300)), NOBODY)
    [second] = processes.extend(10 * S, None, listing(), NOBODY)
    [third] = processes.extend(15 * S, None, listing(), NOBODY)
    assert [each.tally("").memory for each in (first, second, third)] == [{A: 100}, {A: 300}, {}]


def test_memory_that_the_driver_does_not_tell_is_unknown_and_makes_its_owners_unknown() -> None:
    [interval] = track(on(1), on(3, None)).extend(S, None, listing(), NOBODY)
    assert interval.tally("").memory == {A: None, B: None}


def test_memory_of_a_process_of_several_owners_is_split_evenly() -> None:
    [interval] = track(on(1, 10), on(3, 5)).extend(S, None, listing(), NOBODY)
    assert interval.tally("").memory == {A: 10 + Fraction(5, 2), B: Fraction(5, 2)}


def test_before_any_list_was_read_nothing_is_known_of_memory() -> None:
    processes = ProcessTrack(0, owners, NOBODY, None)
    [interval] = processes.extend(S, None, ProcessReading(None, None), NOBODY)
    assert interval.tally("") == NOTHING
    assert interval.tally("").memory is None


def test_memory_of_a_pid_that_no_longer_exists_is_a_ghosts_and_nobody_elses() -> None:
    [interval] = track(on(1, 100, alive=False)).extend(S, None, listing(), NOBODY)
    assert (interval.ghost_bytes, interval.tally("").memory) == (100, {})


def test_who_was_on_either_list_was_there_between_them() -> None:
    [interval] = track(on(1)).extend(S, None, listing(on(2)), NOBODY)
    assert interval.tally("").live == {A, B}


def test_the_device_is_in_mps_mode_while_a_client_or_the_server_is_on_either_list() -> None:
    processes = track(on(1))
    intervals = [
        *processes.extend(S, None, listing(on(1)), NOBODY),
        *processes.extend(2 * S, None, listing(on(1, kind=ProcessKind.MPS)), NOBODY),
        *processes.extend(3 * S, None, listing(on(9, server=True)), NOBODY),
        *processes.extend(4 * S, None, listing(on(1)), NOBODY),
        *processes.extend(5 * S, None, listing(on(1)), NOBODY),
    ]
    assert [each.tally("").mps for each in intervals] == [False, True, True, True, False]


def test_the_mps_servers_memory_is_the_platforms_and_its_utilisation_nobodys() -> None:
    """On old devices the server is charged with what its clients do: it must not be taken from them."""
    busy = (ProcessBusy(9, 80), ProcessBusy(1, 10))
    [interval] = track(on(9, 7, server=True), on(1)).extend(S, None, listing(on(9, 7, server=True), busy=busy), NOBODY)
    tally = interval.tally("")
    assert (tally.percent, tally.live, tally.memory) == ({A: 10}, {A}, {PLATFORM: 7, A: 100})


def test_a_holders_process_that_is_called_like_the_mps_server_is_the_holders() -> None:
    """A process gives itself any name. Neither does its work become its neighbours', nor their split an estimate."""
    held = Held((Holding(A, REPLICA, Fraction(1, 2)), Holding(B, REPLICA, Fraction(1, 2))))
    listed = (on(1, 7, server=True), on(2))
    busy = (ProcessBusy(1, 80), ProcessBusy(2, 10))
    [interval] = track(*listed, held=held).extend(S, None, listing(*listed, busy=busy), held)
    tally = interval.tally("")
    assert (tally.percent, tally.live, tally.mps) == ({A: 80, B: 10}, {A, B}, False)
    assert tally.memory == {A: 7, B: 100}


def test_a_users_process_that_is_called_like_the_mps_server_is_the_users() -> None:
    """Else whoever may log in computes at the platform's expense, on a free GPU or beside its holder."""
    for user, expected in (("mallory", {A: 80}), ("root", {})):
        mine = GpuProcess(1, ProcessKind.COMPUTE, 7, Process(1, 1, None, user), server=True)
        busy = (ProcessBusy(1, 80),)
        for held in (NOBODY, Held((Holding(B),))):
            [interval] = track(mine, held=held).extend(S, None, listing(mine, busy=busy), held)
            assert interval.tally("").percent == expected
            assert interval.tally("").mps == (not expected)


def test_processes_of_a_partitioned_device_are_told_apart_by_instance() -> None:
    held = Held(instances=tuple(HeldInstance(f"MIG-{n}", "1g", Fraction(1, 7), NOBODY) for n in "ab"))
    [interval] = track(on(1, 5, instance="MIG-a"), on(2, 6, instance="MIG-b"), held=held).extend(
        S, None, listing(), held
    )
    assert (interval.tally("MIG-a").memory, interval.tally("MIG-a").live) == ({A: 5}, {A})
    assert interval.tally("MIG-b").memory == {B: 6}


def test_a_list_that_could_not_be_read_leaves_the_one_before_standing() -> None:
    processes = track(on(1, 100))
    processes.extend(S, None, ProcessReading(None, None), NOBODY)
    [interval] = processes.extend(2 * S, None, listing(), NOBODY)
    assert interval.tally("").memory == {A: 100}


def test_when_given_up_the_last_list_stands_without_utilisation() -> None:
    processes = track(on(1, 100))
    [interval] = processes.give_up(9 * S)
    assert (interval.end_us, interval.tally("").memory, interval.tally("").percent) == (9 * S, {A: 100}, {})
    assert processes.give_up(9 * S) == []


def test_a_new_probes_utilisation_begins_where_it_says() -> None:
    asked = ProcessReading((on(1),), (ProcessBusy(1, 50),))
    before, after = track(on(1)).extend(9 * S, 4 * S, asked, NOBODY)
    assert (before.end_us, before.tally("").percent) == (4 * S, {})
    assert (after.end_us, after.tally("").percent) == (9 * S, {A: 50})
