"""The watch: it lists, follows, lists again when it must, and says what keeps it from being complete."""

import threading
from collections.abc import Callable

import pytest
from tests.clusters import FakeCluster

from gputally.collector.cluster.watch import ClusterError, ClusterWatch, Listing, ObjectKind, Refused, Seen


class Notes:
    """A history in memory: the names that are there, and what was told."""

    def __init__(self) -> None:
        self.there: dict[ObjectKind, dict[str, Seen]] = {kind: {} for kind in ObjectKind}
        self.syncs = 0

    def replace(self, kind: ObjectKind, listing: Listing[Seen]) -> None:
        self.there[kind] = {seen.uid: seen for seen in listing.objects}

    def put(self, kind: ObjectKind, seen: Seen) -> None:
        self.there[kind][seen.uid] = seen

    def delete(self, kind: ObjectKind, seen: Seen) -> None:
        self.there[kind].pop(seen.uid, None)

    def synced(self, kind: ObjectKind) -> None:
        self.syncs += 1


def turns(cluster: FakeCluster, *steps: Callable[[], object]) -> Callable[[], bool]:
    """Do one step each time the watch asks whether to stop; stop after the last."""
    left = list(steps)

    def stopped() -> bool:
        if not left:
            return True
        left.pop(0)()
        return False

    return stopped


def test_what_is_there_is_listed_and_what_changes_is_followed() -> None:
    cluster, notes = FakeCluster(), Notes()
    watch = ClusterWatch(cluster, notes)
    cluster.put(ObjectKind.NODE, "a", "uid-a", 1)
    add = lambda: cluster.put(ObjectKind.NODE, "b", "uid-b", 2)  # noqa: E731
    assert watch.follow(ObjectKind.NODE, turns(cluster, add, lambda: None))
    assert set(notes.there[ObjectKind.NODE]) == {"uid-a", "uid-b"}
    assert cluster.asked.count(("list", ObjectKind.NODE)) == 1


def test_a_deletion_is_followed() -> None:
    cluster, notes = FakeCluster(), Notes()
    cluster.put(ObjectKind.NODE, "a", "uid-a", 1)
    ClusterWatch(cluster, notes).follow(
        ObjectKind.NODE, turns(cluster, lambda: cluster.remove(ObjectKind.NODE, "uid-a"), lambda: None)
    )
    assert notes.there[ObjectKind.NODE] == {}


def test_a_version_that_is_gone_is_no_failure_and_the_next_turn_lists_again() -> None:
    cluster, notes = FakeCluster(), Notes()
    watch = ClusterWatch(cluster, notes)
    assert watch.follow(ObjectKind.NODE, turns(cluster, cluster.compact, lambda: None))
    assert watch.last_error == ""


def test_a_refusal_is_told_until_it_is_over() -> None:
    cluster, notes = FakeCluster(), Notes()
    watch = ClusterWatch(cluster, notes)
    cluster.trouble = "forbidden"
    assert not watch.follow(ObjectKind.NODE, lambda: False)
    assert watch.last_error == "the cluster's nodes cannot be followed: forbidden"
    assert notes.syncs == 0
    cluster.trouble = ""
    assert watch.follow(ObjectKind.NODE, turns(cluster, lambda: None))
    assert watch.last_error == ""


def test_each_kind_is_told_by_itself_and_a_right_that_is_missing_is_no_error() -> None:
    cluster = FakeCluster()
    watch = ClusterWatch(cluster, Notes())
    cluster.trouble = "away"
    watch.follow(ObjectKind.NODE, lambda: False)
    assert watch.errors == {"namespaces": "", "nodes": "the cluster's nodes cannot be followed: away"}
    optional = ClusterWatch(cluster, Notes(), kinds=[ObjectKind.POD], optional=True)
    assert optional.errors == {"pods": ""}
    cluster.trouble = Refused("403")
    optional.follow(ObjectKind.POD, lambda: False)
    assert optional.errors == {}
    optional.start()
    optional.close(60)
    assert optional.errors == {"pods": "watch-pods has ended"}  # nobody asks for the right any more


def test_what_can_be_done_without_is_asked_for_in_vain_once_aloud(caplog: pytest.LogCaptureFixture) -> None:
    """A right that was never given is no problem of the collector; one that was taken away is told again."""
    caplog.set_level("INFO")
    cluster, notes = FakeCluster(), Notes()
    watch = ClusterWatch(cluster, notes, kinds=[ObjectKind.POD], optional=True)
    for trouble in (Refused("403"), Refused("403"), None, Refused("403 again"), ClusterError("away")):
        cluster.trouble = trouble or ""
        assert watch.follow(ObjectKind.POD, turns(cluster, lambda: None)) is (trouble is None)
        assert watch.last_error == ("the cluster's pods cannot be followed: away" if str(trouble) == "away" else "")
    assert [record.message for record in caplog.records] == [
        "the cluster's pods cannot be followed: 403; everything else goes on",
        "the cluster's pods cannot be followed: 403 again; everything else goes on",
        "the cluster's pods cannot be followed: away; trying again in 5 s",
    ]


@pytest.mark.parametrize("started", [True, False])
def test_the_threads_end_when_it_is_closed(started: bool) -> None:
    cluster = FakeCluster()
    cluster.trouble = "away"
    watch = ClusterWatch(cluster, Notes(), retry_s=60)
    if started:
        watch.start()
    watch.close(60)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("watch-")]
