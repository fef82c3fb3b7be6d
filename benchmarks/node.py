"""A node to measure agents on: real processes in pods' cgroups, a kubelet, an API server, NVML at next to no cost."""

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
    """Where an agent finds everything; `env` is for it and its peers, `counts` where the library counts calls."""

    folder: Path
    env: Mapping[str, str]
    kubelet: FakeKubelet
    api: FakeKubeApi
    collector: FakeCollector
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

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
def bench_node(folder: Path, shape: Shape) -> Iterator[BenchNode]:
    """A node of this shape, which is gone afterwards with all of its processes."""
    with ExitStack() as running:
        sleepers = [subprocess.Popen(["/bin/sleep", "3600"]) for _ in range(shape.processes)]
        running.callback(_end, sleepers)
        pods = [(f"team-{i % 5}", f"job-{i}", str(uuid.UUID(int=i + 1))) for i in range(shape.pods)]
        partitions = _partitions(shape)
        holders = {place: pods[i % len(pods)] for i, place in enumerate(partitions)}
        _proc(folder / "proc", [process.pid for process in sleepers], pods)
        scenario = _scenario(shape, sleepers, partitions)
        scenario.write(folder / "scenario")
        (folder / "counts").mkdir()
        library = folder / "library"
        library.mkdir()
        build(library)
        kubelet = running.enter_context(FakeKubelet(folder / "kubelet.sock"))
        resource = "nvidia.com/mig-1g.10gb" if shape.instances else "nvidia.com/gpu"
        held = [(namespace, name, "main", [place]) for place, (namespace, name, _) in holders.items()]
        kubelet.answer(list_answer(held, resource), allocatable_answer(partitions, resource))
        api = running.enter_context(FakeKubeApi())
        for namespace, name, uid in pods:
            api.put(pod(namespace, name, uid, node=NODE))
        collector = FakeCollector()
        collector.start()
        running.callback(collector.stop)
        extra = {"GPUTALLY_TEST_NVML_STILL": "1", "GPUTALLY_TEST_NVML_COUNTS": str(folder / "counts")}
        yield BenchNode(folder, {**environment(library, folder / "scenario"), **extra}, kubelet, api, collector)


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


def _proc(root: Path, pids: Sequence[int], pods: Sequence[tuple[str, str, str]]) -> None:
    """The host's /proc with each process in the cgroup of a pod: the rest of it is the real one."""
    root.mkdir()
    for name in _HOST_FILES:
        (root / name).symlink_to(Path("/proc") / name)
    for i, pid in enumerate(pids):
        (root / str(pid)).mkdir()
        for name in _PROC_FILES:
            (root / str(pid) / name).symlink_to(Path("/proc") / str(pid) / name)
        uid = pods[i % len(pods)][2].replace("-", "_")
        scope = f"kubepods-pod{uid}.slice/cri-containerd-{i:064x}.scope"
        (root / str(pid) / "cgroup").write_text(f"0::/kubepods.slice/{scope}\n")
