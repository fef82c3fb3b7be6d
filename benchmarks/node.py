"""A node to measure agents on: real processes in pods' cgroups, a kubelet, an API server, NVML at next to no cost."""

import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.collector_fake import FakeCollector
from tests.kube_api import FakeKubeApi, pod
from tests.kubelet import FakeKubelet, allocatable_answer, list_answer
from tests.nvml.library import MigDevice, NvmlScenario, ScriptedGpu, ScriptedProcess, Step, build, environment

S = 1_000_000
NODE = "bench"
_PROC_FILES = ("stat", "status", "comm", "cmdline", "ns", "exe")
_HOST_FILES = ("sys", "self", "stat", "uptime", "meminfo", "driver", "version", "mounts")


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is on the node. `instances` 0: whole GPUs; `pods` hold devices (or instances) in turn."""

    gpus: int
    processes: int  # in all
    pods: int
    instances: int = 0  # of each GPU

    @property
    def text(self) -> str:
        """The shape in words."""
        mig = f" x {self.instances} instances" if self.instances else ""
        return f"{self.gpus} GPUs{mig}, {self.pods} pods, {self.processes} processes"


@dataclass(slots=True)
class BenchNode:
    """Where an agent finds everything; `env` is for it and its peers, `counts` where the library counts calls.

    `processes` run in the cgroups of `pods` (namespace, name, UID) and on the partitions, in turns.
    """

    folder: Path
    shape: Shape
    env: Mapping[str, str]
    kubelet: FakeKubelet
    api: FakeKubeApi
    collector: FakeCollector
    pods: list[tuple[str, str, str]] = field(default_factory=list)
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def put_pod(self, at: int, number: int) -> None:
        """A new pod, with this number, in the place of the one at `at`, which ends with its processes."""
        namespace, name, uid = f"team-{number % 5}", f"job-{number}", str(uuid.UUID(int=number + 1))
        if at < len(self.pods):
            self.api.delete(self.pods[at][2])
            self.pods[at] = (namespace, name, uid)
        else:
            self.pods.append((namespace, name, uid))
        self.api.put(pod(namespace, name, uid, node=NODE))
        for each in range(at, self.shape.processes, self.shape.pods):
            self._put_process(each, uid)

    def _put_process(self, at: int, uid: str) -> None:
        process = subprocess.Popen(["/bin/sleep", "3600"])
        if at in self.processes:
            shutil.rmtree(self.folder / "proc" / str(self.processes[at].pid))
            _end([self.processes[at]])
        self.processes[at] = process
        _proc_of(self.folder / "proc", process.pid, uid, at)

    def tell(self) -> None:
        """Let the driver and the kubelet say what is there now."""
        partitions = _partitions(self.shape)
        _scenario(self.shape, [self.processes[i] for i in range(self.shape.processes)], partitions).write(
            self.folder / "scenario"
        )
        resource = "nvidia.com/mig-1g.10gb" if self.shape.instances else "nvidia.com/gpu"
        holders = [(place, self.pods[i % len(self.pods)]) for i, place in enumerate(partitions)]
        held = [(namespace, name, "main", [place]) for place, (namespace, name, _) in holders]
        self.kubelet.answer(list_answer(held, resource), allocatable_answer(partitions, resource))

    @property
    def counts(self) -> Path:
        """The folder with one file a process."""
        return self.folder / "counts"

    def calls_of(self, pid: int) -> Mapping[str, int]:
        """How often a process made each NVML call so far."""
        raw = (self.counts / str(pid)).read_bytes()
        rows = (raw[at : at + 64] for at in range(0, len(raw), 64))
        return {row[:56].rstrip(b"\0").decode(): int.from_bytes(row[56:], "little") for row in rows if row[0]}

    def agent_arguments(self, *more: str) -> list[str]:
        """The agent's command line here, everything on."""
        return [
            *("--node", NODE, "--cluster", "bench", "--spool-dir", str(self.folder / "spool")),
            *("--proc-root", str(self.folder / "proc"), "--pod-resources-socket", str(self.kubelet.path)),
            *("--kube-api", self.api.url, "--collector", self.collector.address, "--http-listen", "127.0.0.1:0"),
            *more,
        ]


@contextmanager
def bench_node(folder: Path, shape: Shape, *, changes: bool = False) -> Iterator[BenchNode]:
    """A node of this shape, which is gone afterwards with all of its processes.

    Unless it `changes`, the library reads its scenario once, and a call costs next to nothing.
    """
    with ExitStack() as running:
        (folder / "counts").mkdir()
        library = folder / "library"
        library.mkdir()
        build(library)
        kubelet = running.enter_context(FakeKubelet(folder / "kubelet.sock"))
        api = running.enter_context(FakeKubeApi())
        collector = FakeCollector()
        collector.start()
        running.callback(collector.stop)
        env = {**environment(library, folder / "scenario"), "GPUTALLY_TEST_NVML_COUNTS": str(folder / "counts")}
        node = BenchNode(
            folder, shape, env if changes else {**env, "GPUTALLY_TEST_NVML_STILL": "1"}, kubelet, api, collector
        )
        running.callback(lambda: _end(list(node.processes.values())))
        _proc(folder / "proc")
        for number in range(shape.pods):
            node.put_pod(number, number)
        node.tell()
        yield node


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()


def _partitions(shape: Shape) -> list[str]:
    """What can be held: GPUs, or MIG devices."""
    if not shape.instances:
        return [_gpu(i) for i in range(shape.gpus)]
    return [_mig(i, k) for i in range(shape.gpus) for k in range(shape.instances)]


def _gpu(number: int) -> str:
    return f"GPU-00000000-0000-4000-8000-{number:012x}"


def _mig(gpu: int, instance: int) -> str:
    return f"MIG-00000000-0000-4000-9000-{gpu:08x}{instance:04x}"


def _scenario(shape: Shape, processes: Sequence[subprocess.Popen[bytes]], partitions: Sequence[str]) -> NvmlScenario:
    start_us = time.time_ns() // 1000 - 20 * S
    on: dict[str, list[ScriptedProcess]] = {place: [] for place in partitions}
    for i, process in enumerate(processes):
        place = partitions[i % len(partitions)]
        mig = place if shape.instances else ""
        on[place].append(ScriptedProcess(process.pid, busy=(Step(start_us, 5 + i % 20),), mig=mig))
    gpus = []
    for i in range(shape.gpus):
        own = [_mig(i, k) for k in range(shape.instances)] or [_gpu(i)]
        instances = tuple(
            MigDevice(_mig(i, k), f"H100 MIG 1g.10gb {k}", gpu_instance=7 + k, slot=k, placement_start=k)
            for k in range(shape.instances)
        )
        running = tuple(process for place in own for process in on[place])
        gpus.append(
            ScriptedGpu(
                _gpu(i),
                start_us,
                minor=i,
                pci_bus_id=f"00000000:{i + 1:02X}:00.0",
                processes=running,
                mig=instances if shape.instances else None,
                gpm=bool(shape.instances),
            )
        )
    return NvmlScenario(tuple(gpus))


def _proc(root: Path) -> None:
    """The host's /proc without its processes."""
    root.mkdir()
    for name in _HOST_FILES:
        (root / name).symlink_to(Path("/proc") / name)


def _proc_of(root: Path, pid: int, uid: str, number: int) -> None:
    """A process in a container of the pod with this UID: all but its cgroup is the real one's."""
    (root / str(pid)).mkdir()
    for name in _PROC_FILES:
        (root / str(pid) / name).symlink_to(Path("/proc") / str(pid) / name)
    scope = f"kubepods-pod{uid.replace('-', '_')}.slice/cri-containerd-{number:064x}.scope"
    (root / str(pid) / "cgroup").write_text(f"0::/kubepods.slice/{scope}\n")
