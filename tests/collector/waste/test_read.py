"""What is stored and summed by the database has the kinds that all windows at once have, in any grouping and order."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, select
from tests import wasteful
from tests.databases import empty
from tests.histories import Labelled
from tests.idle_histories import (
    BEGIN_US,
    BUSY,
    HOLDING,
    SHARE_US,
    History,
    PodPart,
    histories,
    kinds_at_once,
    node_windows,
)
from tests.statements import LATER_US, apply
from tests.watched_pods import failed, learn
from tests.windows import all_received

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import Window
from gputally.accounting.states import State
from gputally.collector.allocation.allocation import allocate
from gputally.collector.allocation.filter import parse_filter
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, QueryError, Scope
from gputally.collector.allocation.steps import Step
from gputally.collector.database.engine import open_database, reading, writing
from gputally.collector.database.schema import device, line, node, owner, window
from gputally.collector.database.schema_waste import idle_part, memory_peak, tenure
from gputally.collector.files.applied import Kind as Kinds
from gputally.collector.files.applied import apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.marks import set_marks
from gputally.collector.ledger.postings import settle
from gputally.collector.ledger.retention import Policy, Retention
from gputally.collector.ledger.state import read_state, write_state
from gputally.collector.waste import lenses
from gputally.collector.waste.division import Share
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.lenses import Lens, read_lenses
from gputally.collector.waste.read import KEYS, Wasted, summed, waste

UTC = ZoneInfo("UTC")
IDLE = list(State).index(State.IDLE)
FULL_PRICE = 3_300_000_000  # of CARD, without a team or a label
PERIOD = Period(BEGIN_US - HOUR_US, BEGIN_US + 9 * HOUR_US)
few = settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def book(engine: Engine, windows: Sequence[Window], parts: int = 1) -> None:
    """Commit windows in turns, each settled before the next."""
    arrived = all_received(windows)
    committer = Committer(engine, UTC, max_age_us=None)
    size = max(1, -(-len(arrived) // parts))  # a history may be empty
    for at in range(0, len(arrived), size):
        committer.commit(arrived[at : at + size], now_us=LATER_US)
        settle(engine, UTC)


def stored(engine: Engine) -> list[list[tuple[Any, ...]]]:
    """All that is derived, by names."""
    found = []
    with reading(engine) as connection:
        for table in (idle_part, tenure, memory_peak):
            names = [node.c.name, device.c.uuid, *list(owner.c)[1:]]
            rest = [column for column in table.c if column.name not in ("node_id", "device_id", "owner_id")]
            named = (
                table.join(node, node.c.id == table.c.node_id)
                .join(device, device.c.id == table.c.device_id)
                .join(owner, owner.c.id == table.c.owner_id)
            )
            rows = connection.execute(select(*names, *rest).select_from(named)).all()
            found.append(sorted((tuple(row) for row in rows), key=str))
    return found


def by_part(engine: Engine, **query: Any) -> dict[PodPart, dict[Kind, Share]]:
    asked = Query(PERIOD, UTC, (By.CONTAINER, By.DEVICE), **query)
    return {
        PodPart(row.keys[2], row.keys[3].removeprefix("GPU-node-a-")): {
            kind: Share(one.us, one.provisional_us) for kind, one in row.kinds.items()
        }
        for row in waste(engine, UTC, asked).rows
    }


@given(histories(most_runs=4, last_minute=150), st.booleans(), st.randoms(use_true_random=False))
@few
def test_the_database_tells_the_same_as_all_windows_at_once(
    engine: Engine, history: History, ended: bool, random: Any
) -> None:
    """However the windows arrive: in order at once, or in any order and settled in between, some of them twice."""
    empty(engine)
    windows = node_windows(history, goes_on=ended)
    book(engine, windows)
    in_order = stored(engine)
    kinds = {part: of for part, of in kinds_at_once(history, ended=ended).items() if any(us for us, _ in of.values())}
    assert by_part(engine) == kinds
    empty(engine)
    shuffled = [*windows, *random.sample(windows, len(windows) // 4)]
    random.shuffle(shuffled)
    book(engine, shuffled, parts=4)
    assert stored(engine) == in_order
    assert by_part(engine) == kinds


GROUPINGS: list[tuple[tuple[By, ...], Step | None]] = [
    ((), None),
    ((By.TEAM, By.MODEL), Step.HOUR),
    ((By.WORKLOAD,), Step.DAY),
    ((By.POD_UID, By.CONTAINER, By.NODE, By.PARTITION), None),
]
FILTERS = {
    'pod:"wide-0","try-0"': {"wide-0", "try-0"},
    'workload<~:"pytorchjob"': {"train-0", "train-1"},
    'node!:"node-of-wide-0"+partition:"replica"+team:"engines"': {"train-0", "train-1", "try-0", "notebook-0"},
    'team:"nobodys"': set(),
}
SCOPES = {
    Scope(frozenset({"search"})): True,
    Scope(frozenset({"vision"})): False,
    Scope(None, frozenset({"east"})): True,
    Scope(None, frozenset({"west"})): False,
}


@pytest.fixture
def wasted(engine: Engine) -> Engine:
    wasteful.fill(engine)
    return engine


def test_in_every_grouping_the_kinds_sum_to_what_the_allocation_calls_idle(wasted: Engine) -> None:
    """In time, in money to the last unit, and without a price; also step by step, and where a price changes."""
    apply(wasted, "2026-07-01T01:00:00Z")
    for by, step in GROUPINGS:
        query = Query(PERIOD, UTC, by, step)
        found, idle = waste(wasted, UTC, query), allocate(wasted, UTC, query)
        expected = {
            (row.step, row.keys): (row.amounts.idle_us, row.money.of_state(IDLE), row.money.unpriced[IDLE])
            for row in idle.rows
            if row.amounts.idle_us
        }
        whole = {(row.step, row.keys): row.whole for row in found.rows}
        assert {name: (one.us, one.cost, one.unpriced_us) for name, one in whole.items()} == expected
        assert summed(found.total.values()).us == idle.amounts.idle_us


CARD = """\
version: 1
currency: EUR
models: {h100: [NVIDIA H100 80GB HBM3]}
prices:
  - {match: {model: h100}, valid_from: 2026-01-01, per_gpu_hour: 3.30}
  - {match: {model: h100, team: finders}, valid_from: 2026-01-01, per_gpu_hour: 1.10}
  - {match: {model: h100, node_labels: {zone: b}}, valid_from: 2026-01-01, per_gpu_hour: 1.70}
"""


@pytest.mark.parametrize("of_node", [False, True])
def test_each_hour_has_the_price_of_its_namespaces_team_and_of_its_nodes_labels(wasted: Engine, of_node: bool) -> None:
    """Where one namespace or node alone changes, the period's kinds are those of its hours together."""
    if of_node:
        cluster = Labelled(wasted)
        cluster.node(BEGIN_US - HOUR_US, "node-of-notebook-0", zone="a")
        cluster.node(BEGIN_US + HOUR_US, "node-of-notebook-0", zone="b")
    else:
        apply(wasted, "2026-07-01T01:00:00Z")
    apply_file(wasted, Kinds.RATES, CARD.encode(), "ann@laptop", 2)
    by = (By.NODE,) if of_node else (By.TEAM,)
    whole = {row.keys: row.kinds for row in waste(wasted, UTC, Query(PERIOD, UTC, by)).rows}
    hours: dict[tuple[str, ...], dict[Kind, Wasted]] = {}
    for row in waste(wasted, UTC, Query(PERIOD, UTC, by, Step.HOUR)).rows:
        kinds = hours.setdefault(row.keys, dict.fromkeys(Kind, Wasted()))
        hours[row.keys] = {kind: kinds[kind].plus(row.kinds[kind]) for kind in Kind}
    assert whole == hours
    assert {Fraction(one.cost or 0, one.us) for row in whole.values() for one in row.values() if one.us} > {FULL_PRICE}


def test_what_is_filtered_or_hidden_is_in_nothing(wasted: Engine) -> None:
    """Whoever sees one namespace or cluster sees its waste alone."""
    for where, pods in FILTERS.items():
        query = Query(PERIOD, UTC, (By.POD,), where=parse_filter(where))
        assert {row.keys[1] for row in waste(wasted, UTC, query).rows} == pods, where
    for scope, seen in SCOPES.items():
        found = waste(wasted, UTC, Query(PERIOD, UTC, scope=scope))
        assert (summed(found.total.values()).us > 0) is seen, scope


def test_what_no_idle_time_is_told_by_is_refused(migrated_file: Path) -> None:
    engine = open_database(f"sqlite:///{migrated_file}")
    for by in sorted(set(By) - set(KEYS)):
        with pytest.raises(QueryError, match="no such name"):
            waste(engine, UTC, Query(PERIOD, UTC, (by,)))
    engine.dispose()


def test_lenses_tell_what_failed_and_who_was_late(wasted: Engine) -> None:
    """Of the gang the second rank was less busy; the try failed, and its idle time counts with the used."""
    with reading(wasted) as connection:
        found = read_lenses(connection, UTC, Query(PERIOD, UTC))
    assert [(row.name.label, row.lens, row.found.us) for row in found.rows] == [
        ("job/try", Lens.FAILED, 30 * SHARE_US),
        # Between 50 minutes of an hour and 33, halved; told in millionths.
        ("pytorchjob.kubeflow/bert", Lens.STRAGGLING, 500_000_400),
    ]
    with reading(wasted) as connection:
        nothing = read_lenses(connection, UTC, Query(PERIOD, UTC, where=parse_filter('pod:"train-1"')))
    assert nothing.total == {Lens.FAILED: Wasted(), Lens.STRAGGLING: Wasted()}


def test_lenses_show_a_team_its_own(wasted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Teams are not in the database, and stragglers of others are none of theirs; too many ranks are unknown, not 0."""
    found = {}
    with reading(wasted) as connection:
        for team in ("engines", "finders", "nobodys"):
            query = Query(PERIOD, UTC, where=parse_filter(f'team:"{team}"'))
            found[team] = read_lenses(connection, UTC, query).total[Lens.STRAGGLING]
        monkeypatch.setattr(lenses, "MAX_RANK_HOURS", 1)
        late = read_lenses(connection, UTC, Query(PERIOD, UTC))
        assert late.total[Lens.STRAGGLING] is None
        assert late.total[Lens.FAILED]
        assert list(late.unknown) == [Lens.STRAGGLING]
    assert found["nobodys"] == Wasted()
    assert {one.us for one in found.values() if one} == {0, 500_000_400}


def test_a_pod_that_the_api_saw_end_is_final_at_once(engine: Engine) -> None:
    """Its node need not go on without it."""
    book(engine, node_windows(wasteful.PODS["notebook-0"][0], goes_on=False, pod="notebook-0"))
    assert waste(engine, UTC, Query(PERIOD, UTC)).total[Kind.FORGOTTEN].provisional_us
    learn(engine, "notebook-0", "Notebook.kubeflow/anns", status=failed())
    total = waste(engine, UTC, Query(PERIOD, UTC)).total
    assert total[Kind.AFTER] == Wasted(110 * SHARE_US, 0, None, 110 * SHARE_US)


def test_a_spell_goes_on_from_an_hour_whose_lines_are_gone(engine: Engine) -> None:
    """Its parts are still known; they do not change any more, and those of the next hour do not depend on when."""
    history = {PodPart("main", "gpu-0"): wasteful.minutes((40, BUSY), (40, HOLDING), (10, BUSY))}
    windows = node_windows(history, goes_on=True)
    book(engine, windows)
    before = stored(engine)
    assert waste(engine, UTC, Query(PERIOD, UTC)).total[Kind.FORGOTTEN].us == 40 * SHARE_US
    with writing(engine) as connection:
        write_state(connection, replace(read_state(connection), lines_from_us=BEGIN_US + HOUR_US))
        connection.execute(delete(line).where(line.c.window_id == select(func.min(window.c.id)).scalar_subquery()))
        node_id = connection.execute(select(func.min(node.c.id))).scalar_one()
        set_marks(connection, [(BEGIN_US + HOUR_US, node_id)])
    settle(engine, UTC)
    assert stored(engine) == before


def test_the_kinds_of_each_profile_sum_to_its_idle_time(engine: Engine) -> None:
    """A driver that did not say an instance's profile at first: within an hour it has two postings, and two prices."""
    history = {PodPart("main", "MIG-1"): wasteful.minutes((5, BUSY), (35, HOLDING), (20, BUSY))}
    windows = [
        replace(
            one, devices=tuple(replace(of, profiles={"replica": "1g.10gb"} if at >= 22 else {}) for of in one.devices)
        )
        for at, one in enumerate(node_windows(history, goes_on=True))
    ]
    book(engine, windows)
    found = {row.keys: row for row in waste(engine, UTC, Query(PERIOD, UTC, (By.PROFILE, By.POD))).rows}
    asked = Query(PERIOD, UTC, (By.PROFILE, By.POD), states=(State.IDLE,))
    idle = {row.keys: row.amounts.idle_us for row in allocate(engine, UTC, asked).rows if row.amounts.idle_us}
    assert {keys: row.whole.us for keys, row in found.items()} == idle
    assert min(one.us for row in found.values() for one in row.kinds.values()) == 0


def test_parts_go_with_their_postings(engine: Engine) -> None:
    """The hours are kept for a month after the one that they lie in."""
    wasteful.fill(engine, ["notebook-0"])
    policy = Policy(lines_us=None, posting_months=1, quarantine_us=1, quarantine_bytes=1)
    retention = Retention(engine, UTC, policy, lambda: BEGIN_US + 70 * 24 * HOUR_US)
    left = []
    for _ in range(3):
        retention.turn()
        left.append([len(rows) for rows in stored(engine)])
    assert left[0][0] == 1
    assert left[-1] == [0, 1, 1], "the last hour's tenure goes with the next hour's postings"
