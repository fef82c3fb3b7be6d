"""`gputally top`: the numbers of the pages on a terminal, and a terminal that is as it was afterwards."""

import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from tests.collector.web.fixtures import NOW_US, fill, pages, text
from tests.windows import MINUTE_US, START_US, all_received, minutes, unallocated, window
from tests.windows import device as device_of
from typer.testing import CliRunner, Result

from gputally.accounting.states import State
from gputally.collector.allocation.query import WHOLE
from gputally.collector.cli import main as cli
from gputally.collector.cli import top
from gputally.collector.database.engine import open_database, reading
from gputally.collector.database.migrate import migrate
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.billing_zone import claim_zone
from gputally.collector.ledger.postings import settle
from gputally.collector.now.latest import read_latest
from gputally.collector.rates.cost import SCALE
from gputally.collector.top.facts import Where, read_facts
from gputally.collector.top.header import header

UTC = ZoneInfo("UTC")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, with no setting of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("GPUTALLY_DATABASE_URL", "GPUTALLY_TIMEZONE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database that holds the fleet of the pages' tests."""
    url = f"sqlite:///{tmp_path_factory.mktemp('top') / 'gputally.sqlite'}"
    engine = open_database(url)
    migrate(engine)
    fill(engine)
    engine.dispose()
    return url


@pytest.fixture
def live(tmp_path: Path, migrated_file: Path) -> str:
    """The URL of a database in which a pod used a GPU in the last minutes of the real clock."""
    url = f"sqlite:///{shutil.copyfile(migrated_file, tmp_path / 'live.sqlite')}"
    engine = open_database(url)
    now_us = time.time_ns() // 1000 // MINUTE_US * MINUTE_US
    windows = minutes(3, first_us=now_us - 3 * MINUTE_US)
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=now_us)
    engine.dispose()
    return url


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of that fleet."""
    monkeypatch.setattr(top, "now_us", lambda: NOW_US)


def gputally(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["top", *arguments])


def cells(done: Result, pod: str) -> list[list[str]]:
    """The rows of a pod, column by column; columns are two cells apart in a pipe."""
    return [re.split(r"  +", line.strip()) for line in done.stdout.splitlines() if pod in line]


# The numbers.


@contextmanager
def web(url: str) -> Iterator[FastAPI]:
    """The pages over a database."""
    engine = open_database(url)
    with pages(engine) as app:
        yield app
    engine.dispose()


def words_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)).replace("\N{NO-BREAK SPACE}", " ")


def test_the_fleet_is_in_the_states_that_the_page_of_gpus_says(fleet: str, now: None) -> None:
    done = gputally("--database-url", fleet)
    assert done.exit_code == 0
    with web(fleet) as app:
        page = words_of(text(app, "/gpus"))
    for state in State:
        (said,) = re.findall(rf"{state} ([0-9.]+)(?: |$)", done.stdout.splitlines()[2])
        assert f" {state} {said} " in page


def test_idle_pods_cost_what_the_page_of_idle_pods_says(fleet: str, now: None) -> None:
    """The sum, and each pod's GPUs, cost so far and cost of an hour."""
    done = gputally("--database-url", fleet)
    with web(fleet) as app:
        page = words_of(text(app, "/idle", atLeast="0"))
    found = re.search(r"idle spells: ([0-9.]+) GPUs  at ([0-9.]+ EUR)/h  (at least [0-9.]+ EUR) so far", done.stdout)
    assert found
    assert f"{found[1]} GPUs are held while nothing runs on them. So far that cost {found[3]} , and" in page
    assert f"each hour costs {found[2]} more" in page
    (research,) = cells(done, "pretrain-llm-0")
    assert research[-2:] == ["28.80", "137.28"]
    assert re.search(r"pretrain-llm-0 .* 8 .*137\.28 28\.80", page)


def test_parts_and_spells_are_those_of_the_namespace_page(fleet: str, now: None) -> None:
    done = gputally("--database-url", fleet, "--namespace", "research", "--by", "partition")
    with web(fleet) as app:
        page = words_of(text(app, "/namespaces/research"))
    rows = cells(done, "pretrain-llm-0")
    assert len(rows) == 8
    for row in rows:
        assert row[-7:] == ["idle", "0.0 %", "09:37", "4h 46m", "62.0", "3.60", "17.16"]
    assert page.count("18 Nov 2026, 09:37") == 8
    assert page.count("62.0 GiB") == 8


def test_only_what_was_asked_for_is_shown(fleet: str, now: None) -> None:
    node = gputally("--database-url", fleet, "--node", "gpu-3", "--cluster", "east").stdout
    assert "cluster east, node gpu-3" in node
    assert "embed-0" in node
    assert "pretrain-llm-0" not in node
    assert "nothing is known" in gputally("--database-url", fleet, "--cluster", "west").stdout


def test_what_is_not_known_is_a_dash(fleet: str, now: None) -> None:
    """A node that fell silent, and one whose memory nobody measured."""
    done = gputally("--database-url", fleet)
    (silent,) = cells(done, "notebook-0")
    assert silent[-7:] == ["silent", *["–"] * 6]
    assert "east/gpu-4 is silent for 40 min" in done.stdout
    (shared,) = cells(done, "demo-1")
    assert shared[-3] == "–"


def test_the_order_can_be_chosen(fleet: str, now: None) -> None:
    done = gputally("--database-url", fleet, "--sort", "busy")
    table = done.stdout[done.stdout.index("STATE") :]
    assert table.index("resnet-run-0") < table.index("chat-") < table.index("pretrain-llm-0")


def test_the_sums_are_those_of_the_parts(engine: Engine) -> None:
    """On both databases; and reading changes nothing in either."""
    parts = [*minutes(3), *(window(device_of(unallocated(MINUTE_US)), node=node) for node in ("b", "c"))]
    Committer(engine, UTC, max_age_us=None).commit(all_received(parts), now_us=START_US)
    settle(engine, UTC)
    now_us = START_US + 3 * MINUTE_US
    with reading(engine) as connection:
        found = read_facts(connection, UTC, now_us, Where())
        assert list(found.standings) == read_latest(connection, now_us, WHOLE)
    assert [gpus for _, gpus in header(found, now_us).by_state] == ["0.8", "0.2", "2.0", "0.0", "0.0"]
    assert found.pods == []
    assert sum(rate or 0 for rate in found.rates.values()) < SCALE


# What cannot be shown.


def test_every_mistake_is_told_at_once() -> None:
    done = gputally("--sort", "price", "--by", "pod", "--timezone", "Mars")
    assert done.exit_code == 2
    assert [line.split(":")[1].split()[0] for line in done.stderr.splitlines()] == ["--sort", "--by", "--timezone"]


def test_a_database_that_is_not_there_is_said_with_what_makes_it() -> None:
    done = gputally()
    assert done.exit_code == 1
    assert "start gputally-collector" in done.stderr


def test_a_server_that_does_not_answer_is_said_in_a_line() -> None:
    done = gputally("--database-url", "postgresql://nobody@127.0.0.1:1/x")
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_ledger_of_another_zone_is_a_mistake(fleet: str, tmp_path: Path) -> None:
    engine = open_database(fleet)
    claim_zone(engine, "UTC")
    engine.dispose()
    done = gputally("--database-url", fleet, "--timezone", "Europe/Berlin")
    assert done.exit_code == 2
    assert "UTC" in done.stderr


def test_a_database_that_goes_away_and_comes_back_is_read_again(fleet: str, now: None, tmp_path: Path) -> None:
    file, away = Path(fleet.removeprefix("sqlite:///")), tmp_path / "away"
    source = top.Source(top.settings_of(top.ReadSettings, database_url=fleet), Where())
    assert source.read().standings
    source.close()
    file.rename(away)
    with pytest.raises(top.CannotRead, match="there is no database"):
        source.read()
    away.rename(file)
    assert source.read().standings
    source.close()


# On a terminal.


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, *arguments: str, term: str = "xterm-256color") -> None:
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.before = termios.tcgetattr(self.theirs)
        command = [sys.executable, "-m", "gputally.collector.cli.main", "top", *arguments]
        sizes = ("COLUMNS", "LINES")  # some who run tests set them, and they would count for more than the terminal
        environment = {name: value for name, value in os.environ.items() if name not in sizes}
        environment |= {"TERM": term, "PYTHONUTF8": "1"}
        self.process = subprocess.Popen(
            command, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, env=environment, start_new_session=True
        )
        self.text = ""

    def until(self, wanted: str, within_s: float = 60) -> None:
        """Read until it is on the screen."""
        end = time.monotonic() + within_s
        while wanted not in self.text:
            assert time.monotonic() < end, f"no {wanted!r} in {self.text[-2000:]!r}"
            self.text += os.read(self._ours, 65_536).decode(errors="replace")

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def end(self) -> int:
        """Its status, after all that it had to say."""
        self.until("\x1b[?1049l")
        return self.process.wait(60)

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)


@contextmanager
def on_a_terminal(*arguments: str, term: str = "xterm-256color") -> Iterator[Terminal]:
    found = Terminal(*arguments, term=term)
    try:
        yield found
    finally:
        found.close()


def restored(found: Terminal) -> Sequence[bool]:
    """That the shell's screen, its cursor and its lines are as they were, in this order."""
    entered, left = found.text.index("\x1b[?1049h"), found.text.index("\x1b[?1049l")
    return entered < left, found.text.rindex("\x1b[?25h") < left, termios.tcgetattr(found.theirs) == found.before


def test_q_quits_after_keys_were_obeyed_and_the_terminal_is_as_it_was(live: str) -> None:
    with on_a_terminal("--database-url", live) as found:
        found.until("SPELL▼")
        found.until("75.0 %")
        found.type(b"n")
        found.until("NAMESPACE▲")
        found.type(b"q")
        assert found.end() == 0
        assert restored(found) == (True, True, True)
        assert "Traceback" not in found.text


def test_ctrl_c_ends_it_although_the_database_is_away_and_the_terminal_is_as_it_was() -> None:
    with on_a_terminal("--database-url", "postgresql://nobody@127.0.0.1:1/x", "--interval", "0.5") as found:
        found.until("cannot be used")
        found.process.send_signal(signal.SIGINT)
        assert found.end() == 128 + signal.SIGINT
        assert restored(found) == (True, True, True)
        assert "Traceback" not in found.text


def test_a_terminal_that_cannot_be_drawn_on_gets_one_frame(live: str) -> None:
    with on_a_terminal("--database-url", live, term="dumb") as found:
        found.until("75.0 %")
        assert found.process.wait(60) == 0
        assert "\x1b" not in found.text
