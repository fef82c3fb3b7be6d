"""A node that lives through a random history: pods come, go, crash and are made again, and a real meter watches.

What the meter is told is kept beside what it makes of it, so that `histories_run.py` can compare the two.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from random import Random

from tests.histories_gpu import Gpu, Proc, container_id

from gputally.accounting.keys import REPLICA, WHOLE_GPU, Holding, Owner
from gputally.accounting.line import Window
from gputally.accounting.settlement import Contest
from gputally.accounting.states import OwnerKind
from gputally.agent.attribution.identity import Identity, PodName
from gputally.agent.held import NOBODY, UNKNOWN, Held, HeldInstance
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.sample import DeviceInfo, Sample

MINUTE = 60_000_000
T0 = 28_333_333 * MINUTE + 17_000_001  # a wall clock that starts off the grid
BOOT = 5_000_000_123  # the monotonic clock then
LIST_STEPS, POLL_STEPS = 5, 10  # how often processes are listed, and the kubelet is asked
NAMES = ("train", "chat", "batch", "solver")
MODES = ("whole", "replicas", "mps", "mig", "mig", "dra")


@dataclass
class Pod:
    """A pod and what it holds: `share` of `place`, which is a GPU or a MIG device."""

    name: str
    uid: str
    containers: tuple[str, ...]
    place: str
    share: Fraction
    claim: bool = False
    monitor: bool = False

    @property
    def owners(self) -> tuple[Owner, ...]:
        return tuple(Owner(OwnerKind.POD, "ml", self.name, name, self.uid) for name in self.containers)

    def holdings(self) -> tuple[Holding, ...]:
        if self.claim:
            return (Holding(replace(self.owners[0], container=""), WHOLE_GPU, self.share, self.owners),)
        partition = WHOLE_GPU if self.share == 1 else REPLICA
        return (Holding(self.owners[0], partition, self.share),)


class Named:
    """The pods that the API has told of: some seconds late, and their containers later still."""

    def __init__(self) -> None:
        self.pods: dict[str, PodName] = {}
        self.containers: dict[str, tuple[PodName, str]] = {}

    def of_uid(self, uid: str) -> PodName | None:
        return self.pods.get(uid)

    def of_container(self, container: str) -> tuple[PodName, str] | None:
        return self.containers.get(container)


@dataclass
class Told:
    """What the meter was told of one GPU, by the timeline: who held it since when, and when it was unavailable."""

    held: list[tuple[int, Held]] = field(default_factory=list)
    lost: list[list[int]] = field(default_factory=list)
    is_lost: bool = False
    smooth: bool = True  # never silent, lost or re-partitioned


class Node:
    """One history, by its seed."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = Random(seed)
        self.seed = seed
        self.step_us = rng.choice([1_000_000, 1_000_000, 1_000_003, 999_983])
        self.now_us = 0  # since the start
        self.windows = list[Window]()
        self.pods: list[Pod] = []
        self.named = Named()
        self.lonely = rng.random() < 0.1  # no API
        self.steady = rng.random() < 0.4  # nothing breaks
        self.gpus = [
            Gpu(rng, n, rng.choice(MODES), seed + n, calm=rng.random() < 0.2, steady=self.steady)
            for n in range(rng.choice([1, 1, 2, 3]))
        ]
        self.parts = {gpu.number: rng.randint(1, 16) for gpu in self.gpus}
        self.told = {gpu.info.uuid: Told() for gpu in self.gpus}
        self.happened: Counter[str] = Counter()
        self._next_uid = self._next_start = 0
        self._silent_steps = self._trouble_steps = 0
        self._snapshot: dict[str, Held] = {}
        window_us = rng.choice([MINUTE, MINUTE, MINUTE, 20_000_000])
        identity = Identity(self.named, kubernetes=True)
        self.meter = Meter(MeterSettings("c", "n", window_us), identity.owners, kubernetes=True)

    # Time.

    @property
    def monotonic_us(self) -> int:
        return BOOT + self.now_us

    @property
    def wall_us(self) -> int:
        return T0 + self.now_us

    def play(self, steps: int) -> "Node":
        """Live so many steps; the last window ends at the last sample, as the agent's does."""
        for gpu in self.gpus:
            gpu.restart_probe(0)
        self._poll()
        last_us, tick = self.now_us, 0
        for step in range(steps):
            self._change()
            for gpu in self.gpus:
                gpu.live(self.wall_us, self.wall_us + self.step_us)
            self.now_us += self.step_us
            if step % POLL_STEPS == 0 and (self.steady or self.rng.random() < 0.9):
                self._poll()
            if self._is_silent():
                self.windows += self.meter.on_time(self.monotonic_us)
                continue
            if not self.steady and self.rng.random() < 0.02:
                continue  # a late tick
            self._sample(full=tick % LIST_STEPS == 0)
            last_us, tick = self.monotonic_us, tick + 1
        self.windows += self.meter.cut(last_us)
        return self

    def _is_silent(self) -> bool:
        """The probe died, and is started again after a while."""
        if self._silent_steps:
            self._silent_steps -= 1
            if not self._silent_steps:
                for gpu in self.gpus:
                    gpu.restart_probe(self.wall_us)
        elif not self.steady and self.rng.random() < 0.01:
            self.happened["the probe died"] += 1
            self._silent_steps = self.rng.choice([1, 2, 4, 12, 40, 100])
        return self._silent_steps > 0

    def _sample(self, *, full: bool) -> None:
        samples = tuple(gpu.sample(self.wall_us, full=full) for gpu in self.gpus)
        for sample in samples:
            self._note(self.told[sample.info.uuid], sample.unavailable or 79 in sample.xids, sample.reading is not None)
        self._hold([sample.info for sample in samples])
        self.windows += self.meter.on_sample(Sample(self.monotonic_us, self.wall_us, samples, full))

    def _note(self, told: Told, lost: bool, good: bool) -> None:
        told.smooth = told.smooth and good
        if lost and not told.is_lost:
            told.lost.append([self.wall_us, 1 << 62])
        elif good and told.is_lost:
            told.lost[-1][1] = self.wall_us
        told.is_lost = lost or (told.is_lost and not good)

    # The kubelet.

    def _poll(self) -> None:
        """The kubelet's word is a snapshot: devices that are re-partitioned later are placed by it too."""
        self._snapshot = {place: self._held(place) for place in sorted({pod.place for pod in self.pods})}
        if self.rng.random() < 0.05:
            self._snapshot |= dict.fromkeys(self.rng.sample(sorted(self._snapshot), len(self._snapshot) // 2), UNKNOWN)
        snapshot = self._snapshot
        self.meter.on_reservations(self.monotonic_us, lambda devices: _placed(devices, snapshot))
        self._hold([gpu.info for gpu in self.gpus] if not self.windows and not self.now_us else self._seen)

    _seen: Sequence[DeviceInfo] = ()

    def _hold(self, infos: Sequence[DeviceInfo]) -> None:
        self._seen = infos
        for uuid, held in _placed(infos, self._snapshot).items():
            told = self.told[uuid]
            if not told.held or told.held[-1][1] != held:
                told.held.append((self.wall_us, held))

    def _held(self, place: str) -> Held:
        pods = [pod for pod in self.pods if pod.place == place and not pod.monitor]
        holdings = tuple(holding for pod in pods for holding in pod.holdings())
        free = 1 - sum((h.share for h in holdings), Fraction(0))
        monitors = frozenset(o for pod in self.pods if pod.monitor and pod.place == place for o in pod.owners)
        if free and self.rng.random() < 0.05:
            self.happened["two holders"] += 1
            extra = Owner(OwnerKind.POD, "ml", "other", "main", "uid-other")
            owners = {extra, pods[0].owners[0]} if pods and not pods[0].claim else {extra}
            return Held(holdings, Contest(frozenset(owners), free), monitors=monitors)
        unused = free if free == 1 and self.rng.random() < 0.05 else Fraction(0)
        return Held(holdings, unused_share=unused, monitors=monitors)

    # What changes.

    def _change(self) -> None:
        rng = self.rng
        if rng.random() < 0.10:
            self._start_pod()
        if rng.random() < 0.04 and self.pods:
            self._end_pod(rng.choice(self.pods), again=rng.random() < 0.4)
        if rng.random() < 0.25:
            self._start_process(rng.choice(self.gpus))
        for gpu in self.gpus:
            if gpu.procs and rng.random() < 0.05:
                self._end_process(gpu, rng.choice(gpu.procs))
            if gpu.procs and rng.random() < 0.2:
                rng.choice(gpu.procs).level = 0 if gpu.calm else rng.choice([0, 10, 33, 77, 100])
            if not self.steady:
                self._break(gpu)
        self._learn()

    def _break(self, gpu: Gpu) -> None:
        rng = self.rng
        if gpu.trouble:
            if rng.random() < 0.2:
                gpu.trouble = ""
        elif rng.random() < 0.006:
            gpu.trouble = rng.choice(["lost", "silent", "silent", "xid"])
            self.happened[gpu.trouble] += 1
            gpu.gaps += 1
        elif gpu.mode == "mig" and rng.random() < 0.008:
            self.happened["re-partitioned"] += 1
            gpu.repartition()
            self.told[gpu.info.uuid].smooth = False
        elif rng.random() < 0.005:
            gpu.energy_mj = 7
            self.happened["counter restarted"] += 1
        elif rng.random() < 0.02 and gpu.mode != "mig" and not gpu.calm:
            gpu.hidden = rng.choice([0, 0, 20, 60])

    def _start_pod(self) -> None:
        gpu = self.rng.choice(self.gpus)
        free = [name for name in NAMES if all(pod.name != name for pod in self.pods)]
        place = self.rng.choice([gpu.info.uuid] if gpu.mode != "mig" else [i.uuid for i in gpu.info.instances] or [""])
        if not free or not place:
            return
        held = [pod for pod in self.pods if pod.place == place and not pod.monitor]
        share = self._share(gpu, held)
        monitor = self.rng.random() < 0.05
        if sum(pod.share for pod in held) + share > 1 and not monitor:
            return
        containers = tuple(self.rng.sample(("main", "side", "log"), self.rng.choice([1, 1, 2])))
        claim = gpu.mode == "dra" or (gpu.mode == "mig" and self.rng.random() < 0.3)
        self._add(Pod(free[0], "", containers, place, share, claim, monitor))

    def _share(self, gpu: Gpu, held: list[Pod]) -> Fraction:
        """A part of R replicas; on a MIG device that is shared, a half."""
        if gpu.mode in ("replicas", "mps", "dra"):
            count = self.parts[gpu.number]
            return Fraction(self.rng.randint(1, max(1, count // 2)), count)
        shared = gpu.mode == "mig" and (held[0].share < 1 if held else self.rng.random() < 0.4)
        return Fraction(1, 2) if shared else Fraction(1)

    def _add(self, pod: Pod) -> None:
        self._next_uid += 1
        self.happened["pods"] += 1
        self.pods.append(replace(pod, uid=f"uid-{self._next_uid}"))

    def _end_pod(self, pod: Pod, *, again: bool) -> None:
        """It ends, or it crashes and is made again under its name; its processes may outlive it for a while."""
        self.pods.remove(pod)
        for gpu in self.gpus:
            for proc in [p for p in gpu.procs if p.owner in pod.owners and self.rng.random() < 0.8]:
                self._end_process(gpu, proc)
        if again:
            self.happened["made again"] += 1
            self._add(pod)

    def _start_process(self, gpu: Gpu) -> None:
        rng = self.rng
        pods = [pod for pod in self.pods if pod.place.split("-")[1] == str(gpu.number)]
        used = {proc.pid for each in self.gpus for proc in each.procs + each.ghosts}
        pid = next(pid for pid in range(100, 400) if pid not in used)  # the lowest: pids are reused at once
        place = rng.choice([i.uuid for i in gpu.info.instances] or [""])
        owner = None
        if pods and rng.random() < 0.85:
            pod = rng.choice(pods)
            owner = rng.choice(pod.owners)
            place = pod.place if pod.place.startswith("MIG") else place
        if place and all(place != i.uuid for i in gpu.info.instances):
            return
        self._next_start += 1
        memory = None if rng.random() < 0.05 else rng.randint(0, 80) << 30
        server = gpu.mode == "mps" and rng.random() < 0.1
        level = 0 if gpu.calm else rng.choice([0, 20, 50, 100])
        owner = None if server and pid % 2 else owner  # a tenant may call its process like the server
        gpu.procs.append(Proc(pid, self._next_start, owner, place, level, memory, server))
        self.happened["processes"] += 1

    def _end_process(self, gpu: Gpu, proc: Proc) -> None:
        gpu.procs.remove(proc)
        if self.rng.random() < 0.1:
            gpu.ghosts.append(proc)  # the driver lists it still
        elif gpu.ghosts:
            gpu.ghosts.pop()

    def _learn(self) -> None:
        """The API tells of a pod some time after it began."""
        if self.lonely:
            return
        for pod in self.pods:
            name = PodName(pod.uid, "ml", pod.name)
            if self.rng.random() < 0.4:
                self.named.pods[pod.uid] = name
            if pod.uid in self.named.pods and self.rng.random() < 0.3:
                self.named.containers |= {container_id(owner): (name, owner.container) for owner in pod.owners}


def _placed(infos: Sequence[DeviceInfo], snapshot: dict[str, Held]) -> dict[str, Held]:
    whole = {info.uuid: snapshot.get(info.uuid, NOBODY) for info in infos}
    return whole | {info.uuid: _partitioned(info, snapshot) for info in infos if info.instances}


def _partitioned(info: DeviceInfo, snapshot: dict[str, Held]) -> Held:
    if any(each.slices is None for each in info.instances):
        return UNKNOWN
    return Held(
        instances=tuple(
            HeldInstance(i.uuid, i.profile, Fraction(i.slices, info.slices), snapshot.get(i.uuid, NOBODY))
            for i in info.instances
        )
    )
