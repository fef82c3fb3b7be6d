"""The pages of workloads: names people know, in an order that money gives, and nothing that is not known."""

import re
import shutil
from pathlib import Path

import pytest
from fastapi import FastAPI
from tests.collector.api.fixtures import get
from tests.collector.jobs.test_job import book, hour, worker
from tests.collector.web.fixtures import HOUR_US, pages, text
from tests.collector.web.test_pages import words_of
from tests.watched_pods import failed, learn
from tests.windows import START_US

from gputally.collector.database.engine import open_database
from gputally.collector.jobs.course import course_of
from gputally.collector.jobs.pod import JobPod, Outcome
from gputally.collector.jobs.read_pods import JobName
from gputally.collector.jobs.wasted import Loss
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.read import Wasted
from gputally.collector.web.losses import losses
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


def test_the_longest_name_that_a_pod_may_have_can_be_asked_for(app: FastAPI) -> None:
    assert get(app, "/workload", namespace="research", name="pod/" + "x" * 253).status_code == 200
    assert get(app, "/workload", namespace="research", name="x" * 513).status_code == 422


def test_a_workload_of_another_namespace_is_as_if_it_did_not_exist(guarded: FastAPI) -> None:
    found = [
        words_of(text(guarded, "/workload", "research", namespace="speech", name=name)).replace(name, "NAME")
        for name in ("notebook.kubeflow/ada", "job/none")
    ]
    assert found[0] == found[1]


def test_all_idle_time_stands_by_kind_and_by_workload(app: FastAPI) -> None:
    """On the overview, of a namespace and of a workload: the same figures, and their sum is the idle time."""
    overview = words_of(text(app, "/"))
    assert "What was wasted, and how" in overview
    (idle,) = re.findall(r"All idle time ([\d,.]+)", overview)
    assert idle in overview.partition("What was wasted")[0]
    lost = words_of(text(app, "/namespaces/playground"))
    one = words_of(text(app, "/workload", namespace="playground", name="pod/demo-1"))
    assert re.findall(r"All idle time ([\d,.]+)", lost) == re.findall(r"All idle time ([\d,.]+)", one) == ["391.9"]


def test_failed_attempts_and_stragglers_stand_apart_from_the_sums(migrated_file: Path, tmp_path: Path) -> None:
    shutil.copyfile(migrated_file, tmp_path / "ledger.sqlite")
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    windows = [
        one for at in (0, 1) for one in hour(at, worker(0, at)) + hour(at, worker(1, at), node="node-b", used=20)
    ]
    book(engine, *windows)
    for rank in range(2):
        for at, status in enumerate((failed(), None)):
            label = {"uid": f"uid-{rank}-{at}", "rank": rank, "role": "worker", "status": status}
            learn(engine, f"bert-worker-{rank}", "PyTorchJob.kubeflow/bert", **label)
    with pages(engine, now_us=lambda: START_US + 2 * HOUR_US) as app:
        name = "pytorchjob.kubeflow/bert"
        page = words_of(text(app, "/workload", namespace="search", name=name, month="2026-07"))
        space = words_of(text(app, "/namespaces/search", month="2026-07"))
    engine.dispose()
    assert "failed after 1 h" in page
    assert re.search(r"failed attempts all time [a-z, ]+ 2.0 unpriced straggling [a-z ]+ 0.7 unpriced", page)
    assert re.search(r"pytorchjob.kubeflow/bert failed attempts all time [a-z, ]+ 2.0 unpriced", space)


def test_a_cost_of_a_part_of_the_time_says_what_it_leaves_out() -> None:
    """Half of the time has no price: a cost alone would look like all of it."""
    some, none = Wasted(2 * HOUR_US, 0, 3_600_000_000 * 10**9, HOUR_US), Wasted(HOUR_US, 0, None, HOUR_US)
    lost = [Loss(JobName("east", "search", "job/a"), "engines", kind, of) for kind, of in wasted(some, none).items()]
    found = losses(wasted(some, none), lost, "USD", None)
    assert [(one.cost, one.unpriced) for one in found.kinds] == [("1.00", "1.0 h unpriced"), ("unpriced", "")]
    assert [one.unpriced for one in found.rows] == ["1.0 h unpriced", ""]
    assert (found.cost, found.unpriced) == ("1.00", "2.0 h unpriced")


def wasted(*of: Wasted) -> dict[Kind, Wasted]:
    return dict(zip(Kind, of, strict=False))


def test_what_a_workload_is_made_of_is_said_in_words() -> None:
    def pods(count: int, rank: bool, outcome: Outcome = Outcome.ENDED) -> list[JobPod]:
        return [
            JobPod(f"p-{at}", str(at), (f"n-{at % 2}",), at, at + 1, outcome, rank=at if rank else None)
            for at in range(count)
        ]

    assert size(course_of(pods(1, True))) == "1 pod on 1 node"
    assert size(course_of(pods(8, True))) == "8 ranks on 2 nodes"
    assert size(course_of(pods(8, False))) == "8 pods on 2 nodes, one at a time"
    assert size(course_of(pods(8, False, Outcome.RUNNING))) == "8 pods on 2 nodes"
