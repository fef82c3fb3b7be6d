"""Whose a namespace is: the file's word first, then labels, as they were; and nobody's where nothing says."""

from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine
from tests.histories import Labelled

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.database.engine import reading
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.files.yaml_file import FileMistakes
from gputally.collector.teams import Assignment, TeamBook, parse_mapping, read_teams

UTC = ZoneInfo("UTC")
T_US = 1_782_864_000_000_000  # 2026-07-01T00:00:00Z
DAY_US = 24 * HOUR_US

MAPPING = b"""\
version: 1
team_keys: [owner, team]
namespaces:
  - namespace: search
    team: Search
    cost_center: "4711"
    valid_from: 2026-07-02
    valid_to: 2026-07-04
  - namespace: search
    cluster: west
    team: Search West
    valid_from: 2026-07-01
"""

Read = Callable[[], TeamBook]


@pytest.fixture
def book(engine: Engine) -> Read:
    def read() -> TeamBook:
        with reading(engine) as connection:
            return read_teams(connection, UTC)

    return read


def test_without_a_file_a_label_or_an_annotation_says_it(engine: Engine, book: Read) -> None:
    cluster = Labelled(engine)
    cluster.namespace(T_US, "search", team="red")
    cluster.namespace(T_US, "vision", annotations={"gputally.io/team": "blue", "cost-center": "42"})
    assert book().at("east", "search", T_US) == Assignment("red", None, "team from label team")
    assert book().at("east", "vision", T_US) == Assignment(
        "blue", "42", "team from annotation gputally.io/team, cost centre from annotation cost-center"
    )


def test_where_nothing_says_there_is_no_team(engine: Engine, book: Read) -> None:
    """None, not an empty text: finance sees that it is unknown."""
    Labelled(engine).namespace(T_US, "search", team=" ")
    assert book().at("east", "search", T_US) == Assignment(None, None, "nothing says")
    assert book().at("east", "never-seen", T_US).team is None


def test_the_file_beats_labels_while_an_entry_is_in_force(engine: Engine, book: Read) -> None:
    Labelled(engine).namespace(T_US, "search", owner="red", team="never")
    apply_file(engine, Kind.TEAMS, MAPPING, "ann@host", T_US)
    teams = [book().at("east", "search", T_US + day * DAY_US).team for day in range(5)]
    assert teams == ["red", "Search", "Search", "red", "red"]


def test_an_entry_for_a_cluster_beats_one_for_all_and_leaves_the_rest_to_labels(engine: Engine, book: Read) -> None:
    Labelled(engine, "west").namespace(T_US, "search", **{"cost-center": "7"})
    apply_file(engine, Kind.TEAMS, MAPPING, "ann@host", T_US)
    found = book().at("west", "search", T_US + DAY_US)
    assert (found.team, found.cost_center) == ("Search West", "7")


def test_labels_are_those_of_the_time_of_use(engine: Engine, book: Read) -> None:
    cluster = Labelled(engine)
    cluster.namespace(T_US, "search", team="red")
    cluster.namespace(T_US + DAY_US, "search", team="blue")
    assert [book().at("east", "search", T_US + day * DAY_US).team for day in (0, 1)] == ["red", "blue"]


def test_one_made_again_under_its_name_may_be_anothers(engine: Engine, book: Read) -> None:
    cluster = Labelled(engine)
    cluster.namespace(T_US, "search", team="red")
    cluster.namespace(T_US + DAY_US, "search", uid="another", team="blue")
    assert [book().at("east", "search", T_US + day * DAY_US).team for day in (0, 1)] == ["red", "blue"]


def test_an_answer_holds_between_breakpoints(engine: Engine, book: Read) -> None:
    """Pricing asks only once between two of them."""
    cluster = Labelled(engine)
    cluster.namespace(T_US, "search", team="red")
    cluster.namespace(T_US + 6 * HOUR_US, "search", team="blue")
    apply_file(engine, Kind.TEAMS, MAPPING, "ann@host", T_US)
    found = book()
    edges = found.breakpoints("east", "search")
    changes = [
        hour
        for hour in range(1, 100)
        if found.at("east", "search", T_US + hour * HOUR_US) != found.at("east", "search", T_US + (hour - 1) * HOUR_US)
    ]
    assert changes == [6, 24, 72]
    assert {T_US + hour * HOUR_US for hour in changes} <= set(edges)


def test_every_mistake_of_a_file_is_told_at_once() -> None:
    content = b"""\
version: 1
namespaces:
  - namespace: search
    teem: red
    valid_from: 2026-07-01
  - namespace: a
    team: x
    valid_from: 2026-07-01T00:30:00Z
  - namespace: b
    team: x
    valid_from: 2026-07-01
    valid_to: 2026-07-03
  - namespace: b
    team: y
    valid_from: 2026-07-02
"""
    with pytest.raises(FileMistakes) as caught:
        parse_mapping(content, UTC)
    assert [(mistake.line, mistake.text.partition(":")[0]) for mistake in caught.value.mistakes] == [
        (3, "team or cost_center is missing"),
        (4, "unknown field teem"),
        (8, "valid_from 2026-07-01T00"),
        (13, "namespace b"),
    ]


@pytest.mark.parametrize("content", [b"", b"[]", b"x", b"version: 1\nnamespaces: 1\n"])
def test_a_file_that_is_no_mapping_is_refused(content: bytes) -> None:
    with pytest.raises(FileMistakes):
        parse_mapping(content, UTC)
