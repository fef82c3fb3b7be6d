"""Scenario files: what they mean, and that all mistakes are told at once with their places."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gputally.agent.simulated.pattern import WEEK_US
from gputally.agent.simulated.scenario import FaultKind, InContainer, OnHost, OwnerObject
from gputally.agent.simulated.scenario_file import ScenarioError, load, parse

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "demo/scenarios").glob("*.json"))
START_US = 1_741_000_000_000_000
A, B = (f"GPU-00000000-0000-4000-8000-00000000000{i}" for i in (1, 2))
GOOD: dict[str, Any] = {
    "description": "two GPUs",
    "gpus": [
        {"uuid": A, "model": "NVIDIA Test", "idle_watts": 70.5, "max_watts": 700, "memory_gib": 80},
        {
            "uuid": B,
            "model": "NVIDIA Test",
            "idle_watts": 60,
            "max_watts": 400,
            "memory_gib": 40,
            "sample_buffer": False,
            "process_utilization": False,
            "energy_counter": False,
        },
    ],
    "pods": [
        {
            "namespace": "research",
            "name": "train",
            "uid": "0b1c",
            "labels": {"team": "x"},
            "annotations": {"step": "{day}"},
            "owners": [{"api": "batch/v1", "kind": "Job", "name": "train-{minute}", "labels": {"user": "y"}}],
            "fails": "OOMKilled",
            "when": {"from": "+10s", "until": "+100s"},
            "containers": [{"name": "main", "gpus": [0, B]}, {"name": "side"}],
        }
    ],
    "workloads": [
        {"container": "research/train/main", "gpus": [0], "pid": 77, "memory_gib": 1.5, "busy_percent": 40},
        {
            "host": {"user": "user-1000", "unit": "session-1.scope"},
            "gpus": [1],
            "busy_percent": {"00:00": 10},
            "when": {"until": "2025-03-03T12:00:00Z"},
        },
    ],
    "faults": [{"kind": "silent", "gpus": [1], "when": {"from": "+5s"}}],
}


def mistakes(document: object) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        parse(json.dumps(document), START_US)
    return list(caught.value.mistakes)


def changed(path: str, value: object) -> dict[str, Any]:
    """The good document with one value replaced; a path is written as in messages."""
    document = copy.deepcopy(GOOD)
    *way, last = (int(part) if part.isdigit() else part for part in re.findall(r"\w+", path))
    at: Any = document
    for step in way:
        at = at[step]
    at[last] = value
    return document


def test_a_good_file_becomes_what_it_says() -> None:
    scenario = parse(json.dumps(GOOD), START_US)
    one, two = scenario.gpus
    assert (one.info.uuid, one.info.index, one.idle_mw, one.max_mw, one.memory_bytes) == (
        A,
        0,
        70_500,
        700_000,
        80 << 30,
    )
    assert (one.sample_buffer, one.process_utilization, one.energy_counter) == (True, True, True)
    assert (two.sample_buffer, two.process_utilization, two.energy_counter) == (False, False, False)
    assert [container.gpus for container in scenario.pods[0].containers] == [(A, B), ()]
    assert scenario.pods[0].labels == (("team", "x"),)
    assert (scenario.pods[0].annotations, scenario.pods[0].fails) == ((("step", "{day}"),), "OOMKilled")
    assert scenario.pods[0].owners == (OwnerObject("batch/v1", "Job", "train-{minute}", (("user", "y"),)),)
    trainer, host = scenario.workloads
    assert one.workloads == (trainer,)
    assert two.workloads == (host,)
    assert trainer.place == InContainer(scenario.pods[0], "main")
    assert (trainer.pid, trainer.memory_bytes) == (77, 3 << 29)
    assert host.place == OnHost("user-1000", "session-1.scope")
    assert [fault.kind for fault in two.faults] == [FaultKind.SILENT]


def test_a_workload_runs_only_while_its_pod_exists() -> None:
    trainer = parse(json.dumps(GOOD), START_US).workloads[0]
    seconds = (9, 10, 99, 100)
    assert [trainer.busy.at(START_US + s * 1_000_000) for s in seconds] == [0, 40, 40, 0]
    assert [trainer.present.at(START_US + s * 1_000_000) for s in seconds] == [0, 1, 1, 0]


def test_a_start_in_the_file_wins_over_the_one_that_is_given() -> None:
    scenario = parse(json.dumps({"start": "2025-03-03T00:00:00Z", **GOOD}), START_US)
    assert scenario.pods[0].present.from_us == 1_740_960_010_000_000


def test_pids_are_given_out_in_the_order_of_the_file() -> None:
    assert [work.pid for work in parse(json.dumps(GOOD), START_US).workloads] == [77, 2002]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("gpus", [], "the file: there is no GPU"),
        ("gpus[0].uuid", "GPU-1", "gpus[0].uuid: 'GPU-1' does not look like"),
        ("gpus[1].uuid", A, f"gpus[1].uuid: {A} stands twice"),
        ("gpus[0].max_watts", 7, "gpus[0]: `max_watts` is lower than `idle_watts`"),
        ("gpus[0].memory_gb", 80, "gpus[0].memory_gb: there is no such field; did you mean `memory_gib`?"),
        ("gpus[0].sample_buffer", "no", "gpus[0].sample_buffer: should be true or false"),
        ("pods[0].containers[0].gpus[0]", 7, "pods[0].containers[0].gpus[0]: there is no GPU 7; the file has 2"),
        ("pods[0].containers[0].gpus[0]", [], "pods[0].containers[0].gpus[0]: there is no GPU []"),
        ("pods[0].containers[0].gpus", [0, A], "pods[0].containers[0].gpus: a GPU stands twice"),
        ("pods[0].containers[1].name", "main", "pods[0]: research/train/main stands twice"),
        ("pods[0].when.hours", ["08:00-18:00"], "pods[0].uid: a pod that comes back"),
        ("pods[0].owners[0]", {"kind": "Job"}, "pods[0].owners[0]: `api` is missing"),
        ("pods[0].labels.team", 1, "pods[0].labels.team: should be a text, is the number 1"),
        ("pods[0].when.until", "+9s", "pods[0].when: `until` is not after `from`"),
        ("pods[0].when.from", "noon", "pods[0].when.from: 'noon' is not an instant"),
        ("workloads[0].gpus", [], "workloads[0].gpus: names no GPU"),
        ("workloads[0].container", "a/b/c", "workloads[0].container: there is no container 'a/b/c'"),
        ("workloads[1].container", "research/train/main", "workloads[1]: should have either `container` or `host`"),
        ("workloads[1].pid", 77, "workloads[1].pid: pid 77 stands twice"),
        ("workloads[1].host", {}, "workloads[1].host: `user` is missing"),
        ("workloads[0].busy_percent", 101, "workloads[0].busy_percent: should be between 0 and 100, is 101"),
        ("workloads[0].busy_percent", 0.5, "workloads[0].busy_percent: should be a whole number"),
        ("workloads[0].busy_percent", {"noon": 1}, "workloads[0].busy_percent: 'noon'"),
        ("workloads[0].busy_percent", {"every": "1h"}, "workloads[0].busy_percent: `steps` is missing"),
        ("workloads[0].memory_gib", 81, "gpus[0]: its workloads hold 81 GiB at 2025-03-03 11:06:50 UTC, it has 80 GiB"),
        ("workloads[1].gpus", [0, 1], ""),
        ("faults[0].kind", "sad", "faults[0].kind: 'sad' is none of lost, silent"),
        ("start", "2025-03-03", "start: '2025-03-03' is not an instant"),
    ],
)
def test_a_mistake_is_told_with_its_place(path: str, value: object, message: str) -> None:
    if not message:
        parse(json.dumps(changed(path, value)), START_US)
        return
    assert any(line.startswith(message) for line in mistakes(changed(path, value)))


def test_workloads_that_want_more_than_one_gpu_has_are_a_mistake() -> None:
    document = changed("workloads[1].gpus", [0])
    document["workloads"][1]["busy_percent"] = {"00:00": 10, "mon 11:07": 61}
    assert mistakes(document) == ["gpus[0]: its workloads ask for 101 % at 2025-03-03 11:07:00 UTC"]


def test_all_mistakes_are_told_at_once() -> None:
    document = changed("gpus[0].idle_watts", -1)
    document["pods"][0]["name"] = ""
    document["workloads"][1]["when"] = {"hours": ["8-9"]}
    document["extra"] = 1
    assert [line.partition(":")[0] for line in sorted(mistakes(document))] == [
        "extra",
        "gpus[0].idle_watts",
        "pods[0].name",
        "workloads[0].container",
        "workloads[1].when.hours",
    ]


@pytest.mark.parametrize("value", [None, 3, [], "x", {"a": 1}, True], ids=str)
@pytest.mark.parametrize("path", ["gpus", "gpus[0]", "pods", "pods[0]", "workloads[0]", "faults", "pods[0].when"])
def test_a_value_of_a_wrong_kind_is_a_mistake_and_never_a_crash(path: str, value: object) -> None:
    if value == [] and path in {"pods", "faults"}:
        return
    assert mistakes(changed(path, value))


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_text_that_is_no_scenario_is_a_mistake(text: str) -> None:
    with pytest.raises(ScenarioError):
        parse(text, START_US)


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot read"):
        load(tmp_path / "none.json", START_US)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_scenarios_are_good_and_something_happens(path: Path) -> None:
    scenario = load(path, START_US)
    busy = sum(gpu.busy_integral(START_US, START_US + WEEK_US) for gpu in scenario.gpus)
    assert 0 < busy < 100 * WEEK_US * len(scenario.gpus)
    assert scenario.containers(START_US)


def test_the_shipped_scenarios_share_no_gpu() -> None:
    uuids = [gpu.info.uuid for path in SHIPPED for gpu in load(path, START_US).gpus]
    assert len(set(uuids)) == len(uuids) == 23


def test_the_example_of_the_documentation_is_good() -> None:
    text = (ROOT / "docs/scenarios.md").read_text(encoding="utf-8")
    examples = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert examples
    for example in examples:
        parse(example, START_US)
