"""The collector follows the cluster that it is told of, by the rules that it is given."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from tests.kube_api import FakeKubeApi, Trouble
from tests.watched_pods import gpu_pod, owner

from gputally.collector.cluster.build import rules_of, watches_of
from gputally.collector.cluster.watch import ObjectKind
from gputally.collector.database.engine import reading
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.settings import CollectorSettings, SettingsError

RULES = """\
version: 1
before:
  - name: research
    platform: acme
    owner: Sweep.acme.example
"""


def settings(**given: Any) -> CollectorSettings:
    return CollectorSettings(database_url="sqlite:////nowhere", **given)


def test_without_a_cluster_nothing_is_followed(engine: Engine) -> None:
    for given in ({}, {"cluster": "east"}, {"cluster": "east", "kube_api": "off"}):
        asked = settings(**given)
        assert watches_of(asked, rules_of(asked), engine, {}, lambda: 1, lambda: 1) == ()


def test_pods_are_not_followed_where_nobody_wants_to_know(engine: Engine) -> None:
    asked = settings(cluster="east", kube_api="http://localhost:1", workloads=False)
    assert len(watches_of(asked, rules_of(asked), engine, {}, lambda: 1, lambda: 1)) == 1


def test_pods_are_followed_into_the_database_by_rules_of_ones_own(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    with FakeKubeApi() as server:
        server.put(gpu_pod(owner=owner("Sweep", "lr", "acme.example/v1")))
        asked = settings(cluster="east", kube_api=server.url, workload_rules_file=file)
        labels, pods, queues = watches_of(asked, rules_of(asked), engine, {}, lambda: 1, lambda: 1)
        assert pods.follow(ObjectKind.POD, lambda: True)
        with reading(engine) as connection:
            assert connection.scalars(select(pod_workload.c.label)).all() == ["sweep.acme/lr"]
        server.documents["/api/v1/pods"] = Trouble(403, "forbidden")
        assert not pods.follow(ObjectKind.POD, lambda: True)
        assert labels.follow(ObjectKind.NODE, lambda: True)
        assert queues.follow(ObjectKind.QUEUE, lambda: True) is False  # Volcano is not there
        assert (pods.last_error, labels.last_error, queues.last_error) == ("", "", "")


def test_every_mistake_in_the_rules_is_told_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("version: 1\nbefore:\n  - name: x\nbehind: []\n")
    with pytest.raises(SettingsError) as caught:
        rules_of(settings(workload_rules_file=file))
    assert len(caught.value.mistakes) > 1
    assert all(text.startswith(f"{file}, line ") for text in caught.value.mistakes)
    with pytest.raises(SettingsError, match=r"--workload-rules-file: .*No such file"):
        rules_of(settings(workload_rules_file=tmp_path / "none"))
