"""`gputally demo`: a simulated fleet through the real agent, the real wire and the real collector."""

import signal
import sys
import tempfile
import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import typer
from rich.console import Console

from gputally.accounting.ledger_hour import to_us
from gputally.agent.probe import wall_us
from gputally.agent.scenario import Scenario
from gputally.agent.scenario_file import load
from gputally.collector.database import open_database
from gputally.collector.period import parse_period
from gputally.collector.render import as_table
from gputally.collector.report import By, report
from gputally.collector.settings import ReadSettings
from gputally.demo.backfill import MINUTE_US
from gputally.demo.fill import BackFill
from gputally.demo.hardware import has_gpus
from gputally.demo.processes import Program, StartError, stop_all
from gputally.demo.screen import Screen

CLUSTER = "demo"
_SCENARIOS = Path(__file__).with_name("scenarios")
_REFRESH_S = 2.0
_START_S = 30.0

app = typer.Typer(help="A simulated fleet: three nodes, the month so far, and then live.")


@app.callback(invoke_without_command=True)
def demo() -> None:
    """Run a simulated fleet until Ctrl-C: the month so far is back-filled, then the nodes go on live.

    Everything runs on this machine and is thrown away at the end. GPUs of this machine are counted as well.

    Example: gputally demo
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="gputally-demo-") as folder:
        try:
            _run(Path(folder), stop)
        except StartError as error:
            sys.stderr.write(f"gputally demo: {error}\n")
            raise typer.Exit(1) from error


def _run(folder: Path, stop: threading.Event) -> None:
    now_us = wall_us() // MINUTE_US * MINUTE_US
    nodes = {path.stem: load(path, now_us) for path in sorted(_SCENARIOS.glob("*.json"))}
    database_url = f"sqlite:///{folder / 'demo.sqlite'}"
    screen = Screen(Console(), f"ask for yourself: gputally report --database-url {database_url}\nCtrl-C ends the demo")
    screen.say(f"starting a collector and {len(nodes)} simulated nodes")
    collector = _collector(folder, database_url)
    programs = [collector]
    back_fill = BackFill(nodes, CLUSTER, _month_start_us(now_us), now_us, folder)
    try:
        found = collector.wait_for(r"agents on (\S+), metrics on http://(\S+)/metrics", _START_S, stop)
        programs += _agents(folder, found[1], nodes)
        screen.say(f"metrics: http://{found[2]}/metrics")
        back_fill.start(found[1])
        _show(database_url, screen, back_fill, stop)
    finally:
        screen.close()
        back_fill.close()
        stop_all(programs)


def _month_start_us(now_us: int) -> int:
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    return to_us(datetime(now.year, now.month, 1, tzinfo=UTC))


def _collector(folder: Path, database_url: str) -> Program:
    arguments = [
        "--database-url", database_url, "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0",
        "--line-retention-days", "0",
    ]  # fmt: skip
    return Program("the collector", "gputally.collector.main", arguments, folder / "collector.log")


def _agents(folder: Path, collector: str, nodes: dict[str, Scenario]) -> list[Program]:
    """One live agent for each simulated node, and one for this machine's own GPUs where it has any."""
    agents = [
        _agent(folder, collector, node, "--nvml", "simulated", "--scenario", str(_SCENARIOS / f"{node}.json"))
        for node in nodes
    ]
    if has_gpus():
        agents.append(_agent(folder, collector, "this-machine", "--pod-resources-socket", "off"))
    return agents


def _agent(folder: Path, collector: str, node: str, *arguments: str) -> Program:
    common = [
        "--collector", collector, "--cluster", CLUSTER, "--node", node, "--http-listen", "127.0.0.1:0",
        "--spool-dir", str(folder / f"{node}-live"), "--kube-api", "off",
    ]  # fmt: skip
    return Program(node, "gputally.agent.main", [*common, *arguments], folder / f"{node}.log")


def _show(database_url: str, screen: Screen, back_fill: BackFill, stop: threading.Event) -> None:
    """Draw the namespace table as the collector's database has it, until told to stop."""
    engine = open_database(database_url)
    zone = ReadSettings(database_url=database_url, timezone="UTC").zone
    while not stop.is_set():
        period = parse_period(None, None, None, zone, wall_us())
        found = report(engine, zone, period.start_us, period.end_us, [By.NAMESPACE])
        if found.rows:
            screen.show(back_fill.progress, partial(as_table, found))
        stop.wait(_REFRESH_S)
    engine.dispose()
