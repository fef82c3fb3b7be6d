"""The collector as a process: from its first line to the last commit."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from sqlalchemy import func, select
from tests.ports import OwnPort
from tests.programs import Running, module, running, wait_until
from tests.windows import MINUTE_US, minutes

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import Window
from gputally.collector.database.engine import open_database, reading
from gputally.collector.database.schema import window as window_table
from gputally.proto import codec, telemetry_pb2_grpc
from gputally.proto import telemetry_pb2 as pb

DEADLINE_S = 60
FIRST_LINE = re.compile(
    r"gputally-collector: agents on (\S+), metrics on http://(\S+)/metrics, API on \S+/api/v1, pages on \S+/, "
    r"database (\S+)"
)
ENDS = [("sqlite", signal.SIGTERM), ("postgresql", signal.SIGTERM), ("postgresql", signal.SIGINT)]
ANY_PORTS = ("--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")


@dataclass(frozen=True, slots=True)
class Collector:
    """A running collector and where it listens."""

    process: Running
    grpc: str
    web: str

    def get(self, path: str) -> tuple[int, str]:
        return get(self.web, path)

    def send(self, windows: Sequence[Window], first: int = 1) -> int:
        """Stream windows; the last sequence that it acknowledged, once that is all of them."""
        with grpc.insecure_channel(self.grpc) as channel:
            stub = telemetry_pb2_grpc.TelemetryStub(channel)  # type: ignore[no-untyped-call]
            batch = pb.Batch(
                sent_at_us=now_us(),
                windows=[
                    pb.Window.FromString(codec.encode(content, "agent", "boot", sequence))
                    for sequence, content in enumerate(windows, start=first)
                ],
            )
            acks = stub.Stream(iter([batch]), timeout=DEADLINE_S)
            return max(ack.committed_through for ack in acks)


def get(web: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{web}{path}", timeout=DEADLINE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def now_us() -> int:
    return time.time_ns() // 1000


def text_of(us: int) -> str:
    """An instant as `--from` takes it."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).isoformat()


def recent(count: int) -> list[Window]:
    """Minutes of a node that ended a moment ago."""
    return minutes(count, first_us=(now_us() // MINUTE_US - count) * MINUTE_US)


def environment(home: Path) -> dict[str, str]:
    """The environment without any setting of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GPUTALLY_")}
    return {**kept, "XDG_STATE_HOME": str(home), "PYTHONUNBUFFERED": "1"}


def start(process: Running) -> Collector:
    found = wait_until(lambda: FIRST_LINE.search(process.log), DEADLINE_S, f"its first line:\n{process.log}")
    return Collector(process, found[1], found[2])


@pytest.fixture
def collector(database_url: str, tmp_path: Path) -> Iterator[Collector]:
    command = module("gputally.collector.main", "--database-url", database_url, *ANY_PORTS)
    with running(command, tmp_path / "log", environment(tmp_path)) as process:
        yield start(process)


def accepted(url: str) -> int:
    engine = open_database(url)
    with reading(engine) as connection:
        found = connection.execute(select(func.count()).select_from(window_table)).scalar_one()
    engine.dispose()
    return found


def test_windows_become_a_report_and_a_scrape_and_count_once(
    collector: Collector, database_url: str, tmp_path: Path
) -> None:
    """One process for what is only asked: each start costs seconds."""
    windows = recent(3)
    assert collector.send(windows) == collector.send(windows) == 3
    assert collector.get("/readyz") == (200, "ready\n")
    assert 'namespace="search",state="used"} 135.0\n' in collector.get("/metrics")[1]
    to_us = windows[-1].end_us + HOUR_US  # not the month so far: it may have begun a moment ago
    period = ("--from", text_of(to_us // HOUR_US * HOUR_US - 2 * HOUR_US), "--to", text_of(to_us // HOUR_US * HOUR_US))
    command = module(
        "gputally.collector.cli.main", "report", "--database-url", database_url, "--format", "json", *period
    )
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, check=True, text=True)
    (row,) = [row for row in json.loads(done.stdout)["rows"] if row["namespace"] == "search"]
    assert (row["used_us"], row["reserved_us"], row["energy_mj"]) == (135_000_000, 180_000_000, 27_000)
    metrics = collector.get("/metrics")[1]
    assert "gputally_writer_accepted_windows_total 3.0\n" in metrics
    assert "gputally_writer_duplicate_windows_total 3.0\n" in metrics


@pytest.mark.parametrize(("database_kind", "number"), ENDS, indirect=["database_kind"])
def test_the_ledger_is_settled_unasked_and_a_signal_ends_it_with_all_that_is_acknowledged_committed(
    collector: Collector, database_url: str, number: int
) -> None:
    older, newer = recent(2)
    collector.send([newer])
    wait_until(lambda: "gputally_ledger_pending 0.0\n" in collector.get("/metrics")[1], DEADLINE_S, "the ledger")
    assert "gputally_ledger_settled_total 1.0\n" in collector.get("/metrics")[1]
    collector.send([older], first=2)
    assert collector.process.stop(number) == 0
    assert accepted(database_url) == 2
    assert "Traceback" not in collector.process.log


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_an_open_stream_does_not_hold_up_the_end(collector: Collector) -> None:
    with grpc.insecure_channel(collector.grpc) as channel:
        stub = telemetry_pb2_grpc.TelemetryStub(channel)  # type: ignore[no-untyped-call]
        released = threading.Event()

        def silent() -> Iterator[pb.Batch]:
            yield pb.Batch(sent_at_us=now_us())
            released.wait(DEADLINE_S)

        call = stub.Stream(silent(), timeout=DEADLINE_S)
        wait_until(
            lambda: "gputally_ingest_batches_total 1.0\n" in collector.get("/metrics")[1], DEADLINE_S, "the stream"
        )
        assert collector.process.stop() == 0
        assert list(call) == []
        released.set()


def test_bad_settings_are_all_told_and_end_it_with_2(tmp_path: Path) -> None:
    command = module("gputally.collector.main", "--timezone", "Mars", "--http-listn", "x", "--writer-queue", "0")
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 3
    assert all(line.startswith("gputally-collector: ") for line in done.stderr.splitlines())


@pytest.mark.parametrize("flag", ["--grpc-listen", "--http-listen"])
def test_a_port_that_is_taken_ends_it_with_one_line(flag: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = module("gputally.collector.main", *ANY_PORTS, flag, address)
        done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"gputally-collector: cannot listen on {address} ({flag})" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_its_database_it_stays_up_unready_and_says_why(tmp_path: Path) -> None:
    own = OwnPort()
    web = own.address
    nowhere = "postgresql://ann:secret@127.0.0.1:1/ledger"
    flags = ("--database-url", nowhere, "--grpc-listen", "127.0.0.1:0", "--http-listen", web)
    with running(module("gputally.collector.main", *flags), tmp_path / "log", environment(tmp_path)) as process:
        wait_until(lambda: "cannot be reached" in process.log, DEADLINE_S, "the warning")
        status, text = get(web, "/readyz")
        assert (status, get(web, "/healthz")) == (503, (200, "ok\n"))
        assert "postgresql://ann:***@127.0.0.1:1/ledger cannot be reached" in text
        assert "gputally_database_up 0.0\n" in get(web, "/metrics")[1]
        assert process.stop() == 0
    assert "secret" not in process.log


def test_the_default_database_is_made_where_every_command_looks(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with running(module("gputally.collector.main", *ANY_PORTS), tmp_path / "log", env) as process:
        start(process)
        assert process.stop() == 0
    done = subprocess.run(
        [Path(sys.executable).with_name("gputally"), "report"], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("No GPU time is booked"), done.stderr
