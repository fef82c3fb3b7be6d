"""I4: replaying, reordering, duplicating and interrupting windows leaves the ledger identical, byte for byte.

The windows are those of two simulated nodes, made by the agent's own code; real spools and streams carry them to real
collector processes. Each ledger is compared with one reference: the same windows, sent once and in order.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, Select, Table, func, select, text
from tests.ports import OwnPort
from tests.programs import Running, module, running, wait_until
from tests.send_spool import BOOT_ID, FOREVER_US, MAX_BYTES
from tests.unkept import faults

from gputally.accounting.line import DeviceWindow, Window
from gputally.accounting.states import Basis
from gputally.agent.probe.main import wall_us
from gputally.agent.simulated.scenario_file import load
from gputally.agent.spool.spool import Spool
from gputally.collector.allocation.period import parse_period
from gputally.collector.database.engine import is_sqlite, open_database, writing
from gputally.collector.database.schema import AMOUNTS, line, namespace_total, posting, quarantine, window
from gputally.collector.ledger.postings import dump, pending, settle
from gputally.collector.ledger.silence import book_silence
from gputally.collector.render import as_json
from gputally.collector.report import By, report
from gputally.demo.backfill import MINUTE_US, live_through

pytestmark = pytest.mark.timeout(400)

SCENARIOS = Path(__file__).resolve().parent.parent / "demo" / "scenarios"
SENDER = Path(__file__).with_name("send_spool.py")
NODES = ("node-a", "node-c")  # whole GPUs; and shared ones, with a process of the host
DAY_US = 86_400_000_000
START_US = 1_751_995_800_000_000  # Tuesday, 2025-07-08T17:30:00Z: pods leave, others' work begins, hours change
END_US = START_US + 150 * MINUTE_US
PERIOD = ("2025-07-08T17:00:00Z", "2025-07-08T20:00:00Z")
DEADLINE_S = 180  # for what takes seconds on a machine that has nothing else to do
SHUFFLES = random.Random(4)  # one fixed order, so that a failure comes again


@dataclass(frozen=True, slots=True)
class Books:
    """All that the database says about the windows, without ids and times of arrival."""

    windows: int
    ledger: bytes
    report: str
    totals: bytes
    quarantined: int


@dataclass(frozen=True, slots=True)
class Collector:
    """A collector process and where it listens."""

    process: Running
    grpc: str
    web: str

    def received(self) -> int:
        """Windows that arrived, committed or not."""
        with urllib.request.urlopen(f"http://{self.web}/metrics", timeout=30) as answer:
            rows = answer.read().decode().splitlines()
        return int(float(next(row.split()[1] for row in rows if row.startswith("gputally_ingest_windows_total"))))


class Bench:
    """One database with whatever runs on it; everything is gone after the test."""

    def __init__(self, folder: Path, url: str, stack: ExitStack) -> None:
        self.folder = folder
        self.url = url
        self.engine = open_database(url)
        stack.callback(self.engine.dispose)
        self._stack = stack
        self._numbers = count(1)

    def collector(self, grpc: str = "127.0.0.1:0") -> Collector:
        log = self._new("collector.log")
        options = ("--database-url", self.url, "--http-listen", "127.0.0.1:0", "--line-retention-days", "0")
        command = module("gputally.collector.main", *options, "--grpc-listen", grpc)
        process = self._stack.enter_context(running(command, log))
        said = wait_until(lambda: _addresses(process.log), DEADLINE_S, f"a collector\n{process.log}")
        return Collector(process, *said)

    def send(self, spool: Path, to: Collector) -> Running:
        """Begin to send a copy of a spool, byte for byte what any other copy of it sends."""
        copy = self._new("spool")
        shutil.copytree(spool, copy)
        command = [sys.executable, str(SENDER), str(copy), to.grpc]
        return self._stack.enter_context(running(command, self._new("sender.log")))

    def send_all(self, spools: Sequence[Path], *to: Collector) -> None:
        """Send a copy of each spool to each collector, all at the same time, until they have everything."""
        for sender in [self.send(spool, collector) for spool in spools for collector in to]:
            finished(sender)

    def accepted(self) -> int:
        with self.engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(window)).scalar_one()

    def pending(self) -> int:
        """Hours that wait after a settlement: those that another process has taken."""
        settle(self.engine, ZoneInfo("UTC"))
        with self.engine.connect() as connection:
            return pending(connection)

    def books(self) -> Books:
        """What is there now; the report settles what waits, as it does for everybody. Silence is booked first: how far
        the collectors came with that is a matter of time, not of windows."""
        zone = ZoneInfo("UTC")
        book_silence(self.engine, zone, wall_us(), DAY_US)
        wait_until(lambda: not self.pending(), DEADLINE_S, "hours that a collector is recomputing")
        period = parse_period(None, *PERIOD, zone, START_US)
        found = as_json(report(self.engine, zone, period.start_us, period.end_us, [By.NODE, By.POD]))
        with self.engine.connect() as connection:
            refused = connection.execute(select(func.count()).select_from(quarantine)).scalar_one()
            totals = sorted(tuple(row) for row in connection.execute(select(namespace_total)))
            ledger = repr(dump(connection)).encode()
        return Books(self.accepted(), ledger, found, repr(totals).encode(), refused)

    def printed_report(self) -> str:
        """What the command prints for the same period."""
        gputally = Path(sys.executable).with_name("gputally")
        options = ("--from", PERIOD[0], "--to", PERIOD[1], "--by", "node", "--by", "pod", "--format", "json")
        command = [gputally, "report", "--database-url", self.url, *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def _new(self, name: str) -> Path:
        return self.folder / f"{next(self._numbers)}-{name}"


def _addresses(log: str) -> tuple[str, str] | None:
    said = next((row for row in log.splitlines() if "agents on" in row), None)
    if said is None:
        return None
    grpc, web = said.split("agents on ")[1].split(", metrics on http://")
    return grpc, web.partition("/")[0]


def finished(sender: Running) -> dict[str, Any]:
    """What became of the spool, which the collector has now."""
    assert sender.process.wait(DEADLINE_S) == 0, sender.log
    result: dict[str, Any] = json.loads(sender.log.splitlines()[-1])
    assert result["drained"], sender.log
    return result


@contextmanager
def writes_held(engine: Engine) -> Iterator[None]:
    """No other process can commit a window meanwhile; reading goes on."""
    with writing(engine) as connection:
        if not is_sqlite(engine):
            connection.execute(text('LOCK TABLE "window" IN SHARE MODE'))
        yield


def spooled(folder: Path, windows: Sequence[Window]) -> Path:
    """A spool with these windows in this order."""
    spool = Spool(folder, BOOT_ID, MAX_BYTES, FOREVER_US, wall_us)
    assert len(spool.append(windows)) == len(windows)
    spool.close()
    return folder


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    """What the agents of two nodes would send, in the order of time."""
    lived = (
        window
        for node in NODES
        for finished in live_through(load(SCENARIOS / f"{node}.json", START_US), "demo", node, START_US, END_US)
        for window in finished
    )
    return sorted(lived, key=lambda window: (window.start_us, window.node))


@pytest.fixture(scope="module")
def in_order(windows: list[Window], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All windows in one spool."""
    return spooled(tmp_path_factory.mktemp("in-order"), windows)


@pytest.fixture(scope="module")
def thirds(windows: list[Window], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All windows in three spools, one after the other in time."""
    third = len(windows) // 3
    parts = (windows[:third], windows[third : 2 * third], windows[2 * third :])
    return [spooled(tmp_path_factory.mktemp("third"), part) for part in parts]


@pytest.fixture(scope="module")
def shuffled(windows: list[Window], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All windows in three spools without any order, so that streams meet in the same hours of the same nodes."""
    mixed = SHUFFLES.sample(windows, len(windows))
    return [spooled(tmp_path_factory.mktemp("shuffled"), mixed[start::3]) for start in range(3)]


@pytest.fixture(scope="module")
def reference(in_order: Path, tmp_path_factory: pytest.TempPathFactory) -> Books:
    """The books after sending once, in order, to one collector on SQLite; every other ledger must equal it."""
    folder = tmp_path_factory.mktemp("reference")
    with ExitStack() as stack:
        bench = Bench(folder, f"sqlite:///{folder / 'reference.sqlite'}", stack)
        bench.send_all([in_order], bench.collector())
        return replace(bench.books(), report=bench.printed_report())


@pytest.fixture
def bench(tmp_path: Path, database_url: str) -> Iterator[Bench]:
    """An empty database of each kind."""
    with ExitStack() as stack:
        yield Bench(tmp_path, database_url, stack)


def test_the_reference_is_the_sum_of_what_the_agents_measured(reference: Books, windows: list[Window]) -> None:
    """Else equal ledgers could be equally wrong: every window is in, and the report has all of their time."""
    told = json.loads(reference.report)
    assert (reference.windows, reference.quarantined) == (len(windows), 0)
    assert told["total"]["capacity_us"] == sum(device.capacity_us for device in devices(windows))
    assert told["total"]["energy_mj"] == sum(line.energy_mj or 0 for each in devices(windows) for line in each.lines)
    assert {row["namespace"] for row in told["rows"]} == {"", "inference", "notebooks", "research", "training"}
    assert {row["owner"] for row in told["rows"]} == {"pod", "host", "platform"}


def test_the_order_of_windows_does_not_matter(bench: Bench, shuffled: list[Path], reference: Books) -> None:
    """Shuffled over three streams that send at the same time, each window twice."""
    bench.send_all([*shuffled, *shuffled], bench.collector())
    assert bench.books() == reference
    assert_postings_are_lines(bench)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_collector_that_ends_with_windows_in_its_hands_loses_and_doubles_none(
    bench: Bench, thirds: list[Path], reference: Books, number: int
) -> None:
    """A third is committed, a third has arrived and waits for the database, a third begins while nobody listens."""
    own = OwnPort()
    first = bench.collector(own.address)
    bench.send_all(thirds[:1], first)
    with writes_held(bench.engine):
        in_flight = bench.send(thirds[1], first)
        wait_until(lambda: first.received() == 2 * reference.windows // 3, DEADLINE_S, f"windows\n{in_flight.log}")
        first.process.process.send_signal(number)
        if number == signal.SIGKILL:
            first.process.process.wait(60)
    status = first.process.process.wait(DEADLINE_S)
    assert status == (0 if number == signal.SIGTERM else -signal.SIGKILL), first.process.log
    late = bench.send(thirds[2], first)
    bench.collector(first.grpc)
    connections = finished(in_flight)["connections"]
    finished(late)
    assert bench.books() == reference
    assert_postings_are_lines(bench)
    assert number == signal.SIGTERM or connections == 2, "a killed collector answered nothing: all of it came again"


def test_a_collector_killed_right_after_a_commit_loses_and_doubles_none(
    bench: Bench, in_order: Path, reference: Books
) -> None:
    """The agent may not have been told what is committed already, and sends it again."""
    own = OwnPort()
    first = bench.collector(own.address)
    sender = bench.send(in_order, first)
    wait_until(bench.accepted, DEADLINE_S, f"a commit\n{sender.log}")
    first.process.stop(signal.SIGKILL)
    bench.collector(first.grpc)
    finished(sender)
    assert bench.books() == reference
    assert_postings_are_lines(bench)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_two_collectors_on_one_database_keep_one_ledger(bench: Bench, shuffled: list[Path], reference: Books) -> None:
    """Both get every window at the same time, over three streams each."""
    both = (bench.collector(), bench.collector())
    bench.send_all(shuffled, *both)
    assert sum(collector.received() for collector in both) >= 2 * reference.windows
    assert bench.books() == reference
    assert_postings_are_lines(bench)


def test_what_is_sent_again_counts_once_and_other_content_for_its_start_is_refused(
    bench: Bench, in_order: Path, windows: list[Window], reference: Books, tmp_path: Path
) -> None:
    """The agent is told and lets go of it; the quarantine keeps it whole; the ledger stays what it was."""
    collector = bench.collector()
    bench.send_all([in_order], collector)
    bench.send_all([in_order], collector)
    assert collector.received() == 2 * reference.windows
    assert bench.books() == reference
    assert_postings_are_lines(bench)
    other = with_all_idle(next(window for window in windows if window.node == "node-a"))
    spool = spooled(tmp_path / "other", [other])
    assert finished(bench.send(spool, collector))["refusals"] == {"conflict": 1}
    assert bench.books() == replace(reference, quarantined=1)
    with bench.engine.connect() as connection:
        kept = connection.execute(select(quarantine)).one()
    assert (kept.cluster, kept.node, kept.start_us, kept.reason) == ("demo", "node-a", other.start_us, "conflict")
    assert kept.message in payloads(spool)


def devices(windows: Sequence[Window]) -> list[DeviceWindow]:
    return [device for window in windows for device in window.devices]


def with_all_idle(window: Window) -> Window:
    """The same time of the same devices, told differently: what was used was idle. It balances as well."""

    def told(device: DeviceWindow) -> DeviceWindow:
        lines = (
            replace(each, used_us=0, idle_us=each.idle_us + each.used_us)
            if each.key.basis is Basis.RESERVATION
            else each
            for each in device.lines
        )
        return replace(device, lines=tuple(lines))

    return replace(window, devices=tuple(map(told, window.devices)))


def payloads(folder: Path) -> list[bytes]:
    """The messages that wait in a spool."""
    spool = Spool(folder, BOOT_ID, MAX_BYTES, FOREVER_US, wall_us)
    found = [payload for _, payload in spool.read(0, MAX_BYTES, 1000)]
    spool.close()
    return found


def assert_postings_are_lines(bench: Bench) -> None:
    """I7: every amount of the postings is the sum of the lines that were accepted, and of the gaps' time."""
    with bench.engine.connect() as connection:
        assert faults(connection) == []
        posted = connection.execute(sums(posting)).one()._asdict()
        sent = connection.execute(sums(line)).one()._asdict()
        posted["unobserved_us"] -= connection.execute(select(func.sum(posting.c.gap_us))).scalar_one()
    assert posted == sent


def sums(table: Table) -> Select[*tuple[Any, ...]]:
    """The sum of every amount of a table."""
    return select(*(func.sum(table.c[name]).label(name) for name in AMOUNTS))
