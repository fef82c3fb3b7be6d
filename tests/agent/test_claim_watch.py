"""What the API adds to the kubelet's word on claims, and what is said where it may not be read."""

import threading
from collections.abc import Iterator

import pytest
from tests.kube_api import FakeKubeApi, Trouble, resource_claim, resource_slice
from tests.pauses import DEADLINE_S, Pauses

from gputally.agent.kube.api import KubeApi
from gputally.agent.kube.claim_watch import ClaimWatch
from gputally.agent.kube.slices import DraDevice
from gputally.agent.reservations.device_id import DeviceName

GPU_0 = DraDevice("gpu.nvidia.com", "labnode", "gpu-0")


class Node:
    """Both watches of a node in their threads."""

    def __init__(self, server: FakeKubeApi) -> None:
        self.server = server
        self.pauses = Pauses()
        apis = (KubeApi(server.url), KubeApi(server.url))
        self.watch = ClaimWatch(*apis, "labnode", lambda: 0, jitter=lambda: 0.0)
        self._thread = threading.Thread(target=self.watch.run, args=(self.pauses,))

    def start(self) -> None:
        self._thread.start()

    def await_watch(self, kind: str, version: str) -> None:
        """Wait until a watch of this kind goes on from a version: all before it was taken over."""
        self.server.await_requests(
            lambda requests: any(
                r.watch and r.kind == kind and r.query["resourceVersion"] == version for r in requests
            ),
            DEADLINE_S,
        )

    def stop(self) -> None:
        self.pauses.set()
        self.watch.close()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        assert not [thread for thread in threading.enumerate() if thread.name == "slices"]


@pytest.fixture
def server() -> Iterator[FakeKubeApi]:
    with FakeKubeApi() as running:
        running.put(resource_slice("s", {"gpu-0": {"uuid": "GPU-a"}}))
        running.put(
            resource_slice("other", {"gpu-0": {"uuid": "GPU-b"}}, node="elsewhere", pool="labnode", generation=9)
        )
        running.put(resource_claim("ml", "watch", "gpu-0", admin=["gpu-0"]))
        yield running


@pytest.fixture
def node(server: FakeKubeApi) -> Iterator[Node]:
    watching = Node(server)
    yield watching
    watching.stop()


def test_slices_of_this_node_and_claims_are_known_and_followed(server: FakeKubeApi, node: Node) -> None:
    assert not node.watch.settled
    node.start()
    for kind in ("ResourceSlice", "ResourceClaim"):
        node.await_watch(kind, "1003")
    assert node.watch.settled
    assert node.watch.name_of(GPU_0) == DeviceName(uuid="GPU-a")
    assert node.watch.is_admin("ml", "watch", GPU_0)
    assert (node.watch.unused(), node.watch.problem) == ((), "")
    server.put(resource_claim("ml", "left", "gpu-0"))
    server.cut()
    node.await_watch("ResourceClaim", "1004")
    assert node.watch.unused() == (GPU_0,)


def test_slices_are_asked_for_by_node_and_driver(server: FakeKubeApi, node: Node) -> None:
    node.start()
    node.await_watch("ResourceSlice", "1003")
    [listed] = [r for r in server.requests if r.kind == "ResourceSlice" and not r.watch]
    assert listed.query["fieldSelector"] == "spec.nodeName=labnode,spec.driver=gpu.nvidia.com"


def test_a_missing_permission_is_one_line_and_names_decide(server: FakeKubeApi, node: Node) -> None:
    server.trouble = Trouble(403, "resourceslices is forbidden")
    node.start()
    node.pauses.reached(2)
    assert node.watch.settled
    assert "told by their names only" in node.watch.problem
    assert "look like holders" in node.watch.problem
    assert "\n" not in node.watch.problem
    assert node.watch.name_of(GPU_0) == DeviceName(minor=0)
    assert not node.watch.is_admin("ml", "watch", GPU_0)


def test_a_permission_for_slices_alone_is_used(server: FakeKubeApi, node: Node) -> None:
    server.trouble = Trouble(403, "resourceclaims is forbidden", kind="ResourceClaim")
    node.start()
    node.pauses.reached(1)
    node.await_watch("ResourceSlice", "1003")
    assert node.watch.name_of(GPU_0) == DeviceName(uuid="GPU-a")
    assert "names only" not in node.watch.problem


def test_a_cluster_without_dra_has_no_problem(server: FakeKubeApi, node: Node) -> None:
    server.served = ["v1"]
    node.start()
    node.pauses.reached(2)
    assert (node.watch.settled, node.watch.problem) == (True, "")
