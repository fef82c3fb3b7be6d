"""Pods and their owners over real HTTP: pods whole and only those that matter, of owners the metadata, by any kind."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tests.kube_api import FakeKubeApi, Trouble
from tests.watched_pods import failed, gpu_pod, owner

from gputally.collector.cluster import kube
from gputally.collector.cluster.kube_pods import open_owners, open_plurals, open_watched
from gputally.collector.cluster.owners import Owners, Plurals
from gputally.collector.cluster.place import KubePlace
from gputally.collector.cluster.pod import WatchedPod
from gputally.collector.cluster.watch import ClusterError, NotThere, ObjectKind, Refused
from gputally.collector.workloads.parse import shipped_book
from gputally.collector.workloads.pod import OwnerFacts, OwnerReference

BOOK = shipped_book()
APPS = {
    "resources": [
        {"name": "replicasets", "kind": "ReplicaSet", "namespaced": True},
        {"name": "replicasets/scale", "kind": "Scale", "namespaced": True},
        {"name": "everywheres", "kind": "Everywhere", "namespaced": False},
    ]
}


@pytest.fixture(scope="module")
def running() -> Iterator[FakeKubeApi]:
    with FakeKubeApi() as server:
        yield server


@pytest.fixture
def server(running: FakeKubeApi) -> FakeKubeApi:
    running.documents = {"/apis/apps/v1": APPS}
    running.requests.clear()
    return running


def asking(pods: Sequence[WatchedPod]) -> Sequence[WatchedPod]:
    return [pod for pod in pods if pod.asks]


def references(name: str = "web-5d8f", kind: str = "ReplicaSet", api: str = "apps/v1") -> OwnerReference:
    return OwnerReference(api, kind, name, f"uid-of-{name}", True)


def read(server: FakeKubeApi, reference: OwnerReference) -> OwnerFacts | None:
    place = KubePlace(server.url)
    return open_owners(place, BOOK.wanted, open_plurals(place))("search", reference)


def there(server: FakeKubeApi, path: str, name: str, **metadata: Any) -> None:
    server.documents[path] = {"metadata": {"name": name, "uid": f"uid-of-{name}", **metadata}}


def test_pods_that_matter_are_listed_page_by_page_and_followed(
    server: FakeKubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube, "_PAGE", 2)
    monkeypatch.setattr(kube, "_WATCH_S", 1)
    api = open_watched(KubePlace(server.url), BOOK.wanted, asking)
    for name, gpus in (("a", 1), ("web", 0), ("b", 2)):
        server.put(gpu_pod(name, gpus=gpus, labels={"mine": "x", "dag_id": "d"}))
    listing = api.objects(ObjectKind.POD)
    assert [(pod.facts.name, pod.facts.labels) for pod in listing.objects] == [
        ("a", {"dag_id": "d"}),
        ("b", {"dag_id": "d"}),
    ]
    server.put(gpu_pod("web", gpus=0, status=failed()))
    server.put(gpu_pod("a", status=failed()))
    server.delete("uid-of-b")
    told = [
        (change.seen and (change.seen.facts.name, change.seen.phase), change.deleted)
        for change in api.changes(ObjectKind.POD, listing.version)
    ]
    assert told == [(None, False), (("a", "Failed"), False), (("b", "Running"), True)]


def test_a_missing_right_to_pods_is_a_refusal(server: FakeKubeApi) -> None:
    server.documents["/api/v1/pods"] = Trouble(403, "forbidden")
    with pytest.raises(Refused, match="needs list and watch on pods"):
        open_watched(KubePlace(server.url), BOOK.wanted, asking).objects(ObjectKind.POD)


def test_an_owner_is_found_by_the_name_that_the_api_has_for_its_kind(server: FakeKubeApi) -> None:
    path = "/apis/apps/v1/namespaces/search/replicasets/web-5d8f"
    there(server, path, "web-5d8f", labels={"mine": "x"}, ownerReferences=[owner("Deployment", "web", "apps/v1")])
    found = read(server, references())
    assert found is not None
    assert (found.uid, [above.name for above in found.owners], found.labels) == ("uid-of-web-5d8f", ["web"], {})
    assert [request.path for request in server.requests] == ["/apis/apps/v1", path]


def test_a_pod_can_own_pods(server: FakeKubeApi) -> None:
    there(server, "/api/v1/namespaces/search/pods/driver", "driver")
    found = read(server, references("driver", "Pod", "v1"))
    assert found == OwnerFacts("uid-of-driver")


@pytest.mark.parametrize(
    "reference",
    [
        references(kind="Everywhere"),  # an object of no namespace
        references(kind="Scale"),  # a part of an object
        references(kind="Unheard"),
        references(kind="Secret", api="v1"),
        references(kind="ConfigMap", api="../../api/v1"),
        references(api="apps/v1/namespaces/kube-system/secrets"),
        references(name="../../kube-system/replicasets/x"),
        references(name="web?watch=true"),
    ],
)
def test_what_a_tenant_writes_into_a_reference_leads_nowhere_else(
    server: FakeKubeApi, reference: OwnerReference
) -> None:
    assert read(server, reference) is None
    assert {request.path for request in server.requests} <= {"/apis/apps/v1"}


def test_what_is_gone_what_may_not_be_read_and_what_is_nonsense_are_told_apart(server: FakeKubeApi) -> None:
    path = "/apis/apps/v1/namespaces/search/replicasets/web-5d8f"
    with pytest.raises(NotThere):
        read(server, references())
    server.documents[path] = Trouble(403, "forbidden")
    with pytest.raises(Refused, match=r"needs get on replicasets\.apps"):
        read(server, references())
    server.documents["/apis/apps/v1"] = {"resources": "none"}
    with pytest.raises(ClusterError, match="cannot be read"):
        read(server, references())


def test_a_platform_that_is_not_installed_is_asked_for_once(server: FakeKubeApi) -> None:
    place = KubePlace(server.url)
    owners = Owners(open_owners(place, BOOK.wanted, Plurals(open_plurals(place), lambda: 0)), lambda: 0)
    for name in ("a", "b"):
        assert owners("search", references(name, "PyTorchJob", "kubeflow.org/v1")) is None
    assert [request.path for request in server.requests] == ["/apis/kubeflow.org/v1"]
