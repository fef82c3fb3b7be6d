"""Attempts: the pods of a workload that were there together, told from those that did its work again. Pure.

The platform's own count decides. Where it has none, pods that take over a place (a rank, or a pod's name) from one that
has ended do its work again: alone, while others go on, such a pod is a restart within the attempt; where none of the
others goes on, a new attempt begins with it. Pods that have no place of their own are replicas, and in no attempt:
nobody can say which of them replaced which.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from gputally.collector.jobs.pod import JobPod, Outcome, Slot

OVERLAP_US = 300_000_000  # pods that end, at the latest so long after others have begun, did not work beside them


@dataclass(frozen=True, slots=True)
class Attempt:
    """Pods that were there together; `number` is the platform's, or counts from 1 within the run. By their start."""

    run: str | None
    number: int
    pods: tuple[JobPod, ...]

    @property
    def start_us(self) -> int:
        """When its first pod began to hold GPUs."""
        return min(pod.start_us for pod in self.pods)

    @property
    def end_us(self) -> int | None:
        """When the last of its pods ended; None while one lives."""
        return None if self.outcome is Outcome.RUNNING else max(pod.until_us for pod in self.pods)

    @property
    def outcome(self) -> Outcome:
        """Running while a pod lives; failed if one did; succeeded if one did and none failed."""
        there = {pod.outcome for pod in self.pods}
        order = (Outcome.RUNNING, Outcome.FAILED, Outcome.SUCCEEDED)
        return next((one for one in order if one in there), Outcome.ENDED)

    @property
    def restarts(self) -> int:
        """Pods that took over a place while others went on."""
        return sum(len(_handed_over(of_slot)) for of_slot in _by_slot(self.pods).values())


def attempts_of(pods: Iterable[JobPod]) -> tuple[Attempt, ...]:
    """The attempts by run and start, each pod in one; none where the pods are replicas."""
    ordered = sorted(pods, key=_order)
    if not _have_places(ordered):
        return ()
    by_run = sorted(ordered, key=lambda pod: pod.run or "")
    found = [_of_run([*of_run]) for _, of_run in groupby(by_run, key=lambda pod: pod.run or "")]
    return tuple(sorted((one for of_run in found for one in of_run), key=lambda one: (one.start_us, one.run or "")))


def _have_places(pods: Sequence[JobPod]) -> bool:
    if any(pod.rank is not None or pod.attempt is not None for pod in pods):
        return True
    return any(_handed_over(of_slot) for of_slot in _by_slot(pods).values())


def _by_slot(pods: Iterable[JobPod]) -> dict[Slot, list[JobPod]]:
    found: dict[Slot, list[JobPod]] = defaultdict(list)
    for pod in pods:
        found[pod.slot].append(pod)
    return found


def _handed_over(of_slot: Sequence[JobPod]) -> list[JobPod]:
    """The pods of one place, by their start, that came after another had ended."""
    found: list[JobPod] = []
    first: JobPod | None = None  # of those before, the one that ended first
    for pod in of_slot:
        if first is not None and _over(first, pod):
            found.append(pod)
        if pod.outcome is not Outcome.RUNNING and (first is None or pod.until_us < first.until_us):
            first = pod
    return found


def _of_run(pods: Sequence[JobPod]) -> list[Attempt]:
    if any(pod.attempt is not None for pod in pods):
        numbered = _numbered(pods)
    else:
        numbered = dict(enumerate(_in_order(pods), start=1))
    return [Attempt(pods[0].run, number, tuple(found)) for number, found in numbered.items()]


def _numbered(pods: Sequence[JobPod]) -> dict[int, list[JobPod]]:
    """By the platform's count; a pod without a number belongs to the attempt that was begun last before it."""
    first = min(pod.attempt for pod in pods if pod.attempt is not None)
    found: dict[int, list[JobPod]] = {}
    latest = first
    for pod in pods:
        latest = latest if pod.attempt is None else max(latest, pod.attempt)
        found.setdefault(latest if pod.attempt is None else pod.attempt, []).append(pod)
    return dict(sorted(found.items()))


def _in_order(pods: Sequence[JobPod]) -> list[list[JobPod]]:
    """By who takes over from whom; pods that began a little before the one that shows it belong to the new attempt."""
    found: list[list[JobPod]] = [[]]
    places: set[Slot] = set()
    for pod in pods:
        if pod.slot in places:
            before = [other for other in found[-1] if not _begins_with(other, pod)]
            if _takes_over(before, pod):
                found[-1:] = [before, [other for other in found[-1] if _begins_with(other, pod)]]
                places = {other.slot for other in found[-1]}
        found[-1].append(pod)
        places.add(pod.slot)
    return found


def _takes_over(before: Sequence[JobPod], pod: JobPod) -> bool:
    """Whether a pod does the work of one of those before it again, and none of them goes on."""
    return any(other.slot == pod.slot for other in before) and all(_over(other, pod) for other in before)


def _begins_with(other: JobPod, pod: JobPod) -> bool:
    """Whether a pod has only just begun when another begins, and goes on."""
    return other.start_us > pod.start_us - OVERLAP_US and not _over(other, pod)


def _over(other: JobPod, pod: JobPod) -> bool:
    """Whether a pod had ended when another began, or ended soon after it."""
    return other.outcome is not Outcome.RUNNING and other.until_us <= pod.start_us + OVERLAP_US


def _order(pod: JobPod) -> tuple[int, str, str]:
    return pod.start_us, pod.name, pod.uid
