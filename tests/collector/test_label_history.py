"""Labels by ledger hour: those in force when it begins; the first ones of what is younger than the hour."""

from zoneinfo import ZoneInfo

from sqlalchemy import Engine
from tests.histories import Labelled

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.cluster.labels import LabelHistory, read_namespaces, read_nodes
from gputally.collector.cluster.watch import ObjectKind
from gputally.collector.database.engine import reading

UTC = ZoneInfo("UTC")
T_US = 1_782_864_000_000_000  # 2026-07-01T00:00:00Z
MINUTE_US = 60_000_000


def nodes(engine: Engine, as_of_us: int | None = None, zone: ZoneInfo = UTC) -> LabelHistory:
    with reading(engine) as connection:
        return read_nodes(connection, zone, as_of_us)


def zones(history: LabelHistory, hours: int = 4, name: str = "a") -> list[str | None]:
    found = [history.at("east", name, T_US + hour * HOUR_US) for hour in range(hours)]
    return [one and one.labels.get("zone") for one in found]


def test_an_hour_has_the_labels_with_which_it_began(engine: Engine) -> None:
    cluster = Labelled(engine)
    cluster.node(T_US, "a", zone="x")
    cluster.node(T_US + 90 * MINUTE_US, "a", zone="y")
    assert zones(nodes(engine)) == ["x", "x", "y", "y"]


def test_what_was_made_within_an_hour_has_its_first_labels_in_it(engine: Engine) -> None:
    Labelled(engine).node(T_US + 90 * MINUTE_US, "a", zone="x")
    assert zones(nodes(engine)) == [None, "x", "x", "x"]


def test_what_is_deleted_keeps_its_labels_until_another_of_its_name_exists(engine: Engine) -> None:
    """Its last windows may arrive, and be booked, a little after it is gone."""
    cluster = Labelled(engine)
    old = cluster.node(T_US, "a", zone="x")
    cluster.delete(T_US + 30 * MINUTE_US, ObjectKind.NODE, old)
    cluster.node(T_US + 150 * MINUTE_US, "a", uid="another", zone="y")
    assert zones(nodes(engine)) == ["x", "x", "y", "y"]


def test_one_made_again_within_the_hour_begins_with_the_next(engine: Engine) -> None:
    cluster = Labelled(engine)
    old = cluster.node(T_US, "a", zone="x")
    cluster.delete(T_US + 70 * MINUTE_US, ObjectKind.NODE, old)
    cluster.node(T_US + 80 * MINUTE_US, "a", uid="another", zone="y")
    found = nodes(engine)
    assert zones(found) == ["x", "x", "y", "y"]
    uids = [found.at("east", "a", T_US + hour * HOUR_US) for hour in (1, 2)]
    assert [one and one.uid for one in uids] == ["uid-of-a", "another"]


def test_labels_are_read_as_they_were_known(engine: Engine) -> None:
    cluster = Labelled(engine)
    cluster.node(T_US, "a", zone="x")
    cluster.node(T_US + HOUR_US, "a", zone="y")
    assert zones(nodes(engine, T_US + HOUR_US - 1)) == ["x", "x", "x", "x"]


def test_hours_are_those_of_the_billing_zone(engine: Engine) -> None:
    """In Kolkata an hour begins at half past: 00:10 UTC is in that of 23:30."""
    Labelled(engine).node(T_US + 10 * MINUTE_US, "a", zone="x")
    found = nodes(engine, zone=ZoneInfo("Asia/Kolkata"))
    assert found.breakpoints("east", "a") == (T_US - 30 * MINUTE_US,)


def test_namespaces_have_annotations_too_and_clusters_are_apart(engine: Engine) -> None:
    Labelled(engine).namespace(T_US, "search", annotations={"team": "red"}, tier="1")
    with reading(engine) as connection:
        found = read_namespaces(connection, UTC)
    labels = found.at("east", "search", T_US)
    assert labels is not None
    assert (labels.annotations, labels.pairs) == ({"team": "red"}, (("tier", "1"),))
    assert found.at("west", "search", T_US) is None
    assert found.names == [("east", "search")]
