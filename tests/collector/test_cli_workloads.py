"""`gputally workloads`: what is known of a pod with its evidence, and mistakes in rules by line."""

from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.watched_pods import failed, gpu_pod, learn, owner
from typer.testing import CliRunner, Result

from gputally.collector.cli.workloads import app
from gputally.collector.cluster.pod import watched_pod
from gputally.collector.cluster.pod_history import PodHistory
from gputally.collector.cluster.watch import ObjectKind
from gputally.collector.workloads.parse import shipped_book
from gputally.collector.workloads.pod import unreadable

LABELS = {"kueue.x-k8s.io/queue-name": "gold", "pod-template-hash": "5d8f"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with no setting of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("GPUTALLY_DATABASE_URL", "GPUTALLY_TIMEZONE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_pod_is_shown_with_what_says_whose_work_it_is(engine: Engine, database_url: str) -> None:
    book = shipped_book()
    raw = gpu_pod("web-x", owner=owner("ReplicaSet", "web-5d8f", "apps/v1"), labels=LABELS, status=failed())
    seen = watched_pod(raw, book.wanted)
    assert seen is not None
    PodHistory(engine, "east", book, unreadable, lambda: 1, lambda: 1).put(ObjectKind.POD, seen)
    shown = run("show", "web-x", "--database-url", database_url)
    assert shown.stdout.splitlines() == [
        "search/web-x in east (uid-of-web-x)",
        "  workload      deployment/web",
        "  evidence      claim: what stands on the pod; an owner could not be read",
        "  rules         deployment, replica-set-revision, kueue-queue",
        "  revision      5d8f",
        "  queue         gold (a claim: label kueue.x-k8s.io/queue-name)",
        "  phase         Failed (OOMKilled)",
        "  created       2026-07-01T00:00:00+00:00",
        "  started       2026-07-01T00:00:05+00:00",
        "  finished      2026-07-01T01:00:00+00:00",
    ]
    assert run("show", "uid-of-web-x", "--database-url", database_url).stdout == shown.stdout


def test_pods_of_one_name_are_told_apart_and_one_that_is_not_known_is_told(engine: Engine, database_url: str) -> None:
    learn(engine, "a", "Job/x")
    learn(engine, "a", "Job/y", namespace="vision", uid="another")
    both = run("show", "a", "--database-url", database_url).stdout
    assert ("job/x" in both, "job/y" in both) == (True, True)
    one = run("show", "a", "--namespace", "vision", "--database-url", database_url).stdout
    assert ("job/x" in one, "job/y" in one) == (False, True)
    none = run("show", "b", "--database-url", database_url)
    assert (none.exit_code, "b: no such pod is known" in none.stderr) == (1, True)


def test_rules_are_checked_and_told_by_line(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("version: 1\nbefore:\n  - name: x\n    platform: acme\n    owner: Sweep.acme.example\n")
    assert run("check", str(file)).stdout == f"{file}: nothing wrong\n"
    file.write_text("version: 1\nbehind: []\n")
    done = run("check", str(file))
    assert done.exit_code == 2
    assert f"{file}:2: error: " in done.stderr
