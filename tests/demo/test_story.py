"""The demo tells of every kind of waste, and of a gang that fails and waits: worked out from its scenarios alone."""

from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from tests.waste_model import shares_of
from tests.waste_month import held_by, lived

from gputally.agent.simulated.pattern import DAY_US
from gputally.agent.simulated.scenario import InContainer
from gputally.agent.simulated.scenario_file import load
from gputally.collector.waste.kind import Kind

SCENARIOS = Path(__file__).resolve().parents[2] / "demo" / "scenarios"
NODES = {path.stem: load(path, 0) for path in sorted(SCENARIOS.glob("*.json"))}
HOUR_US = DAY_US // 24
WEDNESDAY_US = 1_793_750_400_000_000  # 2026-11-04T00:00:00Z
SPAN = (WEDNESDAY_US, WEDNESDAY_US + 48 * HOUR_US)


@cache
def hours() -> dict[tuple[str, Kind], float]:
    """The idle GPU-hours of two days by pod, as the file names it, and kind; of whole GPUs."""
    found: dict[tuple[str, Kind], float] = defaultdict(float)
    for life, scenario in lived(NODES, *SPAN):
        ended = life.ended_us(SPAN[1]) is not None
        shares = shares_of(held_by(life, scenario, *SPAN), (lambda _: True) if ended else (lambda _: False))
        for kinds in shares.values():
            for kind, (us, _) in kinds.items():
                found[life.pod.name, kind] += us / HOUR_US
    return found


@pytest.mark.parametrize(
    ("pod", "kind", "at_least"),
    [
        ("segment-v2-master-0", Kind.OVER_ASKED, 7 * 48),  # one of eight GPUs is used
        ("features-system-container-impl", Kind.WAITING, 1),  # data is staged for an hour
        ("rollout-gpu-worker-f7t2c", Kind.AFTER, 6),  # three hours of each night
        ("jupyter-1004-0", Kind.FORGOTTEN, 7),  # since Thursday afternoon
        ("llm-pretrain-master-0", Kind.BETWEEN, 20),
        ("chat-predictor-7c9d8b6f5", Kind.WAITING, 0.1),  # a replica that comes by day loads its model
    ],
)
def test_each_kind_of_waste_has_its_example(pod: str, kind: Kind, at_least: float) -> None:
    assert hours()[pod, kind] >= at_least


def test_the_fine_tuning_fails_twice_and_then_succeeds() -> None:
    told = [
        (dict(life.pod.labels)["jobset.sigs.k8s.io/restart-attempt"], life.node, life.pod.fails)
        for life, _ in lived(NODES, *SPAN)
        if life.pod.name.startswith("finetune")
    ]
    assert sorted(told) == [
        *(("0", "node-d", "Error"), ("0", "node-e", "OOMKilled")),
        *(("1", "node-d", "Error"), ("1", "node-e", "Error")),
        *(("2", "node-d", ""), ("2", "node-e", "")),
    ]


def test_the_training_waits_for_one_of_its_ranks() -> None:
    busy = {
        load.place.pod.name: load.busy.integral(*SPAN) / (SPAN[1] - SPAN[0])
        for scenario in NODES.values()
        for load in scenario.workloads
        if isinstance(load.place, InContainer) and load.place.pod.name.startswith("llm-pretrain")
    }
    slow = busy.pop("llm-pretrain-worker-1")
    assert len(busy) == 2
    assert all(percent < slow - 15 for percent in busy.values())
