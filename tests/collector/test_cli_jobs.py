"""`gputally workloads list` and `job`: one job, one row, as a table and as the API's own JSON."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.collector.api.fixtures import fill
from tests.watched_pods import failed, learn
from typer.testing import CliRunner, Result

from gputally.collector.cli.workloads import app

JULY = ("--month", "2026-07")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with no setting of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("GPUTALLY_DATABASE_URL", "GPUTALLY_TIMEZONE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def url(engine: Engine, database_url: str) -> str:
    fill(engine)
    learn(engine, "train-0", "PyTorchJob.kubeflow/bert", rank=0, role="master", status=failed())
    return database_url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_the_dearest_idle_workload_comes_first(url: str) -> None:
    done = run("list", *JULY, "--database-url", url)
    assert [" ".join(line.split()) for line in done.stdout.splitlines()] == [
        "namespace workload ranks nodes runs attempts began ended GPU-hours used idle efficiency EUR idle EUR",
        "vision pod/serve-1 – 1 – – 2026-07-01 00:00 running 1.0 0.0 1.0 0 % 1.80 1.80",
        "search pytorchjob.kubeflow/bert 1 1 – 1 2026-07-01 00:00 2026-07-01 02:00 failed 2.0 1.5 0.5 75 % 7.20 1.80",
    ]
    only = run("list", *JULY, "--namespace", "search", "--sort", "name", "--database-url", url)
    assert len(only.stdout.splitlines()) == 2


def test_a_workload_is_told_with_its_attempts_and_pods(url: str) -> None:
    done = run("job", "search/pytorchjob.kubeflow/bert", *JULY, "--database-url", url)
    assert done.stdout.startswith("search/pytorchjob.kubeflow/bert in east\n  began ")
    assert "  rules     test\n" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines() if line][-4:] == ["attempt", "1", "pod", "train-0"]


def test_json_adds_up_and_tells_devices(url: str) -> None:
    listed = json.loads(run("list", *JULY, "--format", "json", "--database-url", url).stdout)
    assert sum(row["capacity_us"] for row in listed["rows"]) == listed["total"]["capacity_us"]
    one = json.loads(run("job", "vision/pod/serve-1", *JULY, "--format", "json", "--database-url", url).stdout)
    (detail,) = one["rows"]
    assert detail["workload"] == listed["rows"][0]
    assert [device["uuid"] for pod in detail["replicas"] for device in pod["devices"]] == ["GPU-1"]


def test_mistakes_are_told_at_once_and_what_is_not_there_is_said(url: str) -> None:
    done = run("job", "search", "--format", "yaml", "--month", "July", "--database-url", url)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 3)
    none = run("job", "search/job/x", *JULY, "--database-url", url)
    assert (none.exit_code, "no GPU time of such a workload" in none.stderr) == (1, True)
    assert run("list", "--month", "2026-08", "--database-url", url).stdout == "No GPU time of a pod is booked.\n"
