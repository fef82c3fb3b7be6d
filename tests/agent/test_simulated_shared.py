"""Shared simulated GPUs: replicas, MIG devices and MPS answer as real ones do, and the accounting settles them."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from tests import scenario_truth

from gputally.accounting.invariants import violations
from gputally.accounting.line import Line
from gputally.accounting.states import OwnerKind, Reason, Source
from gputally.agent.reservations.device_id import parse_id
from gputally.agent.sample import ProcessKind
from gputally.agent.simulated.cluster import SimulatedKubelet, SimulatedPods
from gputally.agent.simulated.gpus import SimulatedGpus
from gputally.agent.simulated.scenario import Scenario
from gputally.agent.simulated.scenario_file import ScenarioError, parse
from gputally.demo.backfill import live_through

MINUTE_US = 60_000_000
START_US = 1_793_577_600_000_000  # 2026-11-02T00:00:00Z, a Monday
UUIDS = [f"GPU-00000000-0000-4000-8000-00000000000{i}" for i in range(3)]
REPLICAS, MIG, MPS = UUIDS


def gpu(uuid: str, **more: Any) -> dict[str, Any]:
    return {"uuid": uuid, "model": "T", "idle_watts": 70, "max_watts": 700, "memory_gib": 80, **more}


def pod(name: str, *gpus: Any, **more: Any) -> dict[str, Any]:
    return {"namespace": name, "name": name, "containers": [{"name": "c", "gpus": list(gpus)}], **more}


def work(name: str, gpu: Any, percent: int) -> dict[str, Any]:
    return {"container": f"{name}/{name}/c", "gpus": [gpu], "busy_percent": percent, "memory_gib": 3}


SHARED: dict[str, Any] = {
    "gpus": [
        gpu(REPLICAS, replicas=4),
        gpu(MIG, mig=["3g.40gb", {"profile": "2g.20gb", "replicas": 2}, "1g.10gb+me"]),
        gpu(MPS, replicas=2, mps=True),
    ],
    "pods": [
        pod("a", {"gpu": 0, "replicas": 1}, {"gpu": 1, "mig": 0}),
        pod("b", {"gpu": 0, "replicas": 2}, {"gpu": MIG, "mig": 1, "replicas": 1}),
        pod("m", {"gpu": 2, "replicas": 1}),
    ],
    "workloads": [
        work("a", 0, 20),
        work("b", 0, 70),
        work("a", {"gpu": 1, "mig": 0}, 50),
        work("b", {"gpu": 1, "mig": 1}, 30),
        work("m", 2, 30),
    ],
}


@dataclass
class Clock:
    now_us: int = START_US

    def __call__(self) -> int:
        return self.now_us


def scenario(**changes: Any) -> Scenario:
    return parse(json.dumps({**SHARED, **changes}), START_US)


def mistakes(**changes: Any) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        scenario(**changes)
    return list(caught.value.mistakes)


@pytest.fixture(scope="module")
def minute() -> dict[str, list[Line]]:
    """The lines of one minute, by GPU."""
    windows = [
        window for some in live_through(scenario(), "c", "n", START_US, START_US + 3 * MINUTE_US) for window in some
    ]
    assert [text for window in windows for text in violations(window)] == []
    return {device.uuid: list(device.lines) for device in windows[1].devices}


def test_the_kubelet_lists_replicas_and_mig_devices_by_the_names_that_plugins_give_them() -> None:
    answer = SimulatedKubelet(scenario(), Clock(), Clock()).poll()
    three, two, one = (instance.info.uuid for instance in scenario().gpus[1].instances)
    assert [(each.pod, each.resource, each.device_ids) for each in answer.containers] == [
        ("a", "nvidia.com/gpu", (f"{REPLICAS}::0",)),
        ("a", "nvidia.com/mig-3g.40gb", (three,)),
        ("b", "nvidia.com/gpu", (f"{REPLICAS}::1", f"{REPLICAS}::2")),
        ("b", "nvidia.com/mig-2g.20gb", (f"{two}::0",)),
        ("m", "nvidia.com/gpu", (f"{MPS}::0",)),
    ]
    assert answer.allocatable is not None
    assert len(answer.allocatable) == 4 + (1 + 2 + 1) + 2
    assert ("nvidia.com/mig-1g.10gb.me", one) in answer.allocatable
    assert all(parse_id(device_id) for _, device_id in answer.allocatable)


def test_a_pod_asks_for_what_it_holds_by_resource() -> None:
    found = SimulatedPods(scenario(), Clock(), Clock()).of_name("b", "b")
    assert found is not None
    assert found.gpu_requests == (("nvidia.com/gpu", 2), ("nvidia.com/mig-2g.20gb", 1))


def test_a_partitioned_gpu_has_no_utilisation_and_its_mig_devices_have_averages() -> None:
    clock = Clock()
    driver = SimulatedGpus(scenario(), clock)
    driver.open()
    info = next(each for each in driver.devices() if each.uuid == MIG)
    assert (info.mig_enabled, info.slices, [each.slices for each in info.instances]) == (True, 7, [3, 2, 1])
    first = driver.read(MIG)
    assert (first.busy, first.utilization_percent, first.busy_source) == (None, None, Source.NONE)
    assert [(each.gpm, each.gpm_supported) for each in first.instances] == [(None, True)] * 3, "the first is none yet"
    clock.now_us += MINUTE_US
    second = driver.read(MIG).instances
    assert [each.gpm.graphics if each.gpm else None for each in second] == [500_000, 300_000, 0]
    assert [(each.memory_used_bytes, each.memory_total_bytes) for each in second[:1]] == [(3 << 30, 40 << 30)]


def test_without_gpm_a_mig_device_says_that_it_never_will_be_measured() -> None:
    gpus = [SHARED["gpus"][0], {**SHARED["gpus"][1], "gpm": False}, SHARED["gpus"][2]]
    clock = Clock()
    driver = SimulatedGpus(scenario(gpus=gpus), clock)
    for _ in range(2):
        assert {(each.gpm, each.gpm_supported) for each in driver.read(MIG).instances} == {(None, False)}
        clock.now_us += MINUTE_US


def test_processes_stand_on_the_lists_of_what_they_run_on() -> None:
    clock = Clock()
    driver = SimulatedGpus(scenario(), clock)
    driver.open()
    clock.now_us += MINUTE_US
    listed = {uuid: driver.read_processes(uuid) for uuid in UUIDS}
    three, two, _ = (instance.info.uuid for instance in scenario().gpus[1].instances)
    assert [each.instance for each in listed[MIG].processes or ()] == [three, two]
    assert [each.kind for each in listed[MPS].processes or ()] == [ProcessKind.MPS]
    assert [len(each.busy or ()) for each in listed.values()] == [2, 0, 0]
    assert (listed[MIG].busy, listed[MPS].busy) == (None, None), "nobody can tell per process"


def test_the_power_of_a_partitioned_gpu_is_that_of_its_parts() -> None:
    found = scenario().gpus[1]
    assert found.busy_percent(START_US) == (3 * 50 + 2 * 30) // 7
    grown = found.energy_mj(START_US + MINUTE_US) - found.energy_mj(START_US)
    assert grown == (70_000 * 700 + 630_000 * (3 * 50 + 2 * 30)) * 60 // 700


def test_replicas_are_used_up_to_their_share_and_the_rest_is_free(minute: dict[str, list[Line]]) -> None:
    found = {line.key.owner.namespace: line for line in minute[REPLICAS]}
    assert (found["a"].used_us, found["a"].idle_us, found["a"].burst_us) == (12_000_000, 3_000_000, 0)
    assert (found["b"].used_us, found["b"].idle_us, found["b"].burst_us) == (30_000_000, 0, 12_000_000)
    assert found[""].unallocated_us == 15_000_000


def test_mig_devices_are_used_by_their_slices_and_the_remainder_says_so(minute: dict[str, list[Line]]) -> None:
    found = {line.key.owner.namespace: line for line in minute[MIG] if line.key.owner.kind is OwnerKind.POD}
    assert (found["a"].used_us, found["a"].idle_us) == (12_857_143, 12_857_143)
    assert (found["b"].capacity_us, found["b"].source) == (8_571_428, Source.ESTIMATED_SHARE)
    (remainder,) = (line for line in minute[MIG] if line.key.reason is Reason.MIG_REMAINDER)
    assert remainder.unallocated_us == 8_571_429


def test_an_mps_client_has_what_the_gpu_was_busy_up_to_its_share(minute: dict[str, list[Line]]) -> None:
    (line,) = (line for line in minute[MPS] if line.key.owner.kind is OwnerKind.POD)
    assert (line.used_us, line.idle_us, line.source) == (18_000_000, 12_000_000, Source.ESTIMATED_SHARE)


def test_what_is_held_is_what_the_file_says(minute: dict[str, list[Line]]) -> None:
    truth = scenario_truth.held_us(scenario(), START_US, START_US + MINUTE_US)
    for (namespace, _, _), held_us in truth.items():
        lines = [line for uuid in UUIDS for line in minute[uuid] if line.key.owner.namespace == namespace]
        assert abs(sum(line.capacity_us for line in lines) - held_us) <= len(lines)


def test_a_pod_keeps_its_replicas_and_one_that_is_gone_leaves_them_to_others() -> None:
    """The lowest that nobody else has at any of its times: ids of what runs never change."""
    by_day, by_night = {"hours": ["08:00-18:00"]}, {"hours": ["18:00-08:00"]}
    pods = [
        pod("day", {"gpu": 0, "replicas": 3}, when=by_day),
        pod("night", {"gpu": 0, "replicas": 2}, when=by_night),
        pod("ever", {"gpu": 0, "replicas": 1}),
    ]
    found = {one.name: one.containers[0].gpus for one in scenario(pods=pods, workloads=[]).pods}
    assert found == {
        "day": tuple(f"{REPLICAS}::{number}" for number in (0, 1, 2)),
        "night": tuple(f"{REPLICAS}::{number}" for number in (0, 1)),
        "ever": (f"{REPLICAS}::3",),
    }


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (0, 'pods[0].containers[0].gpus[0]: is divided into 4 replicas: say how many, as {"gpu": 0, "replicas": 1}'),
        (1, 'pods[0].containers[0].gpus[0]: is partitioned: say which of its MIG devices, as {"gpu": 1, "mig": 0}'),
        ({"gpu": 0, "replicas": 5}, "pods[0].containers[0].gpus[0].replicas: should be between 1 and 4, is 5"),
        ({"gpu": 1, "mig": 0, "replicas": 1}, "pods[0].containers[0].gpus[0]: is not divided into replicas"),
        ({"gpu": 1, "mig": 1}, "pods[0].containers[0].gpus[0]: is divided into 2 replicas"),
        ({"gpu": 1, "mig": 3}, "pods[0].containers[0].gpus[0].mig: there is no MIG device 3; the GPU has 3"),
        ({"gpu": 0, "mig": 0}, "pods[0].containers[0].gpus[0].mig: there is no MIG device 0; the GPU has 0"),
        ({"gpu": 7, "replicas": 1}, "pods[0].containers[0].gpus[0].gpu: there is no GPU 7; the file has 3"),
        ({"replicas": 1}, "pods[0].containers[0].gpus[0]: `gpu` is missing"),
        ({"gpu": 0, "replica": 1}, "pods[0].containers[0].gpus[0].replica: there is no such field; did you mean"),
    ],
)
def test_a_part_that_is_not_there_is_a_mistake_with_its_place(held: Any, message: str) -> None:
    assert any(line.startswith(message) for line in mistakes(pods=[pod("a", held)], workloads=[]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mig": []}, "gpus[0].mig: names no MIG device"),
        ({"mig": ["4g.40gb", "4g.40gb"]}, "gpus[0].mig: its MIG devices have 8 compute slices, the GPU has 7"),
        ({"mig": ["2g.20gb"], "slices": 1}, "gpus[0].mig: its MIG devices have 2 compute slices, the GPU has 1"),
        ({"mig": ["1g.100gb"]}, "gpus[0].mig: its MIG devices have more memory than the GPU"),
        ({"mig": ["big"]}, "gpus[0].mig[0]: 'big' is not a profile such as 1g.10gb or 3g.40gb"),
        ({"mig": [{"replicas": 2}]}, "gpus[0].mig[0]: `profile` is missing"),
        ({"mig": ["1g.10gb"], "replicas": 2}, "gpus[0]: `replicas` of a partitioned GPU stand with its MIG devices"),
        ({"mig": ["1g.10gb"], "mps": True}, "gpus[0]: `mps` on a partitioned GPU is not simulated"),
        ({"replicas": 1}, "gpus[0].replicas: should be between 2 and 128, is 1"),
        ({"slices": 7}, "gpus[0]: `slices` is for a GPU with `mig`"),
    ],
)
def test_a_gpu_that_cannot_be_so_is_a_mistake_with_its_place(change: dict[str, Any], message: str) -> None:
    assert any(line.startswith(message) for line in mistakes(gpus=[gpu(MIG, **change)], pods=[], workloads=[]))


def test_more_replicas_than_there_are_is_a_mistake() -> None:
    pods = [pod("a", {"gpu": 0, "replicas": 3}), pod("b", {"gpu": 0, "replicas": 2})]
    assert mistakes(pods=pods, workloads=[]) == [
        "pods[1].containers[0].gpus[0]: of its 4 replicas 1 are free whenever the pod exists, not 2"
    ]


def test_a_mig_device_has_no_more_than_itself() -> None:
    loads = [*SHARED["workloads"], work("a", {"gpu": 1, "mig": 0}, 51)]
    assert mistakes(workloads=loads) == ["gpus[1].mig[0]: its workloads ask for 101 % at Thu 00:00:00 UTC"]


def test_a_process_runs_on_one_mig_device_only() -> None:
    load = {**work("a", 0, 1), "gpus": [{"gpu": 1, "mig": 0}, {"gpu": 1, "mig": 1}]}
    assert mistakes(workloads=[load]) == ["workloads[0].gpus: a process runs on one MIG device and on nothing else"]
