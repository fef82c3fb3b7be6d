"""Every object is one that the API server would take: by the schemas of several Kubernetes versions, offline."""

import copy
import json
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.deploy.crds import SPECS, mistakes
from tests.deploy.rendered import DEPLOY, FOLDERS, Object, all_folders, named, of_kind

# The first in which an agent's token names its node, the first for which the `dra` overlay is, and the last.
VERSIONS = ("1.30", "1.34", "1.37")
EXAMPLES = sorted((DEPLOY / "collector" / "examples").glob("*.yaml"))


@cache
def check_builtin(text: str, version: str) -> None:
    """Once for each object: an overlay has those of its base."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


def found_in(objects: list[Object], version: str) -> list[str]:
    """What the API server would refuse; raises ValidationError where it is of one of Kubernetes' own kinds."""
    found: list[str] = []
    for each in objects:
        table = SPECS.get((each["apiVersion"], each["kind"]))
        if table is None:
            check_builtin(json.dumps(each), version)
        else:
            found += mistakes(each["spec"], table)
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_is_valid(folder: str, version: str) -> None:
    assert found_in(all_folders()[folder], version) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(path: Any) -> None:
    assert found_in(list(yaml.safe_load_all(path.read_text())), VERSIONS[0]) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_refuse_a_field_that_is_not_there(version: str) -> None:
    deployment = copy.deepcopy(named(all_folders()["collector/base"], "Deployment", "gputally-collector"))
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, version, strict=True)


@pytest.mark.parametrize(
    ("field", "value"), [("portNumber", 9855), ("honorLabels", "yes"), ("interval", 30)], ids=lambda value: str(value)
)
def test_the_tables_refuse_what_they_do_not_know(field: str, value: object) -> None:
    monitor = copy.deepcopy(next(of_kind(all_folders()["daemonset/overlays/podmonitor"], "PodMonitor")))
    monitor["spec"]["podMetricsEndpoints"][0][field] = value
    assert len(list(mistakes(monitor["spec"], SPECS[monitor["apiVersion"], "PodMonitor"]))) == 1


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything_is_in_the_one_namespace(folder: str) -> None:
    """So that `kubectl apply -k` of any folder alone puts nothing into `default`."""
    clusterwide = ("Namespace", "ClusterRole", "ClusterRoleBinding", "PriorityClass")
    places = {each["metadata"].get("namespace") for each in all_folders()[folder] if each["kind"] not in clusterwide}
    assert places <= {"gputally"}
