"""When the pods of a scenario begin and end."""

from collections.abc import Iterator
from dataclasses import dataclass

from gputally.agent.simulated.pattern import FOREVER_US, WEEK_US
from gputally.agent.simulated.scenario import Pod, PodRun


@dataclass(frozen=True, slots=True)
class Life:
    """One life of a pod on a node, over [start_us, end_us); None: it has no end."""

    node: str
    pod: Pod
    run: PodRun
    start_us: int
    end_us: int | None

    def ended_us(self, us: int) -> int | None:
        """When it ended, if that was not after `us`."""
        return self.end_us if self.end_us is not None and self.end_us <= us else None


def lives(pod: Pod, node: str, since_us: int, until_us: int) -> Iterator[Life]:
    """The lives of a pod that have begun by `until_us` and not ended before `since_us`; none begins before that."""
    present = pod.present
    found: set[str] = set()
    for us in sorted({since_us, max(since_us, present.from_us), *present.changes(since_us, until_us + 1)}):
        run = pod.run(us) if us <= until_us else None
        if run is not None and run.uid not in found:
            found.add(run.uid)
            yield Life(node, pod, run, max(run.start_us, since_us), _end(pod, us))


def _end(pod: Pod, us: int) -> int | None:
    """When the life that holds at `us` ends."""
    present = pod.present
    ends = [edge for edge in present.changes(us, us + WEEK_US) if not present.at(edge)]
    if present.until_us < FOREVER_US:
        ends.append(present.until_us)
    return min(ends, default=None)
