"""The watch of this node's pods, and what all watches have in common.

Recordings end where the cluster ended, and whatever fails is mended by itself.
"""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kube_api import FakeKubeApi, Request, Trouble, pod, status
from tests.pauses import DEADLINE_S, Pauses

from gputally.agent.kube.api import KubeApi
from gputally.agent.kube.pod_watch import PodWatch
from gputally.agent.kube.pods import PodTable, parse_pod
from gputally.agent.kube.watch import BACKOFF_S, MAX_BACKOFF_S, REFUSED_S, WatchState

RECORDED = Path(__file__).parent.parent / "data" / "kubernetes" / "api"


class SeenTable(PodTable):
    """A table whose changes can be waited for."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        super().__init__()

    def _swap(self, *args: object) -> None:
        with self.changed:
            super()._swap(*args)  # type: ignore[arg-type]
            self.changed.notify_all()

    def await_names(self, *names: str) -> None:
        """Wait until exactly these pods are alive."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.names() == sorted(names), DEADLINE_S), self.names()

    def names(self) -> list[str]:
        return sorted(pod.name for pod in self.alive)


class Node:
    """A watch that runs in its thread against a server, with everything a test looks at."""

    def __init__(self, server: FakeKubeApi) -> None:
        self.server = server
        self.table = SeenTable()
        self.pauses = Pauses()
        self.now_us = 0
        self.watch = PodWatch(KubeApi(server.url), "labnode", self.table, lambda: self.now_us, jitter=lambda: 0.0)
        self._thread = threading.Thread(target=self.watch.run, args=(self.pauses,))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.pauses.set()
        self.watch.close()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def await_watches(self, number: int) -> list[Request]:
        """Wait until so many watches were begun; their requests."""
        self.server.await_requests(lambda requests: len(watches(requests)) >= number, DEADLINE_S)
        return watches(self.server.requests)


def watches(requests: list[Request]) -> list[Request]:
    return [request for request in requests if request.watch]


def lists(requests: list[Request]) -> list[Request]:
    return [request for request in requests if not request.watch]


@pytest.fixture
def server() -> Iterator[FakeKubeApi]:
    with FakeKubeApi() as running:
        yield running


@pytest.fixture
def node(server: FakeKubeApi) -> Iterator[Node]:
    watching = Node(server)
    yield watching
    watching.stop()


def recorded(name: str) -> dict[str, object]:
    return json.loads((RECORDED / name).read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("form", ["full", "metadata"])
def test_a_recorded_watch_ends_in_the_state_of_the_list_after_it(server: FakeKubeApi, node: Node, form: str) -> None:
    """Line by line from the list before: pods made, changed, crashing and deleted, and a bookmark."""
    server.load(recorded(f"pods.list.{form}.before.json"))
    after = [parse_pod(item) for item in recorded(f"pods.list.{form}.after.json")["items"]]  # type: ignore[attr-defined]
    node.start()
    node.await_watches(1)
    for line in (RECORDED / f"pods.watch.{form}.ndjson").read_bytes().splitlines(keepends=True):
        server.replay([line])
    node.table.await_names(*(item.name for item in after))
    server.put(pod("ml", "last", "u-last"))
    node.table.await_names("last", *(item.name for item in after))
    assert {item.uid: item for item in node.table.alive if item.uid != "u-last"} == {item.uid: item for item in after}
    deleted = [json.loads(line) for line in (RECORDED / f"pods.watch.{form}.ndjson").read_bytes().splitlines()]
    assert all(
        event["object"]["metadata"]["uid"] in node.table.known() for event in deleted if event["type"] == "DELETED"
    )
    assert len(server.requests) == 2


def test_it_asks_for_this_nodes_pods_with_bookmarks_and_an_end(server: FakeKubeApi, node: Node) -> None:
    server.put(pod("ml", "mine", "u1"))
    server.put(pod("ml", "elsewhere", "u2", node="other"))
    node.start()
    node.table.await_names("mine")
    [watch] = node.await_watches(1)
    [listed] = lists(server.requests)
    assert listed.query == {"fieldSelector": "spec.nodeName=labnode", "resourceVersion": "0"}
    assert watch.query == {
        "fieldSelector": "spec.nodeName=labnode",
        "watch": "1",
        "resourceVersion": "1002",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "240",
    }
    assert node.watch.state == WatchState(synced=True)


def test_a_watch_that_ends_goes_on_from_the_last_version(server: FakeKubeApi, node: Node) -> None:
    """Also from a bookmark's, and from before an event that was cut short. No list, no pause."""
    node.start()
    node.await_watches(1)
    server.put(pod("ml", "one", "u1"))
    node.table.await_names("one")
    server.cut(torn=b'{"type":"ADDED","object":{"metadata":')
    assert node.await_watches(2)[1].query["resourceVersion"] == "1001"
    server.bookmark()
    server.put(pod("ml", "two", "u2"))
    node.table.await_names("one", "two")
    server.cut()
    assert node.await_watches(3)[2].query["resourceVersion"] == "1003"
    assert len(lists(server.requests)) == 1
    assert node.pauses.delays == []


@pytest.mark.parametrize("as_status", [True, False], ids=["HTTP status", "ERROR event"])
def test_a_version_that_is_too_old_lists_again_and_finds_the_deleted(
    server: FakeKubeApi, node: Node, as_status: bool
) -> None:
    """410 either way: the new list is asked for fresh, what is missing from it was deleted, and stays known."""
    server.gone_as_status = as_status
    server.put(pod("ml", "one", "u1"))
    node.start()
    node.table.await_names("one")
    node.await_watches(1)
    server.put(pod("ml", "two", "u2"))
    node.table.await_names("one", "two")
    with server.changed:
        server.delete("u1")
        server.compact()
        server.cut()
    node.table.await_names("two")
    assert "u1" in node.table.known()
    assert "resourceVersion" not in lists(server.requests)[1].query
    assert node.pauses.delays == []


def test_a_recorded_error_event_lists_again(server: FakeKubeApi, node: Node) -> None:
    """The event as a restarted API server sends it, under HTTP 200."""
    [event] = json.loads((RECORDED / "errors" / "watch-410-after-restart-full.json").read_text())["body"]
    node.start()
    node.await_watches(1)
    server.send(json.dumps(event).encode() + b"\n")
    node.await_watches(2)
    assert len(lists(server.requests)) == 2


def test_a_watch_without_a_word_lists_again_and_slows_down(server: FakeKubeApi, node: Node) -> None:
    """Not even a bookmark: the version may be from the future (a restored etcd), where nothing ever comes."""
    node.start()
    for number in range(1, 4):
        node.await_watches(number)
        server.cut()
        if number > 1:
            assert node.pauses.reached(number - 1) == BACKOFF_S / 2 * 2 ** (number - 2)
            node.pauses.end()
    node.await_watches(4)
    assert len(lists(server.requests)) == 4


def test_a_missing_permission_is_told_in_one_line_and_asked_again_slowly(server: FakeKubeApi, node: Node) -> None:
    """Only a person can mend it; once mended, it works without a restart."""
    refusal = recorded("errors/list-pods-403.json")["response"]
    server.trouble = Trouble(403, refusal["message"])  # type: ignore[index]
    server.put(pod("ml", "one", "u1"))
    node.start()
    assert node.pauses.reached(1) == REFUSED_S / 2
    assert not node.watch.state.synced
    assert 'cannot list resource "pods"' in node.watch.state.error
    assert "ClusterRole" in node.watch.state.error
    server.trouble = None
    node.pauses.end()
    node.table.await_names("one")
    node.await_watches(1)
    assert node.watch.state == WatchState(synced=True)


def test_a_permission_to_list_but_not_to_watch_is_told_too(server: FakeKubeApi, node: Node) -> None:
    """The pods are known from the list, the error stands beside that."""
    server.trouble = Trouble(403, 'cannot watch resource "pods"', watches_only=True)
    server.put(pod("ml", "one", "u1"))
    node.start()
    node.pauses.reached(1)
    assert node.table.names() == ["one"]
    assert node.watch.state.synced
    assert "cannot watch" in node.watch.state.error


@pytest.mark.parametrize(("code", "asked", "waits"), [(429, "7", 7.0), (503, "", BACKOFF_S / 2), (500, "1", 1.0)])
def test_a_busy_server_is_left_alone_as_long_as_it_asks(
    server: FakeKubeApi, node: Node, code: int, asked: str, waits: float
) -> None:
    server.trouble = Trouble(code, "busy", asked)
    node.start()
    assert node.pauses.reached(1) == waits


def test_an_outage_keeps_the_pods_backs_off_and_heals(server: FakeKubeApi, node: Node) -> None:
    """The delay doubles up to its limit; the pods known so far stay known; the watch goes on from its version."""
    server.put(pod("ml", "one", "u1"))
    node.start()
    node.await_watches(1)
    server.put(pod("ml", "two", "u2"))
    node.table.await_names("one", "two")
    server.stop()
    for number in range(1, 9):
        assert node.pauses.reached(number) == min(MAX_BACKOFF_S, BACKOFF_S * 2 ** (number - 1)) / 2
        assert "cannot be reached" in node.watch.state.error
        if number < 8:
            node.pauses.end()
    assert node.table.names() == ["one", "two"]
    server.start()
    node.pauses.end()
    assert node.await_watches(2)[1].query["resourceVersion"] == "1002"
    server.put(pod("ml", "three", "u3"))
    node.table.await_names("one", "three", "two")
    assert node.watch.state == WatchState(synced=True)


@pytest.mark.parametrize(
    "line",
    [b"no json\n", b"[]\n", b'{"type":"ADDED","object":{}}\n', b'{"type":"ERROR","object":{}}\n', b"null\n"],
    ids=lambda line: line.decode().strip(),
)
def test_an_event_that_makes_no_sense_starts_over(server: FakeKubeApi, node: Node, line: bytes) -> None:
    """Told in one line; the next list repairs whatever was lost."""
    server.put(pod("ml", "one", "u1"))
    node.start()
    node.await_watches(1)
    server.send(line)
    node.pauses.reached(1)
    assert "the Kubernetes API sent something" in node.watch.state.error
    assert node.table.names() == ["one"]
    node.pauses.end()
    node.await_watches(2)
    assert len(lists(server.requests)) == 2


def test_other_error_events_are_errors(server: FakeKubeApi, node: Node) -> None:
    """A watch can be told to come again later."""
    node.start()
    node.await_watches(1)
    event = {"type": "ERROR", "object": {**status(504, "timeout"), "details": {"retryAfterSeconds": 3}}}
    server.send(json.dumps(event).encode() + b"\n")
    assert node.pauses.reached(1) == 3.0
    assert "504: timeout" in node.watch.state.error


def test_stopping_does_not_wait_for_the_server(server: FakeKubeApi) -> None:
    """The watch is silent for minutes; the thread ends at once."""
    node = Node(server)
    node.start()
    node.await_watches(1)
    node.stop()
    assert len(server.requests) == 2, "a list and a watch, and nothing was asked again"


def test_a_long_silent_watch_is_no_failure(server: FakeKubeApi, node: Node) -> None:
    """Quiet nodes list again at the end of each watch, without ever slowing down."""
    node.start()
    for number in range(1, 5):
        node.await_watches(number)
        node.now_us += 240_000_000
        server.cut()
    node.await_watches(5)
    assert node.pauses.delays == []
