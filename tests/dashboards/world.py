"""A fleet for the dashboards: real agents, a real collector on PostgreSQL, a real Prometheus with the real rules.

One agent plays a scenario, one reads the NVML test library (Xids, MIG, GPM, the durations of the driver's calls); two
months were closed before, the second with a correction of the first.
"""

import json
import os
import random
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import yaml
from sqlalchemy import Engine
from tests.agents import Node, now_us, port_of
from tests.databases import PostgresServer
from tests.nvml import library
from tests.nvml.library import MigDevice, NvmlScenario, ScriptedGpu, ScriptedProcess, Step, WrongValue
from tests.programs import Running, module, running, wait_until
from tests.windows import MINUTE_US, MODEL, all_received, device, pod, reserved, window

from gputally.accounting.line import Window
from gputally.agent.idle_spell import IdleSpells
from gputally.agent.simulated.scenario_file import load
from gputally.agent.spell_file import SpellFile
from gputally.agent.spool.spool import Spool
from gputally.agent.stream import Stream
from gputally.collector.database.engine import open_database
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.statement.close import Allowance, Request, close_month
from gputally.collector.statement.month import Month, month_at
from gputally.demo.backfill import live_through

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = Path(__file__).with_name("fleet.json")
CLUSTER = "demo"
DEVICES = 7  # of the scenario and of the library
S = 1_000_000
DEADLINE_S = 60

CARD = """\
version: 1
currency: EUR
prices:
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: 2020-01-01, per_gpu_hour: 3.60}
  - {match: {model: NVIDIA H100 80GB HBM3, profile: 1g.10gb}, valid_from: 2020-01-01, per_gpu_hour: 4.20}
energy:
  - {valid_from: 2020-01-01, per_kwh: 0.25, pue: 1.3}
carbon:
  - {valid_from: 2020-01-01, g_co2e_per_kwh: 350}
"""
TEAMS = """\
version: 1
namespaces:
  - {namespace: training, team: language, valid_from: 2020-01-01}
  - {namespace: notebooks, team: research, valid_from: 2020-01-01}
"""
BUDGETS = """\
version: 1
budgets:
  - {team: language, amount: 50, from: 2020-01}
  - {namespace: notebooks, gpu_hours: 10, from: 2020-01}
"""


@dataclass
class World:
    """What the queries are asked of: Prometheus at a port, PostgreSQL at a URL; and what is known of the truth."""

    prometheus: int
    database_url: str
    closed: tuple[Month, Month]

    def is_ready(self) -> bool:
        """Whether Prometheus has read the agents and the collector."""
        try:
            seen = self.ask("query", query="count(gputally_device_info and on () gputally_database_up)")["result"]
        except urllib.error.URLError:
            return False
        return bool(seen) and int(seen[0]["value"][1]) == DEVICES

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of Prometheus' API; fails with its error."""
        url = f"http://127.0.0.1:{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            return json.load(answer)["data"]


@contextmanager
def world(folder: Path, server: PostgresServer) -> Iterator[World]:
    """Everything, running."""
    url = server.create(migrated=True)
    zone = quiet_zone(datetime.now(UTC))
    engine = open_database(url)
    with ExitStack() as stack:
        stack.callback(server.drop, url)
        stack.callback(engine.dispose)
        closed, today = books(engine, ZoneInfo(zone))
        (folder / "simulated").mkdir()
        SpellFile(folder / "simulated").write(_spells(today))
        collector = stack.enter_context(_collector(folder, url, zone))
        said = wait_until(
            lambda: re.search(r"agents on (\S+), metrics on http://(\S+)/m", collector.log), DEADLINE_S, "it"
        )
        agents = [stack.enter_context(_simulated(folder, said[1])), stack.enter_context(_on_library(folder))]
        ports = [port_of(agent) for agent in agents]
        send_twice(folder, said[1], today[9])
        _make_trouble(folder)
        prometheus = stack.enter_context(_prometheus(folder, said[2], ports))
        running_world = World(_listens(prometheus), url, closed)
        wait_until(running_world.is_ready, DEADLINE_S, f"Prometheus to have read all\n{prometheus.log}")
        yield running_world


def quiet_zone(now: datetime) -> str:
    """A billing time zone in which a month is hours old and has a whole day, at any time."""
    if now.day > 2:
        return "UTC"
    return "Etc/GMT+12" if now.day == 1 and now.hour < 12 else "Etc/GMT-14"


def books(engine: Engine, zone: ZoneInfo) -> tuple[tuple[Month, Month], list[Window]]:
    """Prices, teams, budgets, two closed months, and the last hour, whose windows are returned with the months."""
    for kind, text in ((Kind.RATES, CARD), (Kind.TEAMS, TEAMS), (Kind.BUDGETS, BUDGETS)):
        apply_file(engine, kind, text.encode(), "tests", 1)
    this = month_at(now_us(), zone)
    last = month_at(this.start_us - S, zone)
    first = month_at(last.start_us - S, zone)
    _book(engine, zone, [*_lived("node-old", _middle(first)), *_partitioned(_middle(first))])
    _close(engine, zone, first)
    _book(engine, zone, [*_lived("node-late", _middle(first)), *_lived("node-last", _middle(last))])
    _close(engine, zone, last)
    until_us = now_us()
    today = _lived("node-a", until_us // MINUTE_US * MINUTE_US - 60 * MINUTE_US, until_us)
    _book(engine, zone, today)
    return (first, last), today


def _spells(windows: list[Window]) -> IdleSpells:
    """What the agent of these windows kept when it was restarted."""
    spells = IdleSpells()
    spells.fold(windows)
    return spells


def _middle(month: Month) -> int:
    return (month.start_us + month.end_us) // 2 // MINUTE_US * MINUTE_US


def _lived(node: str, start_us: int, end_us: int | None = None) -> list[Window]:
    """The scenario from `start_us` on, for 20 minutes, on GPUs of the node's own."""
    scenario = load(SCENARIO, start_us)
    made = live_through(scenario, CLUSTER, node, start_us, end_us or start_us + 20 * MINUTE_US)
    return [_renamed(one) for windows in made for one in windows]


def _renamed(one: Window) -> Window:
    own = (replace(part, uuid=f"{part.uuid[:-6]}{one.node[-3:]}{part.uuid[-3:]}") for part in one.devices)
    return one if one.node == "node-a" else replace(one, devices=tuple(own))


def _partitioned(start_us: int) -> list[Window]:
    """A MIG device that is idle, of a namespace that is in no team."""
    line = reserved(pod("vision", "detect-0"), 0, MINUTE_US)
    held = replace(line, key=replace(line.key, partition="MIG-1"))
    part = replace(device(held, uuid="GPU-mig", model=MODEL), profiles={"MIG-1": "1g.10gb"})
    return [window(part, cluster=CLUSTER, node="node-mig", start_us=start_us)]


def _book(engine: Engine, zone: ZoneInfo, windows: list[Window]) -> None:
    Committer(engine, zone, max_age_us=None).commit(all_received(windows), now_us=now_us())
    settle(engine, zone)


def _close(engine: Engine, zone: ZoneInfo, month: Month) -> None:
    close_month(engine, zone, Request(month, "tests", month.end_us + 3600 * S, tuple(Allowance)))


def _collector(folder: Path, url: str, zone: str) -> Any:
    command = module(
        "gputally.collector.main",
        *("--database-url", url, "--timezone", zone, "--line-retention-days", "0"),
        *("--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"),
    )
    return running(command, folder / "collector.log")


_FAST = (
    *("--sample-interval", "250ms", "--process-interval", "500ms", "--reservation-interval", "1s", "--window", "1s"),
    *("--http-listen", "127.0.0.1:0", "--kube-api", "off", "--cluster", CLUSTER),
)


def _simulated(folder: Path, collector: str) -> Any:
    command = module(
        "gputally.agent.main",
        *(*_FAST, "--node", "node-a", "--nvml", "simulated", "--scenario", str(SCENARIO), "--collector", collector),
        *("--spool-dir", str(folder / "simulated")),
    )
    return running(command, folder / "simulated.log")


def _on_library(folder: Path) -> Any:
    """Without a collector, so that its windows wait."""
    (folder / "nvml").mkdir()
    node = Node(folder, library.build(folder / "nvml"), _gpus())
    node.play()
    command = module(
        "gputally.agent.main",
        *(*_FAST, "--node", "node-x", "--pod-resources-socket", "off", "--spool-dir", str(folder / "library")),
    )
    return running(command, folder / "library.log", node.env)


def _gpus() -> NvmlScenario:
    start_us = now_us() - 20 * S
    steps = (Step(start_us, 40),)
    small = MigDevice("MIG-small", f"{MODEL} MIG 1g.10gb", 7, slot=3)
    return NvmlScenario(
        (
            ScriptedGpu("GPU-00000000-1111-4222-8333-444444444444", start_us, processes=(_busy(steps),)),
            ScriptedGpu(
                "GPU-00000001-1111-4222-8333-444444444444",
                start_us,
                minor=1,
                pci_bus_id="00000000:AF:00.0",
                mig=(small,),
                processes=(replace(_busy(steps), mig=small.uuid),),
            ),
        )
    )


def _busy(steps: tuple[Step, ...]) -> ScriptedProcess:
    return ScriptedProcess(os.getpid(), busy=steps)


def _make_trouble(folder: Path) -> None:
    """From now on: an Xid, and readings that cannot be."""
    at_us = now_us()
    scenario = _gpus()
    first = replace(scenario.gpus[0], xids=((at_us + S, 63), (at_us + S, 48)))
    wrong = WrongValue("nvmlDeviceGetSamples", 101, 0, at_us, at_us + 60 * S)
    broken = replace(scenario, gpus=(first, *scenario.gpus[1:]), wrong_values=(wrong,))
    Node(folder, folder / "nvml", broken).play(*broken.faults, wrong_values=broken.wrong_values, gpus=broken.gpus)


def send_twice(folder: Path, collector: str, accepted: Window) -> None:
    """A window that was committed, with another content: it is refused, and kept in the quarantine."""
    spool = Spool(folder / "twice", "boot", 1 << 20, 2**62, now_us)
    spool.append([replace(accepted, devices=accepted.devices[:1])])
    stream = Stream(spool, collector, now_us, now_us, random.random)
    stream.start()
    assert stream.close(DEADLINE_S)
    spool.close()


def _prometheus(folder: Path, collector: str, agents: list[int]) -> Any:
    targets = {"gputally-collector": [collector], "gputally-agent": [f"127.0.0.1:{port}" for port in agents]}
    jobs = [
        {"job_name": job, "honor_labels": True, "static_configs": [{"targets": found}]}
        for job, found in targets.items()
    ]
    often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"global": often, "rule_files": _rules(folder), "scrape_configs": jobs}))
    command = [
        *(str(shutil.which("prometheus")), f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"),
        *("--web.listen-address=127.0.0.1:0", "--storage.tsdb.retention.time=1h"),
    ]
    return running(command, folder / "prometheus.log")


def _listens(program: Running) -> int:
    """The port that the system chose for it; Prometheus does not say."""

    def found() -> int:
        assert program.process.poll() is None, program.log
        open_ports = psutil.Process(program.process.pid).net_connections("tcp")
        return next((one.laddr.port for one in open_ports if one.status == psutil.CONN_LISTEN), 0)

    return wait_until(found, DEADLINE_S, f"Prometheus to listen\n{program.log}")


def _rules(folder: Path) -> list[str]:
    """The product's rules, evaluated each second however rarely they are evaluated otherwise."""
    written = []
    for name in ("rules.yaml", "alerts.yaml"):
        content = yaml.safe_load((ROOT / "dashboards" / "prometheus" / name).read_text())
        for group in content["groups"]:
            group.pop("interval", None)
        (folder / name).write_text(json.dumps(content))
        written.append(str(folder / name))
    return written
