"""Histories of labels and presence: as they were, each fact once, whichever replica tells it and in which order."""

import itertools
from datetime import UTC
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from tests.databases import empty

from gputally.collector.cluster.history import ClusterHistory
from gputally.collector.cluster.labels import read_namespaces
from gputally.collector.cluster.watch import Listing, ObjectKind, Seen
from gputally.collector.database.engine import reading
from gputally.collector.database.schema_billing import cluster_sync, namespace_history, node_history, node_presence
from gputally.collector.teams import read_teams


class Clock:
    """A wall clock that a test sets."""

    def __init__(self, us: int) -> None:
        self.us = us

    def __call__(self) -> int:
        return self.us


def seen(name: str, version: int, uid: str = "", created_us: int = 1000, **labels: str) -> Seen:
    return Seen(name, uid or f"uid-of-{name}", created_us, version, labels, {"note": "x"} if labels else {})


def listing(*objects: Seen) -> Listing[Seen]:
    return Listing(objects, str(max((seen.version for seen in objects), default=0)))


def namespaces(engine: Engine) -> list[tuple[str, int, int | None, str]]:
    table = namespace_history.c
    with reading(engine) as connection:
        rows = connection.execute(
            select(table.uid, table.valid_from_us, table.valid_to_us, table.labels).order_by(table.valid_from_us)
        )
        return [tuple(row) for row in rows]


def presence(engine: Engine) -> list[tuple[str, int, str, int | None]]:
    table = node_presence.c
    with reading(engine) as connection:
        rows = connection.execute(select(table.node, table.from_us, table.uid, table.gone_us).order_by(table.from_us))
        return [tuple(row) for row in rows]


def test_the_first_labels_hold_from_the_creation_and_changes_from_when_they_are_seen(engine: Engine) -> None:
    clock = Clock(5000)
    history = ClusterHistory(engine, "east", UTC, clock)
    history.replace(ObjectKind.NAMESPACE, listing(seen("search", 1, team="one")))
    clock.us = 7000
    history.put(ObjectKind.NAMESPACE, seen("search", 2, team="two"))
    assert namespaces(engine) == [
        ("uid-of-search", 1000, 7000, '{"team":"one"}'),
        ("uid-of-search", 7000, None, '{"team":"two"}'),
    ]


def test_what_is_known_already_writes_nothing(engine: Engine) -> None:
    """Two replicas tell the same, and a list comes again after every break of the watch."""
    clock = Clock(5000)
    replicas = [ClusterHistory(engine, "east", UTC, clock) for _ in range(2)]
    for replica in replicas:
        replica.replace(ObjectKind.NAMESPACE, listing(seen("search", 1, team="one")))
        replica.put(ObjectKind.NAMESPACE, seen("search", 2, team="two"))
        clock.us += 10
    replicas[0].put(ObjectKind.NAMESPACE, seen("search", 3, team="two"))
    assert [row[3] for row in namespaces(engine)] == ['{"team":"one"}', '{"team":"two"}']


def test_a_list_that_another_replica_has_overtaken_closes_nothing(engine: Engine) -> None:
    """Between the list of one and its writing, the other saw a namespace being made."""
    one, other = (ClusterHistory(engine, "east", UTC, Clock(5000)) for _ in range(2))
    one.put(ObjectKind.NAMESPACE, seen("search", 9))
    other.replace(ObjectKind.NAMESPACE, Listing([], "8"))
    assert [row[2] for row in namespaces(engine)] == [None]
    other.replace(ObjectKind.NAMESPACE, Listing([], "10"))
    assert [row[2] for row in namespaces(engine)] == [5000]


def test_an_event_that_is_older_than_what_is_known_is_left_out(engine: Engine) -> None:
    """A replica that lags does not bring old labels back, nor a namespace that was deleted."""
    history = ClusterHistory(engine, "east", UTC, Clock(5000))
    history.put(ObjectKind.NAMESPACE, seen("search", 9, team="two"))
    history.put(ObjectKind.NAMESPACE, seen("search", 8, team="one"))
    assert [row[3] for row in namespaces(engine)] == ['{"team":"two"}']
    history.delete(ObjectKind.NAMESPACE, seen("search", 10))
    history.put(ObjectKind.NAMESPACE, seen("search", 9, team="two"))
    assert [row[2] for row in namespaces(engine)] == [5000]


def test_a_list_is_believed_even_where_versions_began_anew(engine: Engine) -> None:
    """A cluster restored from a backup counts its versions from an earlier one."""
    clock = Clock(5000)
    history = ClusterHistory(engine, "east", UTC, clock)
    history.put(ObjectKind.NAMESPACE, seen("search", 900, team="two"))
    clock.us = later = 5000 + 600_000_000
    history.replace(ObjectKind.NAMESPACE, listing(seen("search", 5, team="one")))
    assert [row[1:] for row in namespaces(engine)] == [(1000, later, '{"team":"two"}'), (later, None, '{"team":"one"}')]


def test_one_made_again_under_its_name_is_another(engine: Engine) -> None:
    """The old one ended at the latest when the new one was created, whether or not its deletion was seen."""
    history = ClusterHistory(engine, "east", UTC, Clock(9000))
    history.replace(ObjectKind.NAMESPACE, listing(seen("search", 1, "uid-1", 1000, team="one")))
    history.replace(ObjectKind.NAMESPACE, listing(seen("search", 7, "uid-2", 4000, team="two")))
    assert [row[:3] for row in namespaces(engine)] == [("uid-1", 1000, 4000), ("uid-2", 4000, None)]


def test_clusters_do_not_touch_each_other(engine: Engine) -> None:
    ClusterHistory(engine, "east", UTC, Clock(5000)).replace(ObjectKind.NAMESPACE, listing(seen("search", 1)))
    ClusterHistory(engine, "west", UTC, Clock(6000)).replace(ObjectKind.NAMESPACE, listing())
    assert [row[2] for row in namespaces(engine)] == [None]


def test_an_annotation_may_hold_what_no_database_takes_as_text(engine: Engine) -> None:
    """Whoever may annotate a namespace could stop the watch otherwise."""
    evil = "a\x00b\ud800"
    history = ClusterHistory(engine, "east", UTC, Clock(5000))
    history.put(ObjectKind.NAMESPACE, Seen("search", "uid", 1000, 1, {}, {"team": evil}))
    with reading(engine) as connection:
        labels = read_namespaces(connection, ZoneInfo("UTC")).at("east", "search", 5000)
        team = read_teams(connection, ZoneInfo("UTC")).at("east", "search", 5000).team
    assert labels is not None
    assert labels.annotations == {"team": evil}
    assert team is None


def test_a_node_is_there_from_its_creation_until_it_is_gone(engine: Engine) -> None:
    clock = Clock(5000)
    history = ClusterHistory(engine, "east", UTC, clock)
    history.replace(ObjectKind.NODE, listing(seen("a", 1), seen("b", 2)))
    clock.us = 6000
    history.delete(ObjectKind.NODE, seen("a", 3))
    clock.us = 7000
    history.put(ObjectKind.NODE, seen("a", 4, "uid-2", 6500))
    clock.us = 8000
    history.replace(ObjectKind.NODE, listing(seen("a", 4, "uid-2", 6500)))  # b left while nobody watched
    assert sorted(presence(engine), key=str) == [
        ("a", 1000, "uid-of-a", 6000),
        ("a", 6500, "uid-2", None),
        ("b", 1000, "uid-of-b", 8000),
    ]


def test_labels_that_change_leave_a_node_present(engine: Engine) -> None:
    clock = Clock(5000)
    history = ClusterHistory(engine, "east", UTC, clock)
    history.replace(ObjectKind.NODE, listing(seen("a", 1, zone="x")))
    clock.us = 6000
    history.put(ObjectKind.NODE, seen("a", 2, zone="y"))
    assert presence(engine) == [("a", 1000, "uid-of-a", None)]


def test_a_cluster_is_synced_as_far_as_the_kind_that_is_least_far(engine: Engine) -> None:
    clock = Clock(5000)
    history = ClusterHistory(engine, "east", UTC, clock)
    query = select(cluster_sync.c.synced_us)
    history.synced(ObjectKind.NODE)
    with reading(engine) as connection:
        assert connection.scalars(query).all() == []
    clock.us = 6000
    history.synced(ObjectKind.NAMESPACE)
    with reading(engine) as connection:
        assert connection.scalars(query).all() == [5000]


_STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("12"), st.sampled_from("xyz")), max_size=8)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=15, deadline=None
)
@given(steps=_STEPS, repeats=st.lists(st.integers(0, 7), max_size=6))
def test_replicas_that_tell_the_same_in_any_pace_leave_one_history(
    engine: Engine, steps: list[tuple[str, str, str]], repeats: list[int]
) -> None:
    """What a second replica tells later, again or not at all changes no row; rows of a name never overlap."""
    empty(engine)
    clock = Clock(5000)
    history, replica = (ClusterHistory(engine, "east", UTC, clock) for _ in range(2))
    events = [seen(name, at, f"{name}-{uid}", 1000 + at, zone=zone) for at, (name, uid, zone) in enumerate(steps, 1)]
    for event in events:
        clock.us += 100
        history.put(ObjectKind.NODE, event)
    alone = rows(engine)
    for at in repeats:
        clock.us += 100
        for event in events[at : at + 1]:
            replica.put(ObjectKind.NODE, event)
    assert rows(engine) == alone
    for name, of_name in itertools.groupby(alone, key=lambda row: row[0]):
        spans = sorted((start, 2**63 if end is None else end) for _, _, start, end, _ in of_name)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans)), name


def rows(engine: Engine) -> list[tuple[str, str, int, int | None, str]]:
    table = node_history.c
    query = select(table.name, table.uid, table.valid_from_us, table.valid_to_us, table.labels)
    with reading(engine) as connection:
        return sorted((tuple(row) for row in connection.execute(query)), key=str)
