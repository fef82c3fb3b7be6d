"""The cluster's API over real HTTP: paged lists of metadata, watches that go on, refusals that say what to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube_api import FakeKubeApi, Trouble

from gputally.collector.cluster import kube as kube_watch
from gputally.collector.cluster.kube import KubeApi, lines, open_api
from gputally.collector.cluster.place import KubePlace
from gputally.collector.cluster.watch import ClusterError, ObjectKind, VersionGone

CREATED_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


@pytest.fixture
def server() -> Iterator[FakeKubeApi]:
    with FakeKubeApi(token="secret") as running:
        yield running


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("secret\n")
    return file


@pytest.fixture
def api(server: FakeKubeApi, token: Path) -> KubeApi:
    return open_api(KubePlace(server.url, token))


def thing(kind: str, name: str, **metadata: Any) -> dict[str, Any]:
    about = {"name": name, "uid": f"uid-of-{name}", "creationTimestamp": "2026-01-01T00:00:00Z", **metadata}
    return {"kind": kind, "metadata": about}


def test_every_page_is_read_and_only_metadata_asked_for(
    api: KubeApi, server: FakeKubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_watch, "_PAGE", 2)
    for name in ("a", "b", "c"):
        server.put(thing("Node", name, labels={"zone": name}))
    listing = api.objects(ObjectKind.NODE)
    assert [(seen.name, seen.labels, seen.created_us) for seen in listing.objects] == [
        (name, {"zone": name}, CREATED_US) for name in ("a", "b", "c")
    ]
    assert len(server.requests) == 2


def test_what_no_name_is_made_of_is_left_out(api: KubeApi, server: FakeKubeApi) -> None:
    """A manifest kept by kubectl, and somebody's state, would make the history large and noisy."""
    applied = "kubectl.kubernetes.io/last-applied-configuration"
    kept = {"team": "search", applied: "{}", "state": "x" * 2000}
    server.put(thing("Namespace", "search", annotations=kept))
    server.put(thing("Node", "a", annotations=kept, labels={"nvidia.com/gfd.timestamp": "1", "zone": "x"}))
    assert api.objects(ObjectKind.NAMESPACE).objects[0].annotations == {"team": "search"}
    node = api.objects(ObjectKind.NODE).objects[0]
    assert (node.annotations, node.labels) == ({}, {"zone": "x"})


def test_a_watch_goes_on_where_the_list_ended(
    api: KubeApi, server: FakeKubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_watch, "_WATCH_S", 1)
    server.put(thing("Node", "a"))
    version = api.objects(ObjectKind.NODE).version
    server.put(thing("Node", "b"))
    server.delete("uid-of-a")
    changes = list(api.changes(ObjectKind.NODE, version))
    assert [(change.seen and change.seen.name, change.deleted) for change in changes] == [("b", False), ("a", True)]
    assert list(api.changes(ObjectKind.NODE, changes[-1].version)) == []


@pytest.mark.parametrize("as_status", [True, False])
def test_a_version_that_is_too_old_is_told_apart(api: KubeApi, server: FakeKubeApi, as_status: bool) -> None:
    server.gone_as_status = as_status
    server.compact()
    with pytest.raises(VersionGone):
        list(api.changes(ObjectKind.NODE, "1"))


def test_a_refusal_names_the_rights_that_are_missing(api: KubeApi, server: FakeKubeApi) -> None:
    server.trouble = Trouble(403, "forbidden")
    with pytest.raises(ClusterError, match=r"403.*needs list and watch on nodes"):
        api.objects(ObjectKind.NODE)


def test_nonsense_is_an_error_of_the_cluster(api: KubeApi, server: FakeKubeApi) -> None:
    version = api.objects(ObjectKind.NODE).version
    server.send(b"no json\n")
    with pytest.raises(ClusterError, match="cannot be read"):
        list(api.changes(ObjectKind.NODE, version))


def test_a_server_that_is_away_is_an_error_of_the_cluster(api: KubeApi, server: FakeKubeApi) -> None:
    server.stop()
    with pytest.raises(ClusterError, match="cannot be reached"):
        api.objects(ObjectKind.NODE)


def test_lines_are_whole_whatever_the_pieces() -> None:
    assert list(lines([b"one\ntw", b"o\n", b"\nthr"])) == [b"one", b"two"]


def test_a_token_that_was_replaced_is_used(api: KubeApi, server: FakeKubeApi, token: Path) -> None:
    """The kubelet writes a new one every hour."""
    token.write_text("old")
    with pytest.raises(ClusterError, match="401"):
        api.objects(ObjectKind.NODE)
    token.write_text("secret")
    assert api.objects(ObjectKind.NODE).objects == []
    token.unlink()
    with pytest.raises(ClusterError, match="cannot be reached"):
        api.objects(ObjectKind.NODE)
