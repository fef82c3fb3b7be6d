"""The meter on shared devices: MIG devices that are re-made, MPS clients, claims, memory, quality figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from gputally.accounting.invariants import violations
from gputally.accounting.keys import PLATFORM_KEY, REPLICA, Holding, LineKey, Owner
from gputally.accounting.line import DeviceWindow, Line, Quality, Window
from gputally.accounting.settlement import reserved_key
from gputally.accounting.states import Basis, OwnerKind, Reason, Source
from gputally.agent.held import NOBODY, Held, HeldInstance
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.sample import (
    BusySample,
    DeviceInfo,
    DeviceSample,
    GpmReading,
    GpuProcess,
    InstanceReading,
    MigInstance,
    Process,
    ProcessBusy,
    ProcessKind,
    ProcessReading,
    Reading,
    Sample,
)

S = 1_000_000
MINUTE = 60 * S
T0 = 28_333_333 * MINUTE  # a full minute of the epoch
A = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
B = Owner(OwnerKind.POD, "inference", "chat", "main", "uid-b")
WHOSE = {1: (A,), 2: (B,), 3: (Owner(OwnerKind.HOST, user="user-1000"),)}
GIB = 1 << 30
HALF = Fraction(1, 2)


def owners(process: GpuProcess, _held: Held) -> Sequence[Owner]:
    return WHOSE.get(process.pid, ()) if process.process else ()


def mig(*profiles: str) -> DeviceInfo:
    """An H100 with these MIG devices: 4g and 2g, or 1c.4g where compute instances share a GPU instance."""
    found = [MigInstance(f"MIG-{p}", int(p.rpartition(".")[2][0]), n, int(p[0]), p) for n, p in enumerate(profiles)]
    return DeviceInfo("GPU-0", 0, "H100", mig_enabled=True, slices=7, instances=tuple(found))


WHOLE = DeviceInfo("GPU-0", 0, "H100")


@dataclass
class Node:
    """A node of one GPU, ticked by the second. `held`: by MIG device, or by "" for the device."""

    info: DeviceInfo
    held: dict[str, Held]
    meter: Meter = field(default_factory=lambda: Meter(MeterSettings("c", "n"), owners, kubernetes=True))
    now: int = 0
    energy: int = 0
    windows: list[Window] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hold(**self.held)

    def hold(self, **held: Held) -> None:
        self.held = held
        self.meter.on_reservations(self.now * S, lambda devices: {info.uuid: self._placed(info) for info in devices})

    def _placed(self, info: DeviceInfo) -> Held:
        if not info.instances:
            return self.held.get("", NOBODY)
        parts = [(i, Fraction(i.slices or 0, info.slices or 1)) for i in info.instances]
        return Held(instances=tuple(HeldInstance(i.uuid, i.profile, s, self._named(i.profile)) for i, s in parts))

    def _named(self, profile: str) -> Held:
        return self.held.get("g" + profile[0], NOBODY)

    def run(self, seconds: int, percent: int = 50, *processes: GpuProcess, **device: object) -> None:
        for _ in range(seconds):
            wall = T0 + self.now * S
            self.energy += 700
            gpm = GpmReading(wall - S, wall, percent * 10_000, 400_000, 200_000, 100_000, 0)
            reading = Reading(
                None if self.info.instances else (BusySample(wall, percent),),
                Source.NONE if self.info.instances else Source.DEVICE_SAMPLES,
                energy_mj=self.energy,
                energy_supported=True,
                gpm=None if self.info.instances else gpm,
                instances=tuple(InstanceReading(i.uuid, gpm=gpm, gpm_supported=True) for i in self.info.instances),
            )
            told = {"reading": reading, "detail": ProcessReading(processes, ()), **device}
            sample = DeviceSample(self.info, **told)  # type: ignore[arg-type]
            self.windows += self.meter.on_sample(Sample(self.now * S, wall, (sample,)))
            self.now += 1

    def stop(self) -> None:
        self.windows += self.meter.cut((self.now - 1) * S)

    def devices(self) -> list[DeviceWindow]:
        assert [violations(window) for window in self.windows] == [[] for _ in self.windows]
        return [device for window in self.windows for device in window.devices]

    def line(self, key: LineKey, number: int = -1) -> Line:
        return {line.key: line for line in self.devices()[number].lines}.get(key, Line(key, Source.NONE))


def on(pid: int, gib: int | None = 1, *, alive: bool = True, kind: ProcessKind = ProcessKind.COMPUTE,
       instance: str = "", server: bool = False) -> GpuProcess:  # fmt: skip
    memory = None if gib is None else gib * GIB
    return GpuProcess(pid, kind, memory, Process(pid, 1) if alive else None, instance, server)


OF_A, OF_B = Held((Holding(A),)), Held((Holding(B),))


def in_instance(profile: str, owner: Owner, reason: Reason = Reason.NONE) -> LineKey:
    return LineKey(f"MIG-{profile}", owner, Basis.RESERVATION, reason)


def test_instances_are_settled_each_with_its_own_holder_by_gpm() -> None:
    node = Node(mig("4g", "2g"), {"g4": OF_A})
    node.run(8)
    node.stop()
    mine = node.line(in_instance("4g", A))
    assert (mine.used_us, mine.idle_us, mine.source) == (2 * S, 2 * S, Source.GPM)
    assert node.line(LineKey("gpu", PLATFORM_KEY.owner, Basis.NONE, Reason.MIG_REMAINDER)).unallocated_us == S
    assert node.line(LineKey("gpu", PLATFORM_KEY.owner, Basis.NONE, Reason.UNATTRIBUTED)).unobserved_us == S
    assert node.devices()[0].profiles == {"MIG-4g": "4g"}


def test_the_window_is_cut_where_mig_devices_are_made_anew_and_nothing_is_lost() -> None:
    """In each window a partition has one profile, and every second is in one of them."""
    node = Node(mig("4g", "2g"), {"g4": OF_A})
    node.run(21)
    node.info = mig("4g", "3g")
    node.run(80)
    node.stop()
    assert [(w.start_us - T0, w.end_us - T0) for w in node.windows] == [
        (0, 21 * S),
        (21 * S, MINUTE),
        (MINUTE, 100 * S),
    ]
    assert sum(device.capacity_us for device in node.devices()) == 100 * S
    sevenths = [node.line(in_instance("4g", A), n).capacity_us * 7 // 4 for n in range(3)]
    assert sevenths == [21 * S, 39 * S - 1, 40 * S - 2]  # of 4/7, rounded down
    assert sum(line.energy_mj or 0 for device in node.devices() for line in device.lines) == 100 * 700


def test_turning_mig_off_cuts_the_window_too_and_the_whole_device_is_held_anew() -> None:
    node = Node(mig("4g"), {"g4": OF_A, "": OF_B})
    node.run(11)
    node.info = WHOLE
    node.run(20)
    node.stop()
    first, second = node.devices()
    assert [h.partition for h in first.start_holders] == ["MIG-4g"]
    assert second.end_holders == (Holding(B),)
    assert node.line(reserved_key(Holding(B))).capacity_us == 19 * S


def test_a_silent_partitioned_device_is_unobserved_without_a_sample() -> None:
    node = Node(mig("4g"), {"g4": OF_A})
    node.run(11)
    for _ in range(140):
        node.now += 1
        node.windows += node.meter.on_time(node.now * S)
    dark = node.line(in_instance("4g", A, Reason.NO_SAMPLE))
    assert dark.unobserved_us == MINUTE * 4 // 7
    rest = node.line(LineKey("gpu", PLATFORM_KEY.owner, Basis.NONE, Reason.NO_SAMPLE))
    assert dark.unobserved_us + rest.unobserved_us == MINUTE


SHARED = Held((Holding(A, REPLICA, HALF), Holding(B, REPLICA, HALF)))


def test_mps_clients_share_what_the_device_was_busy_by_their_shares() -> None:
    node = Node(WHOLE, {"": SHARED})
    clients = [on(1, kind=ProcessKind.MPS), on(2, kind=ProcessKind.MPS), on(9, server=True)]
    node.run(11, 60, *clients)
    node.stop()
    for owner in (A, B):
        line = node.line(reserved_key(Holding(owner, REPLICA)))
        assert (line.used_us, line.idle_us, line.source) == (3 * S, 2 * S, Source.ESTIMATED_SHARE)


def test_a_client_that_leaves_cuts_the_stretch() -> None:
    """Ten seconds with both, then one alone: it bursts, the other is idle."""
    node = Node(WHOLE, {"": SHARED})
    one, other = on(1, kind=ProcessKind.MPS), on(2, kind=ProcessKind.MPS)
    node.run(11, 60, one, other)
    node.run(11, 60, one)
    node.stop()
    a, b = (node.line(reserved_key(Holding(owner, REPLICA))) for owner in (A, B))
    assert (a.used_us, a.burst_us) == (3 * S + 5 * S + 3 * S // 10, S)  # on either list: the eleventh second is both's
    assert (b.used_us, b.idle_us) == (3 * S + 3 * S // 10, 10 * S + S // 2 - 3 * S - 3 * S // 10)


def test_the_mps_server_is_no_intruder_and_its_memory_is_the_platforms() -> None:
    node = Node(WHOLE, {"": SHARED})
    node.run(11, 0, on(9, 2, server=True))
    node.stop()
    assert {line.key.basis for line in node.devices()[0].lines} == {Basis.NONE, Basis.RESERVATION}
    assert node.line(PLATFORM_KEY).memory_byte_s == 10 * 2 * GIB


def test_who_monitors_a_device_is_no_intruder_on_it() -> None:
    of_b = LineKey("gpu", B, Basis.PROCESS)
    for monitors, intruder_us in ((frozenset[Owner](), 10 * S), (frozenset({B}), 0)):
        node = Node(WHOLE, {"": replace(OF_A, monitors=monitors)})
        node.run(11, 50, detail=ProcessReading((on(2),), (ProcessBusy(2, 100),)))
        node.stop()
        assert (node.line(of_b).intruder_us, node.line(of_b).used_us) == (intruder_us, 0)


def test_holders_of_one_instance_share_what_gpm_saw_among_those_that_run() -> None:
    node = Node(mig("4g"), {"g4": SHARED})
    node.run(8, 50, on(1, instance="MIG-4g"))
    node.stop()
    a, b = node.line(in_instance("4g", A)), node.line(in_instance("4g", B))
    assert (a.used_us, a.burst_us, a.source) == (2 * S, 0, Source.ESTIMATED_SHARE)
    assert (b.used_us, b.idle_us) == (0, 2 * S)


def test_compute_instances_of_one_gpu_instance_are_unobserved_not_copied() -> None:
    node = Node(mig("1c.4g", "3c.4g"), {"g1": OF_A, "g3": OF_B})
    node.run(8)
    node.stop()
    for profile, owner, slices in (("1c.4g", A, 1), ("3c.4g", B, 3)):
        assert node.line(in_instance(profile, owner, Reason.NO_UTILISATION)).unobserved_us == slices * S


def test_memory_is_integrated_per_owner_and_an_intruder_that_holds_only_memory_has_a_line() -> None:
    node = Node(WHOLE, {"": OF_A})
    node.run(11, 0, on(1, 10), on(3, 4))
    node.stop()
    assert node.line(reserved_key(Holding(A))).memory_byte_s == 100 * GIB
    intruder = node.line(LineKey("gpu", WHOSE[3][0], Basis.PROCESS))
    assert (intruder.memory_byte_s, intruder.capacity_us, intruder.intruder_us) == (40 * GIB, 0, 0)


def test_unknown_memory_is_not_0_and_no_process_is_0() -> None:
    node = Node(WHOLE, {"": OF_A})
    node.run(11, 0, on(1, None))
    node.stop()
    assert node.line(reserved_key(Holding(A))).memory_byte_s is None
    node = Node(WHOLE, {"": OF_A})
    node.run(11, 0)
    node.stop()
    assert node.line(reserved_key(Holding(A))).memory_byte_s == 0


def test_memory_of_dead_pids_is_a_bucket_of_its_own() -> None:
    node = Node(WHOLE, {"": OF_A})
    node.run(11, 0, on(1, 10, alive=False))
    node.stop()
    assert node.devices()[0].ghost_memory_byte_s == 100 * GIB
    assert node.line(reserved_key(Holding(A))).memory_byte_s == 0


def test_quality_is_on_a_sole_holders_line_and_on_no_other() -> None:
    node = Node(WHOLE, {"": OF_A})
    node.run(11)
    node.stop()
    assert node.line(reserved_key(Holding(A))).quality == Quality(10 * S, 4 * S, 2 * S, S, 0)
    node = Node(WHOLE, {"": SHARED})
    node.run(11)
    node.stop()
    assert {line.quality for line in node.devices()[0].lines} == {None}


def test_quality_of_an_instance_is_its_share_of_the_devices_time() -> None:
    node = Node(mig("4g", "2g"), {"g4": OF_A})
    node.run(8)
    node.stop()
    assert node.line(in_instance("4g", A)).quality == Quality(4 * S, 1_600_000, 800_000, 400_000, 0)


def test_a_gpu_that_fell_off_the_bus_is_unavailable_from_its_xid_and_its_window_says_so() -> None:
    node = Node(WHOLE, {"": OF_A})
    node.run(11)
    node.run(1, reading=None, detail=None, xids=(79,))
    node.run(9, reading=None, detail=None)
    node.run(70)
    node.stop()
    first, last = node.devices()
    assert node.line(PLATFORM_KEY, 0).unavailable_us == 10 * S
    assert not first.unavailable_at_end
    assert not last.unavailable_at_end


def test_a_window_that_ends_while_the_gpu_is_lost_says_so() -> None:
    node = Node(WHOLE, {"": OF_A})
    node.run(50)
    node.run(30, reading=None, detail=None, unavailable=True)
    assert node.devices()[0].unavailable_at_end


def test_a_claims_containers_are_the_holders_at_the_windows_edges() -> None:
    pod = Owner(OwnerKind.POD, "research", "train", "", "uid-a")
    side = Owner(OwnerKind.POD, "research", "train", "side", "uid-a")
    node = Node(WHOLE, {"": Held((Holding(pod, containers=(A, side)),))})
    node.run(11, 60, on(1, 2))
    node.stop()
    assert node.devices()[0].end_holders == (Holding(A, share=HALF), Holding(side, share=HALF))
    for owner in (A, side):
        line = node.line(reserved_key(Holding(owner)))
        assert (line.used_us, line.idle_us, line.memory_byte_s) == (3 * S, 2 * S, 10 * GIB)


def test_without_a_kubelet_a_partitioned_gpu_is_free_instance_by_instance() -> None:
    node = Node(mig("4g"), {}, Meter(MeterSettings("c", "n"), owners, kubernetes=False))
    node.meter = Meter(MeterSettings("c", "n"), owners, kubernetes=False)
    node.run(8, 0)
    node.stop()
    assert node.line(PLATFORM_KEY).unallocated_us == 4 * S
    assert node.line(LineKey("gpu", PLATFORM_KEY.owner, Basis.NONE, Reason.MIG_REMAINDER)).unallocated_us == 3 * S
