"""`gputally rates`: mistakes by line, versions kept, and which rule it is and why."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine
from tests.histories import Labelled
from tests.rate_cards import CARD, JULY_US
from tests.windows import START_US, all_received, minutes
from typer.testing import CliRunner, Result

from gputally.collector.cli.rates import app, example_card
from gputally.collector.ingest.commit import Committer
from gputally.collector.rates.check import check

AT = ("--at", "2026-07-01T00:10:00Z")
WHERE = ("--node", "node-a", "--gpu", "GPU-0")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with no setting of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("GPUTALLY_DATABASE_URL", "GPUTALLY_TIMEZONE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def card(tmp_path: Path) -> Path:
    file = tmp_path / "rates.yaml"
    file.write_text(CARD)
    return file


def rates(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def book(engine: Engine) -> None:
    Committer(engine, ZoneInfo("UTC"), max_age_us=None).commit(all_received(minutes(1)), now_us=START_US)


def test_the_example_card_has_nothing_wrong_and_says_that_its_prices_are_invented() -> None:
    text = rates("example").stdout
    assert text.encode() == example_card()
    assert "prices are invented" in text
    findings = check(text.encode(), ZoneInfo("Asia/Kolkata"), None, JULY_US)
    assert (findings.errors, findings.warnings) == ((), ())


def test_a_good_card_is_told_so_even_before_there_is_a_database(card: Path) -> None:
    done = rates("check", str(card))
    assert done.exit_code == 0
    assert done.stdout == f"{card}: 4 rules, nothing wrong\n"
    assert "the models of the fleet are not known" in done.stderr


def test_mistakes_are_told_with_file_and_line(card: Path) -> None:
    card.write_text(CARD.replace("4.00", "four").replace("currency: EUR", "currency: euro"))
    done = rates("check", str(card))
    assert done.exit_code == 2
    assert f"{card}:2: error: currency euro: expected three capital letters" in done.stderr
    assert f"{card}:8: error: per_gpu_hour four: expected a number" in done.stderr


def test_what_the_fleet_has_and_the_card_does_not_is_a_warning(engine: Engine, database_url: str, card: Path) -> None:
    """It fails a check, and is no reason to refuse: what has no price is unpriced."""
    book(engine)
    card.write_text(CARD.replace("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe"))
    done = rates("check", str(card), "--database-url", database_url)
    assert done.exit_code == 2
    assert f"{card}:1: warning: no rule for NVIDIA H100 80GB HBM3" in done.stderr
    assert rates("apply", str(card), "--database-url", database_url).exit_code == 0


def test_a_card_with_errors_is_not_applied(engine: Engine, database_url: str, card: Path) -> None:
    card.write_text(CARD + CARD.partition("prices:\n")[2])
    assert rates("apply", str(card), "--database-url", database_url).exit_code == 2
    assert rates("history", "--database-url", database_url).stdout == "No rates were ever applied.\n"


def test_versions_are_kept_and_printed_as_they_were(engine: Engine, database_url: str, card: Path) -> None:
    where = ("--database-url", database_url)
    assert "rates version 1" in rates("apply", str(card), *where).stdout
    assert "unchanged since" in rates("apply", str(card), *where).stdout
    card.write_text(CARD.replace("4.00", "5.00"))
    assert "rates version 2" in rates("apply", str(card), *where).stdout
    history = rates("history", *where).stdout.splitlines()
    assert [line.split()[0] for line in history] == ["version", "2", "1"]
    assert rates("show", "--version", "1", *where).stdout == CARD
    assert rates("show", *where).stdout == CARD.replace("4.00", "5.00")
    assert rates("show", "--version", "9", *where).exit_code == 1


def test_a_card_can_come_from_standard_input(database_url: str) -> None:
    done = CliRunner().invoke(app, ["apply", "-", "--database-url", database_url], input=CARD)
    assert done.exit_code == 0


def test_explain_names_the_rule_and_why_the_others_lost(engine: Engine, database_url: str, card: Path) -> None:
    book(engine)
    cluster = Labelled(engine)
    cluster.node(START_US, "node-a", capacity="spot")
    cluster.namespace(START_US, "search", team="ops")
    where = ("--database-url", database_url)
    rates("apply", str(card), *where)
    done = rates("explain", *WHERE, *AT, "--namespace", "search", *where)
    assert done.exit_code == 0
    assert "held by namespace search, team ops, in the hour from 2026-07-01T00:00:00+00:00" in done.stdout
    assert "1.5 EUR per GPU-hour: line 15 (model h100, node label capacity=spot), valid from 2026-01-01" in done.stdout
    assert "not 3: line 12 (team research, model h100): does not match: team is ops, not research" in done.stdout
    assert "not 4: line 6 (model h100): line 15 is more specific" in done.stdout


def test_explain_says_what_is_unpriced(engine: Engine, database_url: str, card: Path) -> None:
    book(engine)
    where = ("--database-url", database_url)
    done = rates("explain", *WHERE, *AT, *where)
    assert "unpriced: no rate card was applied" in done.stdout
    assert "the labels of node-a in that hour are not known" in done.stdout
    rates("apply", str(card), *where)
    early = rates("explain", *WHERE, "--at", "2025-01-01T00:00:00Z", *where)
    assert "EUR per GPU-hour: unpriced: no rule matches" in early.stdout


def test_explain_tells_every_mistake(engine: Engine, database_url: str) -> None:
    done = rates("explain", "--node", "x", "--gpu", "y", "--at", "2026-07-01", "--database-url", database_url)
    assert done.exit_code == 2
    assert "--at 2026-07-01: expected an instant with its offset" in done.stderr
    done = rates("explain", "--node", "x", "--gpu", "y", "--database-url", database_url)
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 2


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = rates("check", str(tmp_path / "missing"))
    assert done.exit_code == 1
    assert "cannot be read: No such file or directory" in done.stderr
    assert rates("apply", str(tmp_path)).exit_code == 1
