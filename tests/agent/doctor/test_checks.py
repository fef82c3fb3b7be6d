"""The whole doctor on a node that is well, and with one thing wrong at a time.

Everything around it is real but for the node's folders: NVML is the test library, the kubelet a server on its socket,
the API a server, the collector's door its own server with TLS and tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import pytest
from tests.agent.doctor.doors import Doors
from tests.agents import A, B
from tests.certificates import Authority
from tests.kube_api import FakeKubeApi, Trouble, pod
from tests.kube_review import FakeReviews, Token
from tests.kubelet import FakeKubelet, allocatable_answer, list_answer
from tests.nvml.library import Fault, Hang, NvmlScenario, ScriptedGpu, ScriptedProcess

from gputally.agent.command_line import Machine, load
from gputally.agent.doctor.checks import World, checks
from gputally.agent.doctor.finding import Finding, Level, exit_status
from gputally.agent.doctor.main import probe_settings
from gputally.agent.doctor.run import run
from gputally.agent.http import HttpServer
from gputally.agent.probe.main import monotonic_us, wall_us
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.quantity import Address
from gputally.agent.settings import Settings
from gputally.agent.snapshot import Snapshot

pytest_plugins = ["tests.nvml.fixtures"]

DRIVER = "550.54.15"
UID, CONTAINER, PID = "aaaaaaaa-0000-4000-8000-000000000001", "a" * 64, 4242
GOOD_TOKEN, STRANGE_TOKEN, OTHERS_TOKEN = "a.good.token", "a.strange.token", "another.nodes.token"
NO_PERMISSION, LIB_RM_VERSION_MISMATCH, UNKNOWN = 4, 18, 999
HOST = "pid:[4026531836]"
LINES = [
    *("pid-namespace", "cgroups", "nvml-library", "device-files", "gpus", "gpu-activity", "gpu-processes", "kubelet"),
    *["kubernetes-api"] * 4,
    *("clock", "spool", "collector-dns", "collector-tcp", "collector-tls", "collector-identity", "running-agent"),
]


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


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with FakeReviews() as reviews:
        reviews.tokens = {GOOD_TOKEN: Token(node="gpu-1"), OTHERS_TOKEN: Token(node="gpu-2")}
        doors = Doors(tmp_path_factory.mktemp("collector"), reviews)
        yield doors
        doors.close()


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    agent = Agent()
    server = HttpServer(Address("127.0.0.1", 0), lambda: Snapshot("gpu-1", not_ready=agent.not_ready))
    agent.port = server.port
    server.start()
    yield agent
    server.close()


@pytest.fixture
def node(
    built: Callable[[tuple[str, ...]], Path],
    door: Doors,
    agent: Agent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Node]:
    agent.not_ready = ()
    with FakeKubelet(tmp_path / "kubelet.sock") as kubelet, FakeKubeApi() as api:
        node = Node(tmp_path, kubelet, api, door.tokens, agent)
        node.furnish(built(()) / "libnvidia-ml.so.1")
        node.play()
        (tmp_path / "ca.crt").write_bytes(door.authority.pem)
        (tmp_path / "token").write_text(GOOD_TOKEN)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "lib"))
        monkeypatch.setenv("GPUTALLY_TEST_NVML", str(tmp_path / "scenario"))
        yield node


def test_on_a_node_that_is_well_every_line_is_ok(node: Node) -> None:
    found = node.examine()
    assert [each for each in found if each.level is not Level.OK] == []
    assert [each.check for each in found] == LINES
    assert exit_status(found) == 0
    said = {each.check: each.found for each in found}
    assert said["gpus"] == "2 × NVIDIA H100 80GB HBM3"
    assert said["gpu-processes"] == "1 on the GPUs, each found in /proc"
    assert said["collector-identity"] == "let in as prod/gpu-1"
    assert said["nvml-library"].endswith(f"libnvidia-ml.so.{DRIVER}, kernel module {DRIVER}")
    assert not (node.folder / "spool").exists(), "a look changes nothing"


def test_with_everything_wrong_each_has_its_line(node: Node) -> None:
    """No check hides another, and none ends the report."""
    for spoil in (_private_pids, _no_library, _no_device_files, _no_socket, _api_away, _collector_away, _spool_in_file):
        spoil(node)
    found = node.examine()
    failed = [each.check for each in found if each.level is Level.FAIL]
    assert failed == [
        *("pid-namespace", "nvml-library", "device-files", "gpus", "kubelet", "kubernetes-api"),
        *("spool", "collector-tcp"),
    ]
    assert exit_status(found) == 1


# One thing wrong at a time.


def _private_pids(node: Node) -> None:
    node.link("proc/self/ns/pid", "pid:[4026532501]")


def _no_pods(node: Node) -> None:
    node.process(PID, "/user.slice")


def _no_library(node: Node) -> None:
    (node.folder / "lib/libnvidia-ml.so.1").unlink()


def _other_library(node: Node) -> None:
    (node.folder / "lib/libnvidia-ml.so.1").unlink()
    (node.folder / f"lib/libnvidia-ml.so.{DRIVER}").rename(node.folder / "lib/libnvidia-ml.so.535.104.05")
    node.link("lib/libnvidia-ml.so.1", "libnvidia-ml.so.535.104.05")


def _no_module(node: Node) -> None:
    (node.folder / "proc/driver/nvidia/version").unlink()


def _no_device_files(node: Node) -> None:
    for path in (node.folder / "dev").glob("nvidia?"):
        path.unlink()


def _one_device_file(node: Node) -> None:
    (node.folder / "dev/nvidia1").unlink()


def _third_gpu(node: Node) -> None:
    node.write("sys/bus/pci/devices/0000:d8:00.0/vendor", "0x10de\n")
    node.write("sys/bus/pci/devices/0000:d8:00.0/class", "0x030200\n")


def _mismatch(node: Node) -> None:
    node.play(Fault(LIB_RM_VERSION_MISMATCH, "nvmlInit"))


def _one_denied(node: Node) -> None:
    node.play(Fault(NO_PERMISSION, "nvmlDeviceGetHandleByIndex_v2", gpu=1))


def _hung(node: Node) -> None:
    node.driver_s = 1.5
    node.play(hangs=[Hang("nvmlDeviceGetMemoryInfo_v2", gpu=1)])


def _stranger_on_gpu(node: Node) -> None:
    (node.folder / f"proc/{PID}/stat").unlink()


def _released(node: Node) -> None:
    annotated = {"name": "gpu-1", "uid": "node-1", "annotations": {"gputally.io/release": "true"}}
    node.api.put({"kind": "Node", "metadata": annotated})


def _released_by_signal(node: Node) -> None:
    node.agent.not_ready = ("the driver is released and GPU time is unobserved: SIGUSR1 asked for it; send SIGUSR2",)


def _no_socket(node: Node) -> None:
    node.kubelet.stop()
    node.kubelet.path.unlink()


def _kubelet_away(node: Node) -> None:
    node.kubelet.stop()


def _no_allocatable(node: Node) -> None:
    node.kubelet.refuse("GetAllocatableResources", grpc.StatusCode.UNIMPLEMENTED, "unknown method")


def _no_plugin(node: Node) -> None:
    node.kubelet.answer(list_answer([]), allocatable_answer([]))


def _api_off(node: Node) -> None:
    node.flags["--kube-api"] = "off"


def _api_away(node: Node) -> None:
    node.api.stop()


def _api_stranger(node: Node) -> None:
    node.api.token = "another"


def _no_list(node: Node) -> None:
    node.api.trouble = Trouble(403, "pods is forbidden", kind="Pod")


def _no_watch(node: Node) -> None:
    node.api.trouble = Trouble(403, "pods is forbidden", watches_only=True, kind="Pod")


def _no_nodes(node: Node) -> None:
    node.api.trouble = Trouble(403, "nodes is forbidden", kind="Node")


def _other_name(node: Node) -> None:
    node.api.delete("node-1")


def _no_slices_with_claims(node: Node) -> None:
    node.api.trouble = Trouble(403, "resourceslices is forbidden", kind="ResourceSlice")
    node.kubelet.answer(list_answer([], claims=[("research", "train", "main", "claim", ["gpu-0"])]))


def _clock_behind(node: Node) -> None:
    node.skew_us = -3_600_000_000


def _clock_ahead(node: Node) -> None:
    node.skew_us = 10_000_000


def _spool_in_file(node: Node) -> None:
    node.write("spool", "a file")


def _spool_in_memory(node: Node) -> None:
    node.write("proc/self/mountinfo", "22 1 0:25 / / rw - tmpfs tmpfs rw\n")


def _spool_in_container(node: Node) -> None:
    node.write("proc/self/mountinfo", "22 1 0:25 / / rw - overlay overlay rw\n")


def _spool_too_large(node: Node) -> None:
    node.flags["--spool-max-bytes"] = "1000000GiB"


def _no_collector(node: Node) -> None:
    node.flags |= {"--collector": "", "--collector-ca-file": "", "--collector-token-file": ""}


def _collector_away(node: Node) -> None:
    node.flags["--collector"] = "localhost:1"


def _collector_of_another_name(node: Node) -> None:
    node.flags["--collector"] = f"127.0.0.1:{node.collector_port}"


def _another_authority(node: Node) -> None:
    (node.folder / "ca.crt").write_bytes(Authority("stranger").pem)


def _plain_collector(node: Node) -> None:
    node.flags["--collector"] = f"localhost:{node.api.url.rpartition(':')[2]}"


def _strange_token(node: Node) -> None:
    node.write("token", STRANGE_TOKEN)


def _token_of_another_node(node: Node) -> None:
    node.write("token", OTHERS_TOKEN)


def _other_cluster(node: Node) -> None:
    node.flags["--cluster"] = "production"


def _empty_token(node: Node) -> None:
    node.write("token", "\n")


def _not_ready(node: Node) -> None:
    node.agent.not_ready = ("a window waits for the clock",)


def _port_taken(node: Node) -> None:
    node.flags["--http-listen"] = f"127.0.0.1:{node.api.url.rpartition(':')[2]}"


DEFECTS: list[tuple[Callable[[Node], None], str, str, Level, str]] = [
    (_private_pids, "pid-namespace", "pid-namespace", Level.FAIL, "a container's own"),
    (_no_pods, "cgroups", "cgroups", Level.FAIL, "none of 2 processes stands in a pod"),
    (_no_library, "nvml-library", "nvml-library", Level.FAIL, f"no library for kernel module {DRIVER}: "),
    (_other_library, "nvml-library", "nvml-library", Level.FAIL, f"is not of kernel module {DRIVER}"),
    (_no_module, "nvml-library", "nvml-library", Level.WARN, "driver/nvidia/version is not"),
    (_no_device_files, "device-files", "device-files", Level.FAIL, "2 GPUs on the PCI bus, and no /dev/nvidia0"),
    (_one_device_file, "device-files", "device-files", Level.FAIL, "device files for 1 of 2 GPUs"),
    (_third_gpu, "gpus", "gpus", Level.FAIL, "NVML shows 2 of 3 GPUs"),
    (_mismatch, "gpus", "gpus", Level.FAIL, "the driver was replaced"),
    (_one_denied, "gpus", "gpus", Level.FAIL, "1 GPUs may not be opened and are not counted"),
    (_hung, "gpus", "gpus", Level.FAIL, "did not answer in time"),
    (_stranger_on_gpu, "gpus", "gpu-processes", Level.WARN, "1 of 1 processes on GPUs are not in /proc"),
    (_released, "gpus", "gpus", Level.WARN, "not looked at: the driver is released"),
    (_released_by_signal, "gpus", "gpus", Level.WARN, "not looked at: the driver is released"),
    (_no_socket, "kubelet", "kubelet", Level.FAIL, "there is no socket"),
    (_kubelet_away, "kubelet", "kubelet", Level.FAIL, "does not listen"),
    (_no_allocatable, "kubelet", "kubelet", Level.FAIL, "List answers, GetAllocatableResources does not"),
    (_no_plugin, "kubelet", "kubelet", Level.WARN, "knows no GPU"),
    (_api_off, "kubernetes-api", "kubernetes-api", Level.WARN, "not asked: pods have no UID"),
    (_api_away, "kubernetes-api", "kubernetes-api", Level.FAIL, "cannot be reached"),
    (_api_stranger, "kubernetes-api", "kubernetes-api", Level.FAIL, "answers 401"),
    (_no_list, "kubernetes-api", "kubernetes-api", Level.FAIL, "may not list pods"),
    (_no_watch, "kubernetes-api", "kubernetes-api", Level.FAIL, "may not watch pods"),
    (_no_nodes, "kubernetes-api", "kubernetes-api", Level.WARN, "may not list nodes"),
    (_other_name, "kubernetes-api", "kubernetes-api", Level.FAIL, "the cluster has no node gpu-1"),
    (_no_slices_with_claims, "kubernetes-api", "kubernetes-api", Level.FAIL, "may not list resourceslices, and DRA"),
    (_clock_behind, "clock", "clock", Level.FAIL, "3600 s behind the collector's"),
    (_clock_ahead, "clock", "clock", Level.WARN, " s ahead of the collector's"),
    (_spool_in_file, "spool", "spool", Level.FAIL, "cannot be written"),
    (_spool_in_memory, "spool", "spool", Level.WARN, "is memory (tmpfs)"),
    (_spool_in_container, "spool", "spool", Level.WARN, "the container's own layer (overlay)"),
    (_spool_too_large, "spool", "spool", Level.WARN, "has room for"),
    (_no_collector, "collector", "collector", Level.WARN, "none is set"),
    (_collector_away, "collector", "collector-tcp", Level.FAIL, "Connection refused"),
    (_collector_of_another_name, "collector", "collector-tls", Level.FAIL, "is not trusted"),
    (_another_authority, "collector", "collector-tls", Level.FAIL, "is not trusted"),
    (_plain_collector, "collector", "collector-tls", Level.FAIL, "no TLS with"),
    (_strange_token, "collector", "collector-identity", Level.FAIL, "refused: the Kubernetes API does not accept"),
    (_token_of_another_node, "collector", "collector-identity", Level.FAIL, "knows us as prod/gpu-2"),
    (_other_cluster, "collector", "collector-identity", Level.FAIL, "we count for production/gpu-1"),
    (_empty_token, "collector", "collector-identity", Level.FAIL, "holds no token"),
    (_not_ready, "running-agent", "running-agent", Level.FAIL, "not ready: a window waits for the clock"),
    (_port_taken, "running-agent", "running-agent", Level.WARN, "something else answers"),
]


@pytest.mark.parametrize(
    ("spoil", "check", "line", "level", "words"), DEFECTS, ids=[each[0].__name__[1:] for each in DEFECTS]
)
def test_one_thing_wrong_is_one_line_and_exit_1(
    node: Node, spoil: Callable[[Node], None], check: str, line: str, level: Level, words: str
) -> None:
    """It says what is wrong and what to change, and no other line of that check complains."""
    spoil(node)
    found = node.examine(check)
    (wrong,) = [each for each in found if each.level is not Level.OK]
    assert (wrong.check, wrong.level) == (line, level)
    assert words in wrong.found
    assert wrong.change
    assert exit_status(found) == 1
