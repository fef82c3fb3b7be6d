"""`gputally`: what it prints goes to people and programs; what it cannot do, it says with what to do."""

import csv
import io
import json
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import typer
from sqlalchemy import Engine
from tests.windows import MINUTE_US, START_US, all_received, device, minutes, unallocated, window
from typer.testing import CliRunner, Result

from gputally.accounting.line import Window
from gputally.collector.allocation.grouping import By
from gputally.collector.cli import main as cli
from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import is_current
from gputally.collector.ingest.commit import Committer

JULY = ("--month", "2026-07")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with no setting of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("GPUTALLY_DATABASE_URL", "GPUTALLY_TIMEZONE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def gputally(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments)


def book(engine: Engine, windows: Sequence[Window]) -> None:
    Committer(engine, ZoneInfo("UTC"), max_age_us=None).commit(all_received(windows), now_us=START_US)


@pytest.fixture
def booked(engine: Engine, database_url: str) -> str:
    """The URL of a database with a minute of a pod and two of nobody."""
    book(engine, [*minutes(1), *(window(device(unallocated(MINUTE_US)), node=node) for node in ("b", "c"))])
    return database_url


def test_a_report_is_printed_as_a_table_for_people(booked: str) -> None:
    done = gputally("report", "--database-url", booked, *JULY)
    assert done.exit_code == 0
    assert "GPU-hours from 2026-07-01 00:00 to 2026-08-01 00:00 UTC" in done.stdout
    assert "search" in done.stdout


def test_totals_equal_the_sum_of_the_rows_in_what_programs_read(booked: str) -> None:
    by = ("--by", "pod", "--by", "node")
    document = json.loads(gputally("report", "--database-url", booked, *JULY, *by, "--format", "json").stdout)
    *rows, total = csv.DictReader(
        io.StringIO(gputally("report", "--database-url", booked, *JULY, *by, "--format", "csv").stdout)
    )
    assert document["by"] == ["namespace", "pod", "node"]
    assert document["total"]["capacity_us"] == 3 * MINUTE_US == int(total["capacity_us"])
    assert sum(row["capacity_us"] for row in document["rows"]) == sum(int(row["capacity_us"]) for row in rows)
    assert document["rows"][0]["owner"] == "platform"


def test_a_stretch_of_hours_can_be_asked_for(booked: str) -> None:
    edges = ("--from", "2026-07-01T01:00:00Z", "--to", "2026-07-01T02:00:00+00:00")
    done = gputally("report", "--database-url", booked, *edges)
    assert done.stdout == "No GPU time is booked from 2026-07-01 01:00 to 2026-07-01 02:00 UTC.\n"
    assert done.exit_code == 0


def test_every_mistake_is_told_at_once() -> None:
    done = gputally("report", "--by", "namspace", "--format", "xml", "--timezone", "Mars", "--database-url", "x")
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        f"gputally: --by namspace: expected one of {', '.join(By)}: did you mean namespace?",
        "gputally: --format xml: expected one of table, csv, json",
        *[line for line in done.stderr.splitlines() if "--database-url: " in line],
        "gputally: --timezone: expected an IANA time zone, such as UTC or Europe/Berlin (got 'Mars')",
    ]


def test_an_edge_inside_an_hour_is_refused_with_the_nearest_ones() -> None:
    done = gputally("report", "--from", "2026-07-01T00:30:00Z", "--to", "2026-07-01T02:00:00Z")
    assert done.exit_code == 2
    assert "2026-07-01T00:00:00+00:00 or 2026-07-01T01:00:00+00:00" in done.stderr


def test_a_database_that_is_not_there_is_not_made_by_reading(home: Path) -> None:
    done = gputally("report")
    assert done.exit_code == 1
    assert f"there is no database {home}/gputally/gputally.sqlite yet" in done.stderr
    assert "gputally migrate" in done.stderr
    assert not (home / "gputally").exists()


def test_a_database_without_the_schema_is_told_from_an_empty_one(empty_database_url: str) -> None:
    engine = open_database(empty_database_url)
    engine.connect().close()
    engine.dispose()
    done = gputally("report", "--database-url", empty_database_url)
    assert done.exit_code == 1
    assert "does not have this version's schema: start gputally-collector, or run: gputally migrate" in done.stderr


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    for command in ("report", "migrate"):
        done = gputally(command, "--database-url", "postgresql://ann:secret@127.0.0.1:1/ledger")
        assert done.exit_code == 1
        assert done.stderr.startswith("gputally: database postgresql://ann:***@127.0.0.1:1/ledger cannot be used: ")
        assert done.stderr.count("\n") == 1


def test_a_ledger_of_another_zone_is_a_mistake_in_the_settings(engine: Engine, database_url: str) -> None:
    Committer(engine, ZoneInfo("Asia/Kolkata"), max_age_us=None).commit(all_received(minutes(1)), now_us=START_US)
    done = gputally("report", "--database-url", database_url, "--month", "2026-06")
    assert done.exit_code == 2
    assert "--timezone" in done.stderr


def test_migrate_makes_a_database_and_may_be_repeated(empty_database_url: str) -> None:
    for _ in range(2):
        done = gputally("migrate", "--database-url", empty_database_url)
        assert done.exit_code == 0
        assert done.stdout.endswith(" has this version's schema\n")
    engine = open_database(empty_database_url)
    assert is_current(engine)
    engine.dispose()


def test_the_environment_names_the_database(booked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUTALLY_DATABASE_URL", booked)
    assert "search" in gputally("report", *JULY).stdout


def test_help_has_examples_and_the_default_database() -> None:
    text = gputally("report", "--help").stdout
    assert "gputally report --month 2026-11" in text
    assert "XDG_STATE_HOME" in text


# Commands of other packages.


@pytest.fixture
def other_commands(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """A fresh `gputally`, beside which two packages declare a command; one of them cannot be imported."""
    app = typer.Typer()
    app.command("report")(lambda: typer.echo("reported"))
    app.command("migrate")(lambda: typer.echo("migrated"))
    points = [
        EntryPoint("other", "tests.collector.test_cli:other", cli.COMMANDS),
        EntryPoint("broken", "no_such_package:app", cli.COMMANDS),
    ]
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(cli, "entry_points", lambda group: points if group == cli.COMMANDS else [])
    return app


other = typer.Typer(help="Something else.")


@other.callback(invoke_without_command=True)
def _other() -> None:
    typer.echo("something else")


def run_main(monkeypatch: pytest.MonkeyPatch, *argv: str) -> str | int | None:
    monkeypatch.setattr("sys.argv", ["gputally", *argv])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def test_a_command_of_another_package_is_found(
    other_commands: typer.Typer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "other") == 0
    assert capsys.readouterr().out == "something else\n"


def test_a_command_that_cannot_be_loaded_hinders_no_other(
    other_commands: typer.Typer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "report") == 0
    assert run_main(monkeypatch, "--help") == 0
    assert "Something else." in capsys.readouterr().out
    assert "broken needs what is not installed" in str(run_main(monkeypatch, "broken"))
