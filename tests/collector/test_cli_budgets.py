"""`gputally budgets`: mistakes by line, versions kept, what is spent, and where the month will end."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine
from tests.windows import MINUTE_US, START_US, all_received, device, minutes, pod, reserved, window
from typer.testing import CliRunner, Result

from gputally.collector.cli import budgets
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer

LATER_US = START_US + 60 * MINUTE_US
BUDGETS = """\
version: 1
budgets:
  - team: Search
    gpu_hours: 5000
    from: 2026-07
"""


SEARCH = """\
version: 1
budgets:
  - {namespace: search, gpu_hours: 1000, from: 2026-07, note: a small one}
  - {namespace: search, amount: 0, from: 2026-07}
"""

CARD = b"""\
version: 1
currency: EUR
prices:
  - {match: {model: NVIDIA L4}, valid_from: 2026-01-01, per_gpu_hour: 1.2}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with no setting of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("GPUTALLY_DATABASE_URL", "GPUTALLY_TIMEZONE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(budgets.app, arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.yaml"


def test_budgets_are_applied_and_only_their_months_have_them(engine: Engine, database_url: str, file: Path) -> None:
    where = ("--database-url", database_url)
    file.write_text(BUDGETS)
    assert run("check", str(file)).stdout == f"{file}: 1 budgets, nothing wrong\n"
    assert "budgets version 1" in run("apply", str(file), *where).stdout
    assert run("show", "--month", "2026-06", *where).stdout == "There is no budget for 2026-06.\n"
    assert run("show", "--month", "June", *where).exit_code == 2
    assert run("history", *where).exit_code == 0


def test_budgets_with_mistakes_are_not_applied(engine: Engine, database_url: str, file: Path) -> None:
    file.write_text(BUDGETS.replace("5000", "many"))
    for command in (("check", str(file)), ("apply", str(file), "--database-url", database_url)):
        done = run(*command)
        assert done.exit_code == 2
        assert f"{file}:4: error: gpu_hours many: expected a number" in done.stderr


def test_what_is_spent_stands_beside_the_budget_and_where_the_month_ended(
    engine: Engine, database_url: str, file: Path
) -> None:
    """Money is unpriced, and not 0, where none of the time has a price."""
    Committer(engine, ZoneInfo("UTC"), max_age_us=None).commit(all_received(minutes(15)), now_us=LATER_US)
    file.write_text(SEARCH)
    run("apply", str(file), "--database-url", database_url)
    shown = run("show", "--month", "2026-07", "--database-url", database_url).stdout
    assert [line.split() for line in shown.splitlines()[1:3]] == [
        ["namespace", "search", "all", "GPU-hours", "1,000.00", "0.25", "0%", "0.25", "within", "a", "small", "one"],
        ["namespace", "search", "all", "money", "0.00", "unpriced", "\N{EN DASH}", "\N{EN DASH}", "unknown"],
    ]
    assert "some of the time has no price" not in shown


def test_money_that_leaves_some_of_the_time_out_is_marked(engine: Engine, database_url: str, file: Path) -> None:
    other = window(device(reserved(pod(), MINUTE_US, 0), uuid="GPU-9", model="NVIDIA L4"), node="other")
    Committer(engine, ZoneInfo("UTC"), max_age_us=None).commit(all_received([*minutes(15), other]), now_us=LATER_US)
    apply_file(engine, Kind.RATES, CARD, "ann@laptop", START_US)
    file.write_text(SEARCH)
    run("apply", str(file), "--database-url", database_url)
    shown = run("show", "--month", "2026-07", "--database-url", database_url).stdout
    assert "0.02+" in shown
    assert "some of the time has no price" in shown


def test_a_month_to_come_has_no_forecast(engine: Engine, database_url: str, file: Path) -> None:
    file.write_text(SEARCH)
    run("apply", str(file), "--database-url", database_url)
    shown = run("show", "--month", "9000-01", "--database-url", database_url).stdout.splitlines()
    assert shown[1].split()[5:9] == ["0.00", "0%", "\N{EN DASH}", "within"]
