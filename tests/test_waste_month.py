"""What a fleet of AI platforms wastes, told by the ledger, against the truth of its scenario (waste_month.py).

Of its month these are four hours of a Tuesday in full, in which all of it happens; `make month` tells all days.
"""

from collections.abc import Iterator, Mapping

import pytest
from sqlalchemy import Engine
from tests.waste_month import (
    EVERYTHING_HAPPENS,
    GANG_NODES,
    GPUS,
    UTC,
    Truth,
    by_workload,
    fill,
    fleet,
    period_of,
    truth,
)

from gputally.agent.simulated.scenario import Scenario
from gputally.collector.allocation.allocation import read_allocation
from gputally.collector.allocation.amounts import summed
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.query import Query
from gputally.collector.database.engine import open_database, reading
from gputally.collector.database.migrate import migrate
from gputally.collector.files.applied import Kind as File
from gputally.collector.files.applied import apply_file
from gputally.collector.jobs.job import read_jobs
from gputally.collector.jobs.pod import Outcome
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.lenses import Lens, read_lenses
from gputally.collector.waste.read import read_waste

MINUTE_US = 60_000_000
GANG = "trainjob.kubeflow/pretrain-20261103"
PRICE = 3_600_000_000  # of a GPU-hour, in 10⁻⁹ of the currency
CARD = b"""\
version: 1
currency: EUR
prices:
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: 2020-01-01, per_gpu_hour: 3.60}
"""
ALL = Query(period_of(*EVERYTHING_HAPPENS), UTC, (By.WORKLOAD,))


@pytest.fixture(scope="module")
def nodes() -> Mapping[str, Scenario]:
    return fleet()


@pytest.fixture(scope="module")
def true(nodes: Mapping[str, Scenario]) -> Truth:
    return truth(nodes, *EVERYTHING_HAPPENS)


@pytest.fixture(scope="module")
def engine(nodes: Mapping[str, Scenario], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('month')}/ledger.sqlite")
    migrate(engine)
    apply_file(engine, File.RATES, CARD, "tests", 1)
    fill(engine, nodes, *EVERYTHING_HAPPENS)
    yield engine
    engine.dispose()


def test_the_table_of_waste_is_the_scenarios_truth(engine: Engine, true: Truth) -> None:
    """Of every workload, to the microsecond; each kind occurs, and something is provisional."""
    assert by_workload(engine, *EVERYTHING_HAPPENS) == true.kinds
    for kind in Kind:
        assert sum(shares[kind][0] for shares in true.kinds.values()), kind
    assert {label for label, shares in true.kinds.items() if sum(unsure for _, unsure in shares.values())} == {
        "notebook.kubeflow/ada",
        "notebook.kubeflow/bob",
    }, "what has not ended, and used nothing just now"


def test_the_five_kinds_are_the_idle_time_and_its_money(engine: Engine) -> None:
    with reading(engine) as connection:
        waste = read_waste(connection, UTC, ALL)
        idle = read_allocation(connection, UTC, ALL).rows
    by_label = {row.keys[-1]: row.amounts.idle_us for row in idle if row.amounts.idle_us}
    assert {row.keys[-1]: row.whole.us for row in waste.rows} == by_label
    assert all(one.cost == one.us * PRICE for row in waste.rows for one in row.kinds.values())
    assert [row.whole.us for row in waste.rows] == sorted(by_label.values(), reverse=True), "the dearest first"


def test_lenses_show_what_failed_and_who_was_waited_for(engine: Engine, true: Truth) -> None:
    """Failed: both attempts, whatever ran in them. Straggling: shares are told in millionths."""
    with reading(engine) as connection:
        found = read_lenses(connection, UTC, ALL)
    by_lens = {lens: {row.name.label: row.found.us for row in found.rows if row.lens is lens} for lens in Lens}
    assert by_lens[Lens.FAILED] == true.failed_us
    assert true.failed_us == {GANG: GANG_NODES * GPUS * (50 + 38) * MINUTE_US}
    late = by_lens[Lens.STRAGGLING]
    assert set(late) == set(true.straggling_us)
    assert GANG in late
    for label, us in late.items():
        assert abs(us - true.straggling_us[label]) <= 4 * GANG_NODES * GPUS * 3600, label


def test_the_gang_is_one_row(engine: Engine) -> None:
    """24 pods of 8 ranks on 8 nodes in 3 attempts are one job that succeeded, with all of its GPU-hours."""
    with reading(engine) as connection:
        jobs = {job.name.label: job for job in read_jobs(connection, UTC, ALL).jobs}
    gang, course = jobs[GANG], jobs[GANG].course
    assert (course.ranks, course.nodes, course.pods, course.at_once) == (8, 8, 24, 8)
    assert [(one.number, one.outcome) for one in course.attempts] == [
        (0, Outcome.FAILED),
        (1, Outcome.FAILED),
        (2, Outcome.SUCCEEDED),
    ]
    start_us = EVERYTHING_HAPPENS[0] + 5 * MINUTE_US
    assert (course.start_us, course.end_us, course.outcome) == (start_us, start_us + 210 * MINUTE_US, Outcome.SUCCEEDED)
    assert gang.amounts.reserved_us == GANG_NODES * GPUS * (50 + 38 + 118) * MINUTE_US
    chat = jobs["inferenceservice.kserve/chat"]
    assert (chat.course.pods, chat.course.at_once, chat.course.attempts) == (2, 2, ())


def test_nothing_is_lost(engine: Engine, nodes: Mapping[str, Scenario]) -> None:
    """All states together are the fleet's capacity: nothing was unobserved."""
    with reading(engine) as connection:
        total = summed(row.amounts for row in read_allocation(connection, UTC, ALL).rows)
    start_us, end_us = EVERYTHING_HAPPENS
    assert total.capacity_us == sum(len(one.gpus) for one in nodes.values()) * (end_us - start_us)
    assert (total.unobserved_us, total.unavailable_us) == (0, 0)
