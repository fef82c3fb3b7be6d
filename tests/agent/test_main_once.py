"""One look at a node, by the real agent: as JSON, as a table, and where it cannot see everything."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.agents import (
    ELSEWHERE,
    A,
    B,
    Node,
    is_alive,
    look,
    refused,
    two_gpus,
)
from tests.cgroups import mounted_cgroups, pod_path
from tests.kube_api import FakeKubeApi, pod
from tests.kubelet import FakeKubelet, allocatable_answer, list_answer
from tests.nvml.library import (
    Hang,
    MigDevice,
    ScriptedProcess,
    Step,
)
from tests.programs import module, running, wait_until

pytest_plugins = ["tests.nvml.fixtures"]

TRAIN, CONTAINER = "aaaaaaaa-0000-4000-8000-000000000001", "a" * 64


@pytest.fixture
def node(built: Callable[[tuple[str, ...]], Path], tmp_path: Path) -> Node:
    return two_gpus(tmp_path, built(()))


DEVICE_KEYS = [
    *("uuid", "index", "model", "mig_enabled", "utilization", "memory_used_bytes", "ghost_memory_bytes"),
    *("power_watts", "energy_mj", "source", "partitions", "processes"),
]


@pytest.fixture
def pods(node: Node) -> Iterator[tuple[str, ...]]:
    """A pod with a real process on GPU 0, and the settings by which the agent finds its kubelet and API."""
    with ExitStack() as stack:
        cgroups = stack.enter_context(mounted_cgroups(node.folder))
        kubelet = stack.enter_context(FakeKubelet(node.folder / "kubelet.sock"))
        api = stack.enter_context(FakeKubeApi())
        pid = cgroups.sleeper(pod_path(TRAIN, CONTAINER))
        api.put(pod("research", "train", TRAIN, node="n", containers={"main": CONTAINER}))
        kubelet.answer(list_answer([("research", "train", "main", [A])]), allocatable_answer([A, B]))
        process = ScriptedProcess(pid, memory_bytes=3 << 30, busy=(Step(0, 40),))
        gpus = (replace(node.scenario.gpus[0], processes=(process,)), node.scenario.gpus[1])
        node.play(gpus=gpus)
        yield str(pid), "--pod-resources-socket", str(kubelet.path), "--kube-api", api.url


@pytest.mark.root
def test_one_look_as_json_has_the_documented_keys(node: Node, pods: tuple[str, ...]) -> None:
    """Exactly those that are documented; what is not known is null, and 0 is only what was measured."""
    pid, *settings = pods
    done = look(node, *settings, "--format", "json")
    assert (done.returncode, done.stderr) == ((1, f"gputally-agent: {ELSEWHERE}\n") if ELSEWHERE else (0, ""))
    found = json.loads(done.stdout)
    assert list(found) == ["node", "taken_at", "devices"]
    first, second = found["devices"]
    for device in (first, second):
        assert list(device) == DEVICE_KEYS
    holder = {"namespace": "research", "pod": "train", "container": "main", "pod_uid": TRAIN}
    whole = {"id": "gpu", "instance": None, "profile": None, "share": 1}
    unread = {"utilization": None, "memory_used_bytes": None, "source": None}
    assert first["partitions"] == [{**whole, "state": "held", "holders": [holder], **unread}]
    (process,) = first["processes"]
    told = psutil.Process(int(pid))
    assert {**process, "user": None, "unit": None} == {
        "pid": int(pid), "type": "compute", "instance": None, "memory_bytes": 3 << 30, "utilization": 40,
        "source": "process-samples", "exists": True, "user": None, "unit": None, "command": told.name(), "kind": "pod",
        "pod_uid": TRAIN, "container_id": CONTAINER, "namespace": "research", "pod": "train", "container": "main",
        "reserved": True,
    }  # fmt: skip
    assert process["user"] == told.username()
    assert (first["uuid"], first["index"], first["utilization"], first["power_watts"]) == (A, 0, 40, 340)
    assert (first["memory_used_bytes"], first["source"]) == (3 << 30, "device-samples")
    assert second["partitions"] == [{**whole, "state": "free", "holders": [], **unread}]
    assert (second["uuid"], second["processes"]) == (B, [])
    assert (second["utilization"], second["memory_used_bytes"], second["power_watts"]) == (0, 0, 100)


@pytest.mark.root
def test_one_look_as_a_table_names_the_pod_of_each_process(node: Node, pods: tuple[str, ...]) -> None:
    pid, *settings = pods
    done = look(node, *settings)
    header, first, process, second = done.stdout.splitlines()
    assert header.split() == [
        "GPU", "MODEL", "UTIL", "MEMORY", "POWER", "SOURCE", "PARTITION", "SHARE", "PID", "RESERVED", "WHO",
    ]  # fmt: skip
    assert first.split()[-5:] == ["device-samples", "gpu", "1", "yes", "research/train/main"]
    assert " 40 %  3072 MiB  340 W  " in first
    assert process.split()[-4:] == ["process-samples", pid, "yes", "research/train/main"]
    assert second.split()[-3:] == ["gpu", "1", "-"]


@pytest.mark.root
def test_one_look_at_mig_devices_shows_each_with_its_holder_and_what_the_gpu_measures_of_it(node: Node) -> None:
    """Busy is GPM's; the host's process on a MIG device that a pod holds is no holder; what is left over is shown."""
    uuids = [f"MIG-0000000{n}-1111-4222-8333-444444444444" for n in range(2)]
    big = MigDevice(uuids[0], "NVIDIA H100 80GB HBM3 MIG 3g.40gb", 1, gpu_slices=3, compute_slices=3)
    small = MigDevice(uuids[1], "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 2)
    node.play(gpus=(replace(node.scenario.gpus[0], mig=(big, small)),))
    with FakeKubelet(node.folder / "kubelet.sock") as kubelet:
        kubelet.answer(list_answer([("research", "train", "main", [uuids[0]])]), allocatable_answer(uuids))
        settings = ("--pod-resources-socket", str(kubelet.path))
        (device,) = json.loads(look(node, *settings, "--format", "json").stdout)["devices"]
        table = look(node, *settings).stdout
    first, second, rest = device["partitions"]
    assert (first["id"], first["profile"], first["state"]) == (uuids[0], "3g.40gb", "held")
    assert [holder["pod"] for holder in first["holders"]] == ["train"]
    assert (first["source"], first["share"]) == ("gpm", 3 / 7)
    assert (second["id"], second["profile"], second["state"]) == (uuids[1], "1g.10gb", "free")
    assert (rest["id"], rest["state"], rest["share"]) == ("gpu", "remainder", 3 / 7)
    shown = next(line for line in table.splitlines() if " 3g.40gb " in line)
    assert shown.split()[-5:] == ["gpm", "3g.40gb", "0.429", "yes", "research/train/main"]


def test_one_look_that_cannot_see_everything_says_what_and_exits_1(node: Node) -> None:
    """Here the kubelet: its devices' partitions are unknown, which is not the same as free."""
    done = look(node, "--pod-resources-socket", str(node.folder / "nowhere.sock"), "--format", "json")
    assert done.returncode == 1
    assert [device["partitions"] for device in json.loads(done.stdout)["devices"]] == [None, None]
    assert "nowhere.sock" in done.stderr


def test_one_look_without_a_driver_is_empty_and_exits_1(node: Node) -> None:
    node.library_dir = node.folder
    done = look(node, "--pod-resources-socket", "off", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)["devices"]) == (1, [])
    assert "libnvidia-ml.so.1 not found" in done.stderr


def test_one_look_with_bad_settings_exits_2() -> None:
    lines = refused(*module("gputally.agent.main", "--once", "--format", "yaml"))
    assert any("yaml" in line for line in lines)


def test_one_look_can_be_interrupted_while_the_driver_hangs(node: Node) -> None:
    node.play(hangs=(Hang(),))
    command = module("gputally.agent.main", "--node", "n", "--once", "--pod-resources-socket", "off")
    with running(command, node.folder / "once.log", node.env) as once:
        child = wait_until(lambda: psutil.Process(once.process.pid).children(), 60, "the probe")[0]
        assert once.stop(signal.SIGINT) == 128 + signal.SIGINT
        wait_until(lambda: not is_alive(child), 60, "the probe's end")  # SIGKILL: the kernel needs a moment
        assert once.log == ""
