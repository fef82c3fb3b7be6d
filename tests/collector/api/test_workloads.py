"""/api/v1/workloads and one workload: names, stories and figures that add up, for who may see them."""

import csv
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from tests.collector.api.fixtures import DAY, TOKENS, application, fill, get
from tests.watched_pods import learn

KEYS = ("namespace", "workload", "outcome", "ranks", "attempts", "idle_cost")


@pytest.fixture
def app(engine: Engine) -> Iterator[FastAPI]:
    fill(engine)
    learn(engine, "train-0", "PyTorchJob.kubeflow/bert", rank=0, role="master", attempt=3)
    with application(engine, TOKENS) as found:
        yield found


def test_workloads_with_their_story_and_figures(app: FastAPI) -> None:
    found = get(app, "/api/v1/workloads", "all", window=DAY).json()
    assert [[row[key] for key in KEYS] for row in found["rows"]] == [
        ["vision", "pod/serve-1", "running", None, None, "1.800000"],
        ["search", "pytorchjob.kubeflow/bert", "running", 1, 1, "1.800000"],
    ]
    assert sum(row["capacity_us"] for row in found["rows"]) == found["total"]["capacity_us"]
    bert = next(row for row in found["rows"] if row["namespace"] == "search")
    assert (bert["teams"], bert["rules"], bert["evidence"], bert["platform"]) == (
        ["engines"],
        ["test"],
        ["owner"],
        "kubeflow",
    )
    assert (bert["start"], bert["end"]) == ("2026-07-01T00:00:00+00:00", None)
    text = get(app, "/api/v1/workloads", "all", window=DAY, format="csv").text
    assert [row["teams"] for row in csv.DictReader(text.splitlines())] == ['["eyes"]', '["engines"]']


def test_one_workload_down_to_its_devices(app: FastAPI) -> None:
    asked = {"namespace": "search", "workload": "pytorchjob.kubeflow/bert", "window": DAY}
    (one,) = get(app, "/api/v1/workload", "all", **asked).json()["rows"]
    (attempt,) = one["attempts"]
    assert (attempt["number"], attempt["restarts"], one["replicas"]) == (3, 0, [])
    (pod,) = attempt["pods"]
    assert (pod["pod"], pod["rank"], [device["uuid"] for device in pod["devices"]]) == ("train-0", 0, ["GPU-0"])
    assert one["workload"]["capacity_us"] == attempt["capacity_us"] == pod["devices"][0]["capacity_us"]
    assert get(app, "/api/v1/workload", "all", **asked, cluster="west").json()["rows"] == []
    assert get(app, "/api/v1/workload", "all", namespace="search").status_code == 422


def test_who_sees_one_namespace_sees_its_workloads(app: FastAPI) -> None:
    found = get(app, "/api/v1/workloads", "search", window=DAY).json()
    assert [row["namespace"] for row in found["rows"]] == ["search"]
    asked = {"namespace": "vision", "workload": "pod/serve-1", "window": DAY}
    assert get(app, "/api/v1/workload", "search", **asked).json()["rows"] == []
    assert get(app, "/api/v1/workload", "none", **asked).json()["total_rows"] == 0
