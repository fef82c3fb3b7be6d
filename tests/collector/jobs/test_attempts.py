"""Attempts and restarts: who takes over whose place, who goes on meanwhile, and what nobody can tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.jobs.stories import gang, held

from gputally.collector.jobs.attempts import Attempt, attempts_of
from gputally.collector.jobs.pod import JobPod, Outcome

FAILED, RUNNING, DONE = Outcome.FAILED, Outcome.RUNNING, Outcome.SUCCEEDED


def story(pods: list[JobPod]) -> list[tuple[int, int, int, str]]:
    """Number, pods, restarts and outcome of each attempt."""
    return [(one.number, len(one.pods), one.restarts, one.outcome.value) for one in attempts_of(pods)]


def test_a_gang_that_begins_again_as_a_whole_is_another_attempt() -> None:
    pods = gang(8, 0, 60, FAILED) + gang(8, 62, 90, FAILED) + gang(8, 95, 300, DONE)
    assert story(pods) == [(1, 8, 0, "failed"), (2, 8, 0, "failed"), (3, 8, 0, "succeeded")]


def test_a_rank_that_comes_again_while_others_go_on_is_a_restart() -> None:
    again = held("bert-worker-1", 65, 300, rank=1, role="worker")
    pods = [*gang(1, 0, 300), held("bert-worker-1", 0, 60, FAILED, rank=1, role="worker"), again]
    assert story(pods) == [(1, 3, 1, "failed")]


def test_a_pod_that_follows_before_the_last_of_the_others_is_gone_begins_the_next_attempt() -> None:
    """Those that were stopped have half a minute to end, and windows end at whole minutes."""
    first = [held("bert-0", 0, 58, FAILED, rank=0), held("bert-1", 0, 62, rank=1)]
    second = [held("bert-0", 59, 100, RUNNING, rank=0), held("bert-1", 63, 100, RUNNING, rank=1)]
    assert story(first + second) == [(1, 2, 0, "failed"), (2, 2, 0, "running")]


def test_a_larger_next_attempt_has_its_new_ranks_in_it_even_where_they_began_first() -> None:
    first = gang(2, 0, 60)
    second = [*gang(2, 63, 200), held("bert-worker-2", 62, 200, rank=2, role="worker")]
    assert [len(one.pods) for one in attempts_of(first + second)] == [2, 3]


def test_more_or_fewer_ranks_of_an_elastic_job_are_one_attempt() -> None:
    assert story(gang(4, 0, 300) + gang(8, 100, 200)[4:]) == [(1, 8, 0, "ended")]


def test_a_pod_of_one_name_that_fails_quickly_again_and_again_makes_an_attempt_of_each() -> None:
    assert [one.number for one in attempts_of([held("train", at * 2, at * 2 + 1, FAILED) for at in range(5)])] == [
        *(1, 2, 3, 4, 5)
    ]


def test_replicas_are_not_attempts() -> None:
    """Names that never come again, and no rank: nobody can say which of them replaced which."""
    pods = [held(f"web-{at}", at * 60, at * 60 + 60, FAILED) for at in range(4)]
    assert attempts_of(pods) == ()


def test_two_pods_of_one_rank_that_are_there_together_are_not_one_after_the_other() -> None:
    pods = [held("a", 0, 100, rank=0), held("b", 10, 90, rank=0), held("c", 20, 80, rank=1)]
    assert story(pods) == [(1, 3, 0, "ended")]


def test_the_platforms_count_comes_first() -> None:
    """A JobSet counts from 0; within its attempt a rank may come again. The driver has no number."""
    pods = [*gang(2, 0, 60, attempt=0), *gang(2, 61, 90, attempt=1), held("bert-worker-0", 95, 99, rank=0, attempt=1)]
    driver = held("driver", 70, 80)
    assert [(one.number, len(one.pods)) for one in attempts_of([*pods, driver])] == [(0, 2), (1, 4)]


def test_runs_have_attempts_of_their_own() -> None:
    """A DAG's task of yesterday is not tried again by the one of today."""
    pods = [
        held("extract", day * 1440, day * 1440 + 30 + at * 40, run=f"run-{day}", attempt=at + 1)
        for day in range(3)
        for at in range(2 if day == 1 else 1)
    ]
    assert [(one.run, one.number) for one in attempts_of(pods)] == [
        *(("run-0", 1), ("run-1", 1), ("run-1", 2), ("run-2", 1))
    ]
    named = [held("nightly", day * 1440, day * 1440 + 30, run=f"run-{day}", rank=0) for day in range(3)]
    assert [(one.run, one.number) for one in attempts_of(named)] == [("run-0", 1), ("run-1", 1), ("run-2", 1)]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([DONE, FAILED, RUNNING], RUNNING),
        ([DONE, FAILED, Outcome.ENDED], FAILED),
        ([DONE, Outcome.ENDED], DONE),  # the launcher succeeded, and its workers were removed
        ([Outcome.ENDED], Outcome.ENDED),
    ],
)
def test_an_attempt_ended_as_its_pods_did(outcomes: list[Outcome], expected: Outcome) -> None:
    pods = tuple(held(f"w-{at}", 0, 1, outcome) for at, outcome in enumerate(outcomes))
    assert Attempt(None, 1, pods).outcome is expected


def test_ten_thousand_pods_take_no_time_to_speak_of() -> None:
    executors = [held(f"exec-{at}", at, at + 20, rank=at) for at in range(10_000)]
    assert story(executors) == [(1, 10_000, 0, "ended")]


@st.composite
def pods(draw: st.DrawFn) -> JobPod:
    first = draw(st.integers(0, 60))
    return held(
        draw(st.sampled_from(["a", "b", "c"])),
        first,
        first + draw(st.integers(1, 30)),
        draw(st.sampled_from(Outcome)),
        uid=str(draw(st.integers())),
        rank=draw(st.sampled_from([None, None, 0, 1])),
        attempt=draw(st.sampled_from([None, None, None, 0, 1])),
        run=draw(st.sampled_from([None, "x"])),
    )


@given(st.lists(pods(), max_size=12, unique_by=lambda pod: pod.uid), st.randoms())
def test_every_pod_is_in_one_attempt_or_all_are_replicas_whatever_the_order(
    found: list[JobPod], random: object
) -> None:
    attempts = attempts_of(found)
    told = sorted((pod for one in attempts for pod in one.pods), key=lambda pod: pod.uid)
    assert told == (sorted(found, key=lambda pod: pod.uid) if attempts else [])
    assert all(one.pods for one in attempts)
    assert len({(one.run, one.number) for one in attempts}) == len(attempts)
    assert all(one.restarts < len(one.pods) for one in attempts)
    random.shuffle(found)  # type: ignore[attr-defined]
    assert attempts_of(found) == attempts
