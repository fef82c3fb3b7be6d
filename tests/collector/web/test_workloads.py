"""The pages of workloads: names people know, in an order that money gives, and nothing that is not known."""

import re

import pytest
from fastapi import FastAPI
from tests.collector.api.fixtures import get
from tests.collector.web.fixtures import text
from tests.collector.web.test_pages import words_of

from gputally.collector.jobs.course import course_of
from gputally.collector.jobs.pod import JobPod, Outcome
from gputally.collector.web.work import size


def names(html: str) -> list[str]:
    return re.findall(r'<a href="/workload\?[^"]*">([^<]*)</a>', html)


def test_the_dearest_idle_workload_comes_first_and_what_has_no_price_last(app: FastAPI) -> None:
    assert names(text(app, "/workloads")) == [
        *("jobset/pretrain-llm", "inferenceservice.kserve/chat", "pod/demo-1", "pod/embed-0"),
        *("pytorchjob.kubeflow/resnet", "pod/trial-5", "notebook.kubeflow/ada"),
    ]


def test_workloads_are_sorted_by_a_heading_and_chosen_by_namespace_or_team(app: FastAPI) -> None:
    assert names(text(app, "/workloads", sort="name"))[0] == "inferenceservice.kserve/chat"
    assert names(text(app, "/workloads", namespace="speech")) == ["notebook.kubeflow/ada"]
    assert names(text(app, "/workloads", team="language")) == ["jobset/pretrain-llm", "notebook.kubeflow/ada"]
    assert get(app, "/workloads", sort="price").status_code == 422


def test_one_workload_says_how_it_is_known_and_what_it_is_made_of(app: FastAPI) -> None:
    page = words_of(text(app, "/workload", namespace="research", name="jobset/pretrain-llm"))
    assert "1 pod on 1 node Running for" in page
    assert "Known: rule test; by the chain of owner references." in page
    assert "attempt 2 1 rank on 1 node" in page
    assert "pretrain-llm-0 replica 0, rank 0, 8 GPUs on gpu-2" in page
    assert page.count("held by pretrain-llm-0") == 8
    unknown = words_of(text(app, "/workload", namespace="playground", name="pod/demo-1"))
    assert "nothing is known of its pod but its name" in unknown
    assert "Attempts" not in unknown


@pytest.mark.parametrize("asked", [{"namespace": "research"}, {"name": "x"}, {"namespace": "a", "name": ""}])
def test_a_workload_has_a_namespace_and_a_name(app: FastAPI, asked: dict[str, str]) -> None:
    assert get(app, "/workload", **asked).status_code == 422


def test_a_workload_of_another_namespace_is_as_if_it_did_not_exist(guarded: FastAPI) -> None:
    found = [
        words_of(text(guarded, "/workload", "research", namespace="speech", name=name)).replace(name, "NAME")
        for name in ("notebook.kubeflow/ada", "job/none")
    ]
    assert found[0] == found[1]


def test_what_a_workload_is_made_of_is_said_in_words() -> None:
    def pods(count: int, rank: bool, outcome: Outcome = Outcome.ENDED) -> list[JobPod]:
        return [
            JobPod(f"p-{at}", str(at), (f"n-{at % 2}",), at, at + 1, outcome, rank=at if rank else None)
            for at in range(count)
        ]

    assert size(course_of(pods(1, True))) == "1 pod on 1 node"
    assert size(course_of(pods(8, True))) == "8 ranks on 2 nodes"
    assert size(course_of(pods(8, False))) == "8 pods on 2 nodes, at most 1 at a time"
    assert size(course_of(pods(8, False, Outcome.RUNNING))) == "8 pods on 2 nodes"
