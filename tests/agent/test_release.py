"""Who asks for the driver: a signal, an annotation of the node, or both; what the API says is read as it is."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.kube_api import FakeKubeApi, Object, Trouble
from tests.programs import wait_until

from gputally.agent.kube.api import KubeApi
from gputally.agent.kube.watch import KubeWatch, Watched
from gputally.agent.probe.main import monotonic_us
from gputally.agent.release import ANNOTATION, Release, asks_for_release


def node(annotations: dict[str, str] | None = None) -> Object:
    return {"kind": "Node", "metadata": {"uid": "uid-n", "name": "n", "annotations": annotations}, "spec": {}}


def test_only_true_asks_for_the_driver() -> None:
    """Whatever else somebody wrote there must not stop a node from being counted."""
    assert asks_for_release(node({ANNOTATION: "true"}))
    assert asks_for_release(node({ANNOTATION: "True"}))
    for value in ("false", "", "1", "yes", "no"):
        assert not asks_for_release(node({ANNOTATION: value}))
    assert not asks_for_release(node(None))
    assert not asks_for_release({"metadata": {}})


def test_a_signal_and_an_annotation_stand_each_for_itself() -> None:
    """The driver is free for whoever still needs it; how to end it is said for the one that stands."""
    release = Release()
    assert release.reason == ""
    release.ask()
    assert "SIGUSR2" in release.reason
    release.put(True, 0)
    release.withdraw()
    assert ANNOTATION in release.reason
    release.put(False, 0)
    assert release.reason == ""


def test_a_node_that_is_gone_or_not_listed_asks_for_nothing() -> None:
    release = Release()
    release.put(True, 0)
    release.delete(True, 0)
    assert release.reason == ""
    release.replace([True], 0)
    assert release.reason
    release.replace([], 0)
    assert release.reason == ""


@pytest.fixture
def api() -> Iterator[FakeKubeApi]:
    with FakeKubeApi() as api:
        yield api


def test_the_annotation_is_watched_and_what_was_known_stays_while_the_api_is_away(api: FakeKubeApi) -> None:
    """An API server that restarts during a driver upgrade must not bring the agent back into it."""
    release, stop = Release(), threading.Event()
    watched = Watched("Node", ("/api/v1/nodes",), asks_for_release, "metadata.name=n")
    watch = KubeWatch(KubeApi(api.url), watched, release, monotonic_us)
    api.put(node())
    thread = threading.Thread(target=watch.run, args=(stop,), daemon=True)
    thread.start()
    with closing(watch):
        wait_until(lambda: watch.state.synced, 60, "the node")
        assert release.reason == ""
        api.await_requests(lambda requests: len(requests) == 2)
        api.put(node({ANNOTATION: "true"}))
        wait_until(lambda: release.reason, 60, "the annotation")
        assert [request.watch for request in api.requests] == [False, True], "told at once, and not by another question"
        api.trouble = Trouble(500, "the API is away")
        api.cut()
        wait_until(lambda: watch.state.error, 60, "the trouble")
        assert release.reason
        stop.set()
    thread.join(60)
    assert not thread.is_alive()
