"""A pod of a workload, as far as it matters to the story of the whole."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

Slot: TypeAlias = tuple[str | int | None, ...]


class Outcome(StrEnum):
    """How something ended, or that it did not. `ended`: nobody saw how."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class JobPod:
    """A pod that held GPUs from `start_us` until `until_us`, microseconds since the epoch, by the ledger.

    `uid` is empty where its agent did not know it: then all pods of the name are one. `nodes` has one name; more only
    without a UID. `rank`, `replica`, `role`, `attempt` and `run` are as its platform tells; None is unknown. A run may
    also be the number of a workload among those that had its name. `reason` says why it failed.
    """

    name: str
    uid: str
    nodes: tuple[str, ...]
    start_us: int
    until_us: int
    outcome: Outcome
    reason: str | None = None
    role: str | None = None
    rank: int | None = None
    replica: int | None = None
    attempt: int | None = None
    run: str | None = None

    @property
    def slot(self) -> Slot:
        """Its place in the workload: pods of one slot that follow one another do the same work again."""
        if self.rank is not None:
            return self.run, self.role, self.replica, self.rank
        return self.run, self.name

    @property
    def end_us(self) -> int | None:
        """When it ended; None while it lives."""
        return None if self.outcome is Outcome.RUNNING else self.until_us


def outcome_of(phase: str | None, *, lives: bool) -> Outcome:
    """How a pod ended, by the last phase that the Kubernetes API showed."""
    if lives:
        return Outcome.RUNNING
    return {"Succeeded": Outcome.SUCCEEDED, "Failed": Outcome.FAILED}.get(phase or "", Outcome.ENDED)
