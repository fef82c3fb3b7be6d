"""A ledger is booked in one billing time zone: whoever comes with another is told which, and changes nothing."""

import subprocess
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, delete
from tests.programs import module
from tests.windows import START_US, all_received, minutes
from typer.testing import CliRunner, Result

from gputally.collector.cli import main as cli
from gputally.collector.database.engine import reading, writing
from gputally.collector.database.schema import line, window, window_device
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.billing_zone import OtherZone, check_zone, claim_zone
from gputally.collector.ledger.postings import settle
from gputally.collector.ledger.state import State, locked_state, read_state, write_state

UTC = ZoneInfo("UTC")


@pytest.fixture(autouse=True)
def _no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("GPUTALLY_DATABASE_URL", "GPUTALLY_TIMEZONE"):
        monkeypatch.delenv(name, raising=False)


def book(engine: Engine) -> None:
    Committer(engine, UTC, max_age_us=None).commit(all_received(minutes(3)), now_us=START_US)


def state(engine: Engine) -> State:
    with reading(engine) as connection:
        return read_state(connection)


def report(database_url: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["report", "--month", "2026-07", "--database-url", database_url, *arguments])


def test_the_zone_of_the_first_collector_is_the_ledgers(engine: Engine) -> None:
    assert state(engine).zone is None
    claim_zone(engine, "UTC")
    book(engine)
    claim_zone(engine, "UTC")
    with pytest.raises(OtherZone, match="give --timezone UTC"):
        claim_zone(engine, "Europe/Berlin")
    assert state(engine).zone == "UTC"


def test_a_ledger_that_holds_nothing_takes_another_zone(engine: Engine) -> None:
    claim_zone(engine, "UTC")
    claim_zone(engine, "Asia/Kolkata")
    assert state(engine).zone == "Asia/Kolkata"


def test_a_ledger_whose_windows_are_gone_is_still_booked_in_its_zone(engine: Engine) -> None:
    claim_zone(engine, "UTC")
    book(engine)
    settle(engine, UTC)
    with writing(engine) as connection:
        for table in (line, window_device, window):
            connection.execute(delete(table))
    with pytest.raises(OtherZone), reading(engine) as connection:
        check_zone(connection, "Asia/Kolkata")


def test_the_zone_and_what_else_replicas_agree_on_leave_each_other_alone(engine: Engine) -> None:
    with writing(engine) as connection:
        write_state(connection, State(booked_until_us=5, lines_from_us=3))
    claim_zone(engine, "UTC")
    with writing(engine) as connection:
        assert locked_state(connection) == State(booked_until_us=5, lines_from_us=3, zone="UTC")


def test_a_command_in_another_zone_is_refused(engine: Engine, database_url: str) -> None:
    claim_zone(engine, "UTC")
    assert report(database_url, "--timezone", "Europe/Berlin").exit_code == 0
    book(engine)
    refused = report(database_url, "--timezone", "Europe/Berlin")
    assert refused.exit_code == 2
    assert "the ledger is booked in the billing time zone UTC, and Europe/Berlin is given" in refused.stderr
    assert report(database_url).exit_code == 0


def test_a_collector_in_another_zone_does_not_start(engine: Engine, database_url: str) -> None:
    claim_zone(engine, "UTC")
    book(engine)
    doors = ("--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
    command = module("gputally.collector.main", "--database-url", database_url, *doors, "--timezone", "Europe/Berlin")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "gputally-collector: the ledger is booked in the billing time zone UTC" in done.stderr
    assert "Traceback" not in done.stderr
