"""A node on which the doctor finds nothing, with everything around it real but for its folders."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.agents import A, B
from tests.kube_api import FakeKubeApi, pod
from tests.kubelet import FakeKubelet, allocatable_answer, list_answer
from tests.nvml.library import Fault, Hang, NvmlScenario, ScriptedGpu, ScriptedProcess

from gputally.agent.command_line import Machine, load
from gputally.agent.doctor.checks import World, checks
from gputally.agent.doctor.finding import Finding
from gputally.agent.doctor.main import probe_settings
from gputally.agent.doctor.run import run
from gputally.agent.probe.main import monotonic_us, wall_us
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.settings import Settings

DRIVER = "550.54.15"
UID, CONTAINER, PID = "aaaaaaaa-0000-4000-8000-000000000001", "a" * 64, 4242
GOOD_TOKEN, STRANGE_TOKEN, OTHERS_TOKEN = "a.good.token", "a.strange.token", "another.nodes.token"
NO_PERMISSION, LIB_RM_VERSION_MISMATCH, UNKNOWN = 4, 18, 999
HOST = "pid:[4026531836]"


@dataclass
class Agent:
    """The agent that runs on the node: its pages, and what it says that it lacks."""

    port: int = 0
    not_ready: tuple[str, ...] = ()


@dataclass
class Node:
    """A node that is well, until a test spoils it. `flags` are the agent's, `skew_us`: how far its clock is off."""

    folder: Path
    kubelet: FakeKubelet
    api: FakeKubeApi
    collector_port: int
    agent: "Agent"
    flags: dict[str, str] = field(default_factory=dict)
    skew_us: int = 0
    driver_s: float = 20.0
    scenario: NvmlScenario = field(init=False)

    def __post_init__(self) -> None:
        start_us = wall_us() - 20_000_000
        busy = ScriptedProcess(PID)
        self.scenario = NvmlScenario(
            (
                ScriptedGpu(A, start_us, processes=(busy,)),
                ScriptedGpu(B, start_us, minor=1, pci_bus_id="00000000:AF:00.0"),
            )
        )

    def write(self, name: str, text: str = "") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
        return path

    def link(self, name: str, target: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    def process(self, pid: int, path: str) -> None:
        self.write(f"proc/{pid}/stat", f"{pid} (python) S" + " 0" * 16 + " 1 0 777 0 0\n")
        self.write(f"proc/{pid}/cgroup", f"0::{path}\n")

    def furnish(self, library: Path) -> None:
        """All that a good node has in its folders."""
        self.link("proc/self/ns/pid", HOST)
        self.write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
        self.process(1, "/init.scope")
        self.process(PID, f"/kubepods/pod{UID}/{CONTAINER}")
        self.write("proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {DRIVER}  Thu\n")
        for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
            self.write(f"dev/{name}")
        for name in ("0000:3b:00.0", "0000:af:00.0"):
            self.write(f"sys/bus/pci/devices/{name}/vendor", "0x10de\n")
            self.write(f"sys/bus/pci/devices/{name}/class", "0x030200\n")
        (self.folder / "lib").mkdir()
        self.link(f"lib/libnvidia-ml.so.{DRIVER}", str(library))
        # A copy, as a link would tell the name of what it leads to.
        (self.folder / f"lib/libnvidia-ml.so.{DRIVER}").unlink()
        (self.folder / f"lib/libnvidia-ml.so.{DRIVER}").write_bytes(library.read_bytes())
        self.link("lib/libnvidia-ml.so.1", f"libnvidia-ml.so.{DRIVER}")
        self.kubelet.answer(list_answer([("research", "train", "main", [A])]), allocatable_answer([A, B]))
        self.api.put(pod("research", "train", UID, node="gpu-1", containers={"main": CONTAINER}))
        self.api.put({"kind": "Node", "metadata": {"name": "gpu-1", "uid": "node-1"}})

    def play(self, *faults: Fault, hangs: Sequence[Hang] = ()) -> None:
        replace(self.scenario, faults=faults, hangs=tuple(hangs)).write(self.folder / "scenario")

    def settings(self) -> Settings:
        flags = {
            "--node": "gpu-1",
            "--cluster": "prod",
            "--collector": f"localhost:{self.collector_port}",
            "--collector-ca-file": str(self.folder / "ca.crt"),
            "--collector-token-file": str(self.folder / "token"),
            "--proc-root": str(self.folder / "proc"),
            "--pod-resources-socket": str(self.kubelet.path),
            "--kube-api": self.api.url,
            "--spool-dir": str(self.folder / "spool"),
            "--spool-max-bytes": "1MiB",
            "--http-listen": f"127.0.0.1:{self.agent.port}",
            "--sample-interval": "250ms",
            "--process-interval": "500ms",
        } | self.flags
        arguments = [part for flag, value in flags.items() if value for part in (flag, value)]
        return load(arguments, Machine({}, True, "gpu-1", self.folder))

    def examine(self, *only: str) -> tuple[Finding, ...]:
        """What the doctor finds; `only`: no checks but these."""
        settings = self.settings()
        return run([each for each in checks(settings, self.world(settings)) if not only or each.name in only])

    def world(self, settings: Settings) -> World:
        def probe(driver_s: float) -> Supervisor:
            told, deadline_us = probe_settings(settings, wall_us()), int(driver_s * 1e6)
            return Supervisor(told, deadline_us, deadline_us, monotonic_us, lambda _: None)

        dev, sys_root = self.folder / "dev", self.folder / "sys"
        return World(dev, sys_root, False, probe, lambda: wall_us() + self.skew_us, monotonic_us, self.driver_s)
