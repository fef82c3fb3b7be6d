"""A watch of any objects: listed page by page, under whichever version of the API is served.

What all watches have in common is tested with the pods'.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.kube_api import FakeKubeApi, Request, resource_claim
from tests.pauses import DEADLINE_S, Pauses

from gputally.agent.kube.api import KubeApi
from gputally.agent.kube.watch import ABSENT_S, BACKOFF_S, KubeWatch, Watched, WatchState

PATHS = ("/apis/resource.k8s.io/v1/resourceclaims", "/apis/resource.k8s.io/v1beta1/resourceclaims")


def name_of(raw: Mapping[str, Any]) -> str:
    return str(raw["metadata"]["name"])


@dataclass
class Names:
    """A table of names whose changes can be waited for."""

    known: set[str] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)
    replaced: int = 0

    def replace(self, items: Iterable[str], _now_us: int) -> None:
        found = set(items)
        with self.changed:
            self.known, self.replaced = found, self.replaced + 1
            self.changed.notify_all()

    def put(self, item: str, _now_us: int) -> None:
        with self.changed:
            self.known.add(item)
            self.changed.notify_all()

    def delete(self, item: str, _now_us: int) -> None:
        with self.changed:
            self.known.discard(item)
            self.changed.notify_all()

    def await_names(self, *names: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.known == set(names), DEADLINE_S), self.known


@dataclass
class Watching:
    """A watch of claims in its thread."""

    server: FakeKubeApi
    table: Names = field(default_factory=Names)
    pauses: Pauses = field(default_factory=Pauses)

    def start(self, *, optional: bool = True) -> None:
        watched = Watched("ResourceClaim", PATHS, name_of, optional=optional, page=2)
        self.watch = KubeWatch(KubeApi(self.server.url), watched, self.table, lambda: 0, jitter=lambda: 0.0)
        self._thread = threading.Thread(target=self.watch.run, args=(self.pauses,))
        self._thread.start()

    def stop(self) -> None:
        self.pauses.set()
        self.watch.close()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def await_watches(self, number: int) -> list[Request]:
        self.server.await_requests(lambda requests: len([r for r in requests if r.watch]) >= number, DEADLINE_S)
        return [request for request in self.server.requests if request.watch]

    @property
    def lists(self) -> list[Request]:
        return [request for request in self.server.requests if not request.watch]


@pytest.fixture
def server() -> Iterator[FakeKubeApi]:
    with FakeKubeApi() as running:
        for n in range(5):
            running.put(resource_claim("ml", f"c{n}", "gpu-0"))
        yield running


@pytest.fixture
def watching(server: FakeKubeApi) -> Iterator[Watching]:
    started = Watching(server)
    yield started
    started.stop()


def test_a_long_list_comes_in_pages_and_the_watch_goes_on_from_it(server: FakeKubeApi, watching: Watching) -> None:
    watching.start()
    [watch] = watching.await_watches(1)
    watching.table.await_names("c0", "c1", "c2", "c3", "c4")
    assert [request.query for request in watching.lists] == [
        {"limit": "2"},
        {"limit": "2", "continue": "2"},
        {"limit": "2", "continue": "4"},
    ]
    assert watch.query["resourceVersion"] == "1005"
    server.delete("uid-ml-c3")
    server.put(resource_claim("ml", "late"))
    watching.table.await_names("c0", "c1", "c2", "c4", "late")


def test_a_list_that_breaks_off_changes_nothing(server: FakeKubeApi, watching: Watching) -> None:
    """Its last page makes no sense, which is told; what is known stays known until a whole list has come."""
    watching.start()
    watching.await_watches(1)
    server.put({"kind": "ResourceClaim", "metadata": {"uid": "nameless"}})
    watching.pauses.reached(1)
    watching.pauses.end()
    watching.pauses.reached(2)
    assert len(watching.lists) == 6
    assert "not a ResourceClaim: KeyError: 'name'" in watching.watch.state.error
    assert watching.table.known == {"c0", "c1", "c2", "c3", "c4"}
    assert watching.table.replaced == 1
    server.delete("nameless")
    watching.pauses.end()
    watching.await_watches(2)
    assert watching.watch.state == WatchState(synced=True)


def test_the_newest_version_of_the_api_that_is_served_is_used(server: FakeKubeApi, watching: Watching) -> None:
    server.served = ["resource.k8s.io/v1beta1"]
    watching.start()
    [watch] = watching.await_watches(1)
    assert watch.path == PATHS[1]
    assert watching.pauses.delays == []


def test_objects_that_a_cluster_does_not_serve_are_none_and_no_failure(server: FakeKubeApi, watching: Watching) -> None:
    """An upgrade may bring them: asked again after a good while."""
    server.served = []
    watching.start()
    assert watching.pauses.reached(1) == ABSENT_S / 2
    assert watching.watch.state == WatchState(synced=True)
    server.served = ["resource.k8s.io/v1"]
    watching.pauses.end()
    watching.table.await_names("c0", "c1", "c2", "c3", "c4")


def test_objects_that_must_be_there_are_missed(server: FakeKubeApi, watching: Watching) -> None:
    server.served = []
    watching.start(optional=False)
    assert watching.pauses.reached(1) == BACKOFF_S / 2
    assert "404" in watching.watch.state.error
    assert not watching.watch.state.synced


def test_a_watch_that_ends_by_a_defect_says_so(server: FakeKubeApi) -> None:
    """What it knew grows old; whoever asks must learn that."""

    class Broken(Names):
        def replace(self, items: Iterable[str], now_us: int) -> None:
            raise ZeroDivisionError

    watched = Watched("ResourceClaim", PATHS, name_of)
    watch = KubeWatch(KubeApi(server.url), watched, Broken(), lambda: 0)
    with pytest.raises(ZeroDivisionError):
        watch.run(threading.Event())
    assert watch.state.error.startswith("the thread that watches ResourceClaims ended by an error")
