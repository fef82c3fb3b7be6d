"""Pods of workloads, in minutes, for tests of their story."""

from dataclasses import replace
from typing import Any

from gputally.collector.jobs.pod import JobPod, Outcome

MINUTE_US = 60_000_000


def held(name: str, first: int, last: int, outcome: Outcome = Outcome.ENDED, **fields: Any) -> JobPod:
    """A pod that held GPUs between two minutes."""
    bare = JobPod(name, f"{name}@{first}", ("node-a",), first * MINUTE_US, last * MINUTE_US, outcome)
    return replace(bare, **fields)


def gang(ranks: int, first: int, last: int, outcome: Outcome = Outcome.ENDED, **fields: Any) -> list[JobPod]:
    """Workers with ranks, each with the name of its rank on a node of its own."""
    return [
        held(f"bert-worker-{rank}", first, last, outcome, rank=rank, role="worker", nodes=(f"node-{rank}",), **fields)
        for rank in range(ranks)
    ]
