"""`gputally teams`: mistakes by line, versions kept, and what it comes to."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import typer
from sqlalchemy import Engine
from tests.histories import Labelled
from tests.windows import START_US, all_received, minutes
from typer.testing import CliRunner, Result

from gputally.collector.cli.teams import teams
from gputally.collector.ingest.commit import Committer

MAPPING = """\
version: 1
namespaces:
  - namespace: search
    team: Search
    valid_from: 2026-07-02
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with no setting of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("GPUTALLY_DATABASE_URL", "GPUTALLY_TIMEZONE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(app: typer.Typer, *arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.yaml"


def test_a_mapping_is_checked_and_told_by_line(file: Path) -> None:
    file.write_text(MAPPING)
    assert run(teams, "check", str(file)).stdout == f"{file}: 1 entries, nothing wrong\n"
    file.write_text(MAPPING.replace("team", "tem"))
    done = run(teams, "check", str(file))
    assert done.exit_code == 2
    assert f"{file}:4: error: unknown field tem: did you mean team?" in done.stderr


def test_teams_are_shown_as_they_were_with_what_says_so(engine: Engine, database_url: str, file: Path) -> None:
    where = ("--database-url", database_url)
    Committer(engine, ZoneInfo("UTC"), max_age_us=None).commit(all_received(minutes(1)), now_us=START_US)
    Labelled(engine).namespace(START_US, "vision", team="blue")
    file.write_text(MAPPING)
    assert "teams version 1" in run(teams, "apply", str(file), *where).stdout
    shown = run(teams, "show", "--at", "2026-07-02T00:00:00Z", *where).stdout.splitlines()
    assert [line.split() for line in shown[1:]] == [
        ["east", "search", "Search", "-", "team", "from", "the", "mapping's", "line", "3"],
        ["east", "vision", "blue", "-", "team", "from", "label", "team"],
    ]
    earlier = run(teams, "show", "--at", "2026-07-01T00:00:00Z", *where).stdout.splitlines()
    assert earlier[1].split() == ["east", "search", "-", "-", "nothing", "says"]
    assert run(teams, "history", *where).stdout.splitlines()[1].startswith("1 ")


def test_nothing_known_is_told_so(engine: Engine, database_url: str) -> None:
    assert run(teams, "show", "--database-url", database_url).stdout == "No namespace is known yet.\n"


def test_a_mapping_with_mistakes_is_not_applied(engine: Engine, database_url: str, file: Path) -> None:
    file.write_text("version: 1\nnamespaces: x\n")
    assert run(teams, "apply", str(file), "--database-url", database_url).exit_code == 2
    assert run(teams, "history", "--database-url", database_url).stdout == "No teams were ever applied.\n"
