"""Which pods ask not to be told of: read of a real HTTP server that speaks Kubernetes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kube_api import FakeKubeApi, Trouble, pod

from gputally.collector.cluster import kube
from gputally.collector.cluster.kube import open_pods
from gputally.collector.cluster.place import KubePlace
from gputally.collector.notify.exempt import ExemptPods, nobody
from gputally.collector.notify.idle_pod import PodKey


@pytest.fixture
def server() -> Iterator[FakeKubeApi]:
    with FakeKubeApi() as server:
        yield server


def labelled(name: str, value: str) -> dict[str, object]:
    return pod("research", name, f"uid-{name}", labels={"gputally.io/idle-alert": value})


def test_pods_with_the_label_are_exempt_page_by_page(server: FakeKubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube, "_PAGE", 2)
    for name in ("a", "b", "c"):
        server.put(labelled(name, "off"))
    server.put(labelled("d", "on"))
    server.put(pod("research", "e", "uid-e"))
    exempt = ExemptPods("prod", open_pods(KubePlace(server.url)))
    assert exempt() == {PodKey("prod", "research", name) for name in ("a", "b", "c")}


def test_while_the_api_is_away_what_was_known_holds(
    server: FakeKubeApi, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A warm standby is not told of because an API server restarts."""
    server.put(labelled("a", "off"))
    exempt = ExemptPods("prod", open_pods(KubePlace(server.url)))
    known = exempt()
    server.trouble = Trouble(403, "forbidden")
    assert exempt() == known
    assert "pods that ask not to be told of cannot be read, going by what was known" in caplog.text
    assert "list" in caplog.text


def test_without_an_api_nobody_is_exempt() -> None:
    assert list(nobody()) == []
