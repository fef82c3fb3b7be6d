"""`gputally demo`: a simulated fleet through the real agent, the real wire and the real collector."""

import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from gputally.agent.probe.main import wall_us
from gputally.agent.simulated.scenario import Scenario
from gputally.agent.simulated.scenario_file import load
from gputally.collector.allocation.period import parse_period
from gputally.collector.database.engine import open_database
from gputally.collector.render import as_table
from gputally.collector.report import By, report
from gputally.collector.settings import ReadSettings, SettingsError
from gputally.collector.settings import load as load_settings
from gputally.demo.backfill import DAY_US, MINUTE_US
from gputally.demo.books import apply_books
from gputally.demo.cluster import Cluster
from gputally.demo.desktop import FirstPage, is_here
from gputally.demo.fill import BackFill
from gputally.demo.hardware import has_gpus
from gputally.demo.kube_api import KubeApi
from gputally.demo.processes import Program, ProgramError, stop_all
from gputally.demo.screen import Screen

CLUSTER = "demo"
_SCENARIOS = Path(__file__).with_name("scenarios")
_QUEUES = Path(__file__).with_name("queues.yaml")
MINUTES_A_DAY = DAY_US // MINUTE_US
_CLUSTER_AGE_US = 14 * DAY_US  # on the month's first day: what is always there was there before
_REFRESH_S = 2.0
_START_S = 30.0
_READY = r"agents on (\S+), metrics on (\S+), API on (\S+), pages on (\S+), database"
_HINTS = """\
Open the overview: {pages} (Ctrl-C here ends the demo; metrics are on {metrics})

To ask for yourself, paste this into another terminal (the prices are invented):
. .venv/bin/activate
export GPUTALLY_DATABASE_URL={database_url}
export API={api}
"""

app = typer.Typer(help="A simulated fleet: five nodes, the month so far, and then live.")
MayOpen = Annotated[bool, typer.Option("--open/--no-open", help="Open the overview in this desktop's browser.")]


@app.callback(invoke_without_command=True)
def demo(*, may_open: MayOpen = True) -> None:
    """Run a simulated fleet until Ctrl-C: the month so far is back-filled, then the nodes go on live.

    Everything runs on this machine and is thrown away at the end. GPUs of this machine are counted as well.
    From a terminal of a desktop it opens a browser, unless NO_BROWSER or CI is set in the environment.

    Example: gputally demo
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="gputally-demo-") as folder:
        # What the back-fill's stream has to say would be in the middle of the table.
        logging.basicConfig(filename=Path(folder) / "demo.log", level=logging.INFO)
        try:
            _run(Path(folder), stop, opens=may_open and is_here(os.environ, sys.platform, terminal=sys.stdout.isatty()))
        except (ProgramError, SettingsError) as error:
            sys.stderr.write(f"gputally demo: {error}\n")
            raise typer.Exit(2 if isinstance(error, SettingsError) else 1) from error


def _run(folder: Path, stop: threading.Event, *, opens: bool) -> None:
    now_us = wall_us() // MINUTE_US * MINUTE_US
    nodes = {path.stem: load(path, now_us) for path in sorted(_SCENARIOS.glob("*.json"))}
    settings = load_settings(ReadSettings, {"database_url": f"sqlite:///{folder / 'demo.sqlite'}"})
    month_start_us = parse_period(None, None, None, settings.zone, now_us).start_us
    screen = Screen(Console())
    screen.say(f"starting a collector and {len(nodes)} simulated nodes")
    back_fill = BackFill(nodes, CLUSTER, month_start_us, now_us, folder)
    queues = list(yaml.safe_load_all(_QUEUES.read_bytes()))
    kube_api = KubeApi(Cluster(nodes, month_start_us - _CLUSTER_AGE_US, queues), wall_us)
    with ExitStack() as running:
        running.callback(screen.close)
        kube_api.start()
        running.callback(kube_api.close)
        programs = [_collector(folder, settings.database_url, kube_api.url)]
        running.callback(stop_all, programs)
        found = programs[0].wait_for(_READY, _START_S, stop)
        if found is None:
            return
        for agent in _agents(folder, found[1], nodes):
            programs.append(agent)  # noqa: PERF402 - each is stopped even if the next one cannot be started
        metrics, api, pages = found[2], found[3], found[4]
        screen.say(_HINTS.format(pages=pages, metrics=metrics, api=api, database_url=settings.database_url))
        running.callback(back_fill.close)
        back_fill.start(found[1])
        page = FirstPage(pages, MINUTES_A_DAY * len(nodes)) if opens else None
        _show(settings, screen, back_fill, programs, stop, page)


def _collector(folder: Path, database_url: str, kube_api: str) -> Program:
    arguments = [
        "--database-url", database_url, "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0",
        "--line-retention-days", "0", "--cluster", CLUSTER, "--kube-api", kube_api,
    ]  # fmt: skip
    return Program("the collector", "gputally.collector.main", arguments, folder / "collector.log")


def _agents(folder: Path, collector: str, nodes: Mapping[str, Scenario]) -> Iterator[Program]:
    """One live agent for each simulated node, and one for this machine's own GPUs where it has any."""
    for node in nodes:
        yield _agent(folder, collector, node, "--nvml", "simulated", "--scenario", str(_SCENARIOS / f"{node}.json"))
    if has_gpus():
        yield _agent(folder, collector, "this-machine", "--pod-resources-socket", "off")


def _agent(folder: Path, collector: str, node: str, *arguments: str) -> Program:
    common = [
        "--collector", collector, "--cluster", CLUSTER, "--node", node, "--http-listen", "127.0.0.1:0",
        "--spool-dir", str(folder / f"{node}-live"), "--kube-api", "off",
    ]  # fmt: skip
    return Program(node, "gputally.agent.main", [*common, *arguments], folder / f"{node}.log")


def _show(
    settings: ReadSettings,
    screen: Screen,
    back_fill: BackFill,
    programs: Sequence[Program],
    stop: threading.Event,
    page: FirstPage | None,
) -> None:
    """Draw the namespace table as the collector's database has it, until told to stop; raises ProgramError."""
    engine = open_database(settings.database_url)
    apply_books(engine, wall_us())
    while not stop.is_set():
        for program in programs:
            program.check()
        period = parse_period(None, None, None, settings.zone, wall_us())
        found = report(engine, settings.zone, period.start_us, period.end_us, [By.NAMESPACE])
        if found.rows:
            screen.show(back_fill.progress, partial(as_table, found))
        if page:
            page.open_when_it_tells(back_fill.progress)
        stop.wait(_REFRESH_S)
    engine.dispose()
