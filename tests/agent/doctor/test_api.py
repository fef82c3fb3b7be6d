"""Each kind of object and each verb is asked for as the agent asks, of an API server over HTTP."""

from collections.abc import Iterator

import pytest
from tests.kube_api import FakeKubeApi, Trouble, pod, resource_claim, resource_slice

from gputally.agent.doctor.api import Answers, ask, check
from gputally.agent.doctor.finding import Finding, Level
from gputally.agent.kube.api import KubeApi


@pytest.fixture
def api() -> Iterator[FakeKubeApi]:
    with FakeKubeApi() as api:
        api.put(pod("research", "train", "uid-1", node="gpu-1"))
        api.put({"kind": "Node", "metadata": {"name": "gpu-1", "uid": "node-1"}})
        yield api


def found(api: FakeKubeApi, *, has_claims: bool = False) -> list[Finding]:
    answers = ask(api.url, lambda: KubeApi(api.url), "gpu-1")
    return list(check(lambda: answers, "gpu-1", lambda: has_claims, kubernetes=True))


def test_four_kinds_are_listed_and_watched_and_nothing_else_is_asked(api: FakeKubeApi) -> None:
    assert {each.level for each in found(api)} == {Level.OK}
    asked = [(request.kind, request.watch) for request in api.requests]
    kinds = ("Pod", "Node", "ResourceSlice", "ResourceClaim")
    assert asked == [(kind, watch) for kind in kinds for watch in (False, True)]
    assert api.requests[0].query["fieldSelector"] == "spec.nodeName=gpu-1"


def test_older_versions_of_dra_are_asked_for_and_none_is_no_fault(api: FakeKubeApi) -> None:
    api.served = ["v1", "resource.k8s.io/v1beta1"]
    api.put(resource_claim("ml", "claim", "gpu-0"))
    assert found(api)[3].found == "may list and watch resourceclaims"
    api.served = ["v1"]
    assert [each.found for each in found(api)[2:]] == [
        "serves no resourceslices: no DRA in this cluster",
        "serves no resourceclaims: no DRA in this cluster",
    ]


@pytest.mark.parametrize(("has_claims", "level"), [(False, Level.OK), (True, Level.FAIL)])
def test_dra_objects_that_may_not_be_read_matter_where_claims_hold_gpus(
    api: FakeKubeApi, has_claims: bool, level: Level
) -> None:
    """Without the overlay for DRA its rules are absent, which is right on a cluster that does not use it."""
    api.trouble = Trouble(403, "resourceclaims is forbidden", kind="ResourceClaim")
    line = found(api, has_claims=has_claims)[3]
    assert line.level is level
    assert line.found.startswith("may not list resourceclaims")


def test_a_node_without_pods_is_doubted(api: FakeKubeApi) -> None:
    """In a cluster the agent's own pod is there: a name that no pod stands on is mostly a wrong one."""
    api.delete("uid-1")
    assert (found(api)[0].level, found(api)[0].found) == (Level.WARN, "no pod is on this node by the API")


def test_slices_of_this_node_tell_that_a_dra_driver_offers_gpus(api: FakeKubeApi) -> None:
    offers = []
    for node in ("gpu-2", "gpu-1"):
        api.put(resource_slice(f"slice-{node}", {"gpu-0": {}}, node=node))
        answers = ask(api.url, lambda: KubeApi(api.url), "gpu-1")
        assert answers is not None
        offers.append(answers.offers_dra)
    assert offers == [False, True]


def test_an_annotation_of_the_node_is_heard(api: FakeKubeApi) -> None:
    annotated = {"name": "gpu-1", "uid": "node-1", "annotations": {"gputally.io/release": "true"}}
    api.put({"kind": "Node", "metadata": annotated})
    answers = ask(api.url, lambda: KubeApi(api.url), "gpu-1")
    assert answers is not None
    assert answers.releases_driver
    assert not Answers().releases_driver


def test_what_answers_in_json_and_is_no_api_is_told(api: FakeKubeApi) -> None:
    api.trouble = Trouble(200, "hello")
    (line,) = found(api)
    assert (line.level, "something else answers there" in line.found) == (Level.FAIL, True)


def test_an_api_that_is_off_matters_where_pods_hold_gpus() -> None:
    for kubernetes, level in ((True, Level.WARN), (False, Level.OK)):
        (line,) = check(lambda: None, "gpu-1", lambda: False, kubernetes=kubernetes)
        assert line.level is level
