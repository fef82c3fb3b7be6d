"""The demo's prices, teams and budgets have no mistake, and leave nothing of its fleet without a price or a team."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gputally.agent.simulated.scenario_file import load
from gputally.collector.budgets import parse_budgets, read_budgets
from gputally.collector.cli.rates import example_card
from gputally.collector.database.engine import open_database, reading
from gputally.collector.database.migrate import migrate
from gputally.collector.files.applied import Kind, versions
from gputally.collector.rates.check import check
from gputally.collector.teams import parse_mapping
from gputally.demo.books import APPLIED_BY, apply_books

FOLDER = Path(__file__).resolve().parents[2] / "demo"
NODES = [load(path, 0) for path in sorted((FOLDER / "scenarios").glob("*.json"))]
NOW_US = 1_795_000_000_000_000  # in November 2026
UTC = ZoneInfo("UTC")


def test_every_model_of_the_fleet_has_a_price() -> None:
    models = {gpu.info.model for node in NODES for gpu in node.gpus}
    found = check(example_card(), UTC, models, NOW_US)
    assert (found.errors, found.warnings) == ((), ())


def test_every_namespace_has_a_team_and_every_budget_somebody_who_uses_it() -> None:
    namespaces = {pod.namespace for node in NODES for pod in node.pods}
    mapping = parse_mapping((FOLDER / "books" / "teams.yaml").read_bytes(), UTC)
    assert {entry.namespace for entry in mapping.entries} == namespaces
    budgets = parse_budgets((FOLDER / "books" / "budgets.yaml").read_bytes())
    assert {budget.name for budget in budgets} <= {entry.team for entry in mapping.entries}


@pytest.mark.parametrize("times", [1, 2])
def test_they_are_applied_as_the_commands_do_it(tmp_path: Path, times: int) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'demo.sqlite'}")
    migrate(engine)
    for _ in range(times):
        apply_books(engine, NOW_US)
    with reading(engine) as connection:
        for kind in (Kind.RATES, Kind.TEAMS, Kind.BUDGETS):
            assert [one.applied_by for one in versions(connection, kind)] == [APPLIED_BY]
        assert len(read_budgets(connection)) == 4
    engine.dispose()
