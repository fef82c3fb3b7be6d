"""A GPU that lives through a random history: what truly happens on it, and what its driver says of that."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from random import Random

from gputally.accounting.keys import Owner
from gputally.accounting.states import Source
from gputally.agent.sample import (
    BusySample,
    ContainerRef,
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
)

REACH_US = 10_000_000  # of the driver's buffer
ENTRIES = 5  # of the buffer in a step
# Compute slices of a profile: its size in memory slices, and where it may begin (NVIDIA's MIG user guide).
SEVEN = {7: (8, (0,)), 4: (4, (0,)), 3: (4, (0, 4)), 2: (2, (0, 2, 4)), 1: (1, (0, 1, 2, 3, 4, 5, 6))}
FOUR = {4: (4, (0,)), 2: (2, (0, 2)), 1: (1, (0, 1, 2, 3))}
Mix = tuple[tuple[int, int], ...]  # (compute slices, where it begins)


@cache
def mixes(slices: int) -> tuple[Mix, ...]:
    """Every set of MIG profiles that fits a GPU of so many compute slices, at least one."""
    return tuple(mix for mix in _placed(SEVEN if slices == 7 else FOUR, 0) if mix)


def _placed(profiles: dict[int, tuple[int, tuple[int, ...]]], at: int) -> Iterator[Mix]:
    if at > 7:
        yield ()
        return
    yield from _placed(profiles, at + 1)
    for slices, (size, starts) in profiles.items():
        if at in starts:
            yield from (((slices, at), *rest) for rest in _placed(profiles, at + size))


@dataclass(eq=False)
class Proc:
    """A process on a GPU; `owner` None: of the node, outside pods."""

    pid: int
    start: int
    owner: Owner | None
    instance: str
    level: int
    memory: int | None
    server: bool = False

    def listed(self, *, mps: bool, alive: bool = True) -> GpuProcess:
        kind = ProcessKind.MPS if mps and not self.server and self.owner else ProcessKind.COMPUTE
        return GpuProcess(self.pid, kind, self.memory, self._process() if alive else None, self.instance, self.server)

    def _process(self) -> Process:
        if self.owner is None:
            return Process(self.pid, self.start, None, "user-1000", "session-1.scope")
        ref = ContainerRef(self.owner.pod_uid, container_id(self.owner), None, "containerd", "pod")
        return Process(self.pid, self.start, ref, "root")


def container_id(owner: Owner) -> str:
    return f"{owner.pod_uid}/{owner.container}"


@dataclass
class Gpu:
    """One GPU. Times are the wall clock's; everything lasts a whole number of steps."""

    rng: Random
    number: int
    mode: str  # whole, replicas, mps, mig, dra
    mix: int
    calm: bool  # nothing ever computes on it
    steady: bool  # nothing breaks
    info: DeviceInfo = field(init=False)
    procs: list[Proc] = field(default_factory=list)
    ghosts: list[Proc] = field(default_factory=list)
    trouble: str = ""
    hidden: int = 0
    true_busy_us: float = 0
    true_instance_us: Counter[str] = field(default_factory=Counter)
    epoch: int = 0
    energy_mj: int = 10**9
    power_mw: int = 60_000
    listed_byte_us: int = 0
    gaps: int = 0  # what may have cost GPM a pair of samples

    def __post_init__(self) -> None:
        self.kind = self.rng.choice(["buffer", "buffer", "lazy", "rate", "none"]) if self.mode != "mig" else "none"
        self.gpm = self.rng.random() < 0.7
        self.counter = self.rng.random() < 0.8
        self.tells = self.rng.random() < 0.9 and self.mode != "mig"
        self._entries: list[BusySample] = []
        self._asked: dict[int, int] = {}
        self._gpm_sums: Counter[str] = Counter()
        self._listed_bytes = 0
        self.slices = self.rng.choice([7, 7, 4])
        self.info = self._described()
        self.restart_probe(0)

    def _described(self) -> DeviceInfo:
        uuid = f"GPU-{self.number}"
        if self.mode != "mig":
            return DeviceInfo(uuid, self.number, "H100", self.number)
        known = mixes(self.slices)
        mix = known[(self.mix + self.epoch) % len(known)] if self.rng.random() < 0.95 else ()
        found: list[MigInstance] = []
        for n, (slices, start) in enumerate(mix):
            halves = [1, slices - 1] if slices > 1 and self.rng.random() < 0.1 else [slices]
            for ci, each in enumerate(halves):
                name = f"MIG-{self.number}-{slices}-{start}-{each}-{ci}"  # the same again when it is made again
                profile = f"{slices}g" if len(halves) == 1 else f"{each}c.{slices}g"
                told = None if self.rng.random() < 0.01 else each
                found.append(MigInstance(name, n, ci, told, profile, slices, start))
        return DeviceInfo(uuid, self.number, "H100", self.number, "", True, self.slices, tuple(found))

    def repartition(self) -> None:
        """The administrator makes other MIG devices; what ran on the old ones is gone."""
        self.epoch += 1
        self.procs.clear()
        self.ghosts.clear()
        self.info = self._described()
        self._gpm_from.clear()
        self.gaps += 1
        self._gpm_sums.clear()

    def restart_probe(self, now_us: int) -> None:
        """A new probe: its first query of processes reaches back to here, and GPM's pairs begin anew."""
        self._fresh = now_us > 0
        self._since_us = now_us
        self._gpm_from: dict[str, int] = {}
        self.gaps += 1
        self._read_to_us = max(0, now_us - REACH_US)
        self._asked.clear()

    def live(self, start_us: int, end_us: int) -> None:
        """What truly happens over one step."""
        part_us, whole = end_us - start_us, 0
        self.listed_byte_us += self._listed_bytes * part_us
        for instance in {p.instance for p in self.procs} | {""}:
            mine = [p for p in self.procs if p.instance == instance]
            total = sum(p.level for p in mine)
            levels = {p: p.level * 100 // max(100, total) for p in mine}
            for proc, level in levels.items():
                self._asked[proc.pid] = self._asked.get(proc.pid, 0) + level * part_us
            busy = min(100, sum(levels.values()) + (0 if instance else self.hidden))
            self._gpm_sums[instance] += busy * part_us
            self.true_instance_us[instance] += busy * part_us
            whole = max(whole, busy)
        self.true_busy_us += whole * part_us / 100
        ends = [start_us + part_us * n // ENTRIES for n in range(1, ENTRIES + 1)]
        self._entries = [e for e in self._entries if e.end_us > end_us - REACH_US] + [
            BusySample(e, whole) for e in ends
        ]
        self.power_mw = 60_000 + 5_000 * whole
        self.energy_mj += self.power_mw * part_us // 1_000_000

    def sample(self, now_us: int, *, full: bool) -> DeviceSample:
        """What the driver says at the end of a step."""
        if self.trouble:
            xids = (79,) if self.trouble == "xid" else ()
            self.trouble = "silent" if xids else self.trouble  # the event comes once
            return DeviceSample(self.info, unavailable=self.trouble == "lost", error=self.trouble, xids=xids)
        return DeviceSample(self.info, self._reading(now_us), self._detail(now_us) if full else None)

    def _reading(self, now_us: int) -> Reading:
        entries = tuple(e for e in self._entries if e.end_us > self._read_to_us)
        if self.kind == "lazy" and not any(e.percent for e in entries):
            entries = ()
        busy = entries if self.kind in ("buffer", "lazy") else None
        since_us, self._read_to_us = self._read_to_us, entries[-1].end_us if entries else self._read_to_us
        rate = self._entries[-1].percent if self._entries and self.kind == "rate" else None
        source = Source.DEVICE_SAMPLES if busy is not None else Source.NONE if rate is None else Source.DEVICE_RATE
        return Reading(
            busy=busy,
            busy_source=source,
            busy_since_us=since_us,
            utilization_percent=rate,
            power_mw=self.power_mw,
            energy_mj=self.energy_mj if self.counter else None,
            energy_supported=self.counter,
            gpm=self._gpm("", now_us) if self.mode != "mig" and self.gpm else None,
            instances=tuple(self._instance(each.uuid, now_us) for each in self.info.instances),
        )

    def _instance(self, uuid: str, now_us: int) -> InstanceReading:
        return InstanceReading(uuid, gpm=self._gpm(uuid, now_us) if self.gpm else None, gpm_supported=self.gpm)

    def _gpm(self, instance: str, now_us: int) -> GpmReading | None:
        """The average since the last sample of a pair; the first sample has none. Some are refused."""
        since_us, self._gpm_from[instance] = self._gpm_from.get(instance), now_us
        total, self._gpm_sums[instance] = self._gpm_sums[instance], 0
        if since_us is None or since_us >= now_us:
            return None
        graphics = total * 10_000 // (now_us - since_us)
        refused = not self.steady and self.rng.random() < 0.002
        self.gaps += refused
        return GpmReading(since_us, now_us, None if refused else graphics, graphics, graphics // 2, graphics // 3, 7)

    def _detail(self, now_us: int) -> ProcessReading:
        asked, self._asked = self._asked, {}
        since_us, self._since_us = self._since_us, now_us
        fresh, self._fresh = self._fresh, False
        busy = None
        if self.tells and now_us > since_us:
            percents = {pid: total // (now_us - since_us) for pid, total in asked.items()}
            if self.mode == "mps":  # the driver sees only some of what clients do
                percents = {pid: self.rng.randint(0, percent) for pid, percent in percents.items()}
            busy = tuple(ProcessBusy(pid, percent) for pid, percent in percents.items())
        if self.rng.random() < 0.02:
            return ProcessReading(None, busy, since_us=since_us if fresh else None)
        mps = self.mode == "mps"
        listed = [p.listed(mps=mps) for p in self.procs] + [p.listed(mps=False, alive=False) for p in self.ghosts]
        self._listed_bytes = sum(p.memory_bytes or 0 for p in listed)
        return ProcessReading(tuple(listed), busy, since_us=since_us if fresh else None)
