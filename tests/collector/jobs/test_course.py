"""The course of a workload: begin, end, outcome, ranks, and how many there were at a time."""

import pytest
from tests.collector.jobs.stories import MINUTE_US, gang, held

from gputally.collector.jobs.course import course_of, most_at_once, ranks
from gputally.collector.jobs.pod import JobPod, Outcome, outcome_of

FAILED, RUNNING, DONE = Outcome.FAILED, Outcome.RUNNING, Outcome.SUCCEEDED


def test_a_job_is_as_long_as_its_attempts_and_ended_as_the_last_of_them() -> None:
    found = course_of(gang(8, 0, 60, FAILED) + gang(8, 62, 300, DONE))
    assert (found.start_us, found.end_us, found.outcome) == (0, 300 * MINUTE_US, DONE)
    assert (found.ranks, found.nodes, found.pods, found.at_once) == (8, 8, 16, 8)
    assert (len(found.attempts), found.restarts, found.runs) == (2, 0, None)


def test_what_runs_has_no_end() -> None:
    found = course_of([*gang(2, 0, 60, FAILED), held("bert-worker-0", 70, 90, RUNNING, rank=0, role="worker")])
    assert (found.end_us, found.outcome) == (None, RUNNING)


def test_of_replicas_the_one_that_ended_last_speaks() -> None:
    found = course_of([held("web-x", 0, 60, FAILED), held("web-y", 30, 90, DONE)])
    assert (found.outcome, found.attempts, found.restarts, found.ranks) == (DONE, (), None, None)


def test_ranks_of_two_roles_are_two() -> None:
    pods = [held("m", 0, 1, role="master", rank=0), held("w", 0, 1, role="worker", rank=0), held("x", 0, 1)]
    assert ranks(pods) == 2


def test_runs_are_counted_where_a_platform_tells_them() -> None:
    assert course_of([held("a", at, at + 1, run=f"r{at}", attempt=1) for at in range(3)]).runs == 3


@pytest.mark.parametrize(
    ("pods", "most"),
    [
        ([held("a", 0, 10), held("b", 10, 20)], 1),  # who ends makes room
        ([held("a", 0, 10), held("b", 5, 20), held("c", 6, 7)], 3),
        ([held("a", 0, 10, rank=0), held("a", 9, 20, rank=0), held("b", 0, 20, rank=1)], 2),
        ([held("a", 0, 10, RUNNING), held("b", 50, 60)], 2),
    ],
)
def test_who_takes_over_a_place_is_not_counted_beside_its_predecessor(pods: list[JobPod], most: int) -> None:
    assert most_at_once(pods) == most


@pytest.mark.parametrize(
    ("phase", "lives", "expected"),
    [
        ("Running", True, RUNNING),
        ("Succeeded", False, DONE),
        ("Failed", False, FAILED),
        ("Running", False, Outcome.ENDED),  # removed while it ran
        (None, False, Outcome.ENDED),
    ],
)
def test_how_a_pod_ended_is_what_the_api_said_last(phase: str | None, lives: bool, expected: Outcome) -> None:
    assert outcome_of(phase, lives=lives) is expected
