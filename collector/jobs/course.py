"""The course of a workload: when it began and ended and how, and how many took part. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gputally.collector.jobs.attempts import Attempt, attempts_of
from gputally.collector.jobs.pod import JobPod, Outcome


@dataclass(frozen=True, slots=True)
class Course:
    """Of those pods that had time in a period; they may have begun before it, and go on after it.

    `end_us` is None while a pod lives. `ranks` is None where no pod has one. `at_once` is the most pods at a time; one
    that takes over another's place is not counted beside it. `attempts` is empty where the pods are replicas.
    """

    start_us: int
    end_us: int | None
    outcome: Outcome
    ranks: int | None
    nodes: int
    pods: int
    at_once: int
    attempts: tuple[Attempt, ...]

    @property
    def restarts(self) -> int | None:
        """Pods that took over a place while others went on; None where the pods are replicas."""
        return sum(one.restarts for one in self.attempts) if self.attempts else None

    @property
    def runs(self) -> int | None:
        """How many runs its platform tells apart, or how often it was made; None where nothing tells."""
        return len({one.run for one in self.attempts if one.run is not None}) or None


def course_of(pods: Sequence[JobPod]) -> Course:
    """The course of a workload of at least one pod."""
    attempts = attempts_of(pods)
    outcome = _outcome(pods, attempts)
    return Course(
        min(pod.start_us for pod in pods),
        None if outcome is Outcome.RUNNING else max(pod.until_us for pod in pods),
        outcome,
        ranks(pods),
        len({node for pod in pods for node in pod.nodes}),
        len(pods),
        most_at_once(pods),
        attempts,
    )


def ranks(pods: Iterable[JobPod]) -> int | None:
    """How many places there are that have a rank; None where none has. A rank is one of its role and replica."""
    return len({(pod.role, pod.replica, pod.rank) for pod in pods if pod.rank is not None}) or None


def most_at_once(pods: Iterable[JobPod]) -> int:
    """The most places that were taken at a time."""
    edges = [(pod.start_us, True, pod.slot) for pod in pods]
    edges += [(pod.end_us, False, pod.slot) for pod in pods if pod.end_us is not None]
    taken: Counter[object] = Counter()
    most = 0
    for _, begins, slot in sorted(edges, key=lambda edge: edge[:2]):  # who ends is gone when another begins
        taken[slot] += 1 if begins else -1
        if not taken[slot]:
            del taken[slot]
        most = max(most, len(taken))
    return most


def _outcome(pods: Sequence[JobPod], attempts: Sequence[Attempt]) -> Outcome:
    """Of the attempt that was begun last; of replicas, the one that ended last speaks for all."""
    if any(pod.outcome is Outcome.RUNNING for pod in pods):
        return Outcome.RUNNING
    return attempts[-1].outcome if attempts else max(pods, key=lambda pod: (pod.until_us, pod.name)).outcome
