"""The whole pipeline with real parts only, against a truth that is known in exact numbers.

A real `libnvidia-ml.so.1` below the real pynvml, real processes in real cgroups, a PodResources server on its socket,
an API server, the agent and the collector as processes, PostgreSQL, Prometheus. Only the GPUs are not real.
"""

import itertools
import json
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from tests.cgroups import Cgroups, mounted_cgroups, pod_path
from tests.collector.test_main import text_of
from tests.databases import PostgresServer
from tests.kube_api import FakeKubeApi, pod
from tests.kubelet import FakeKubelet, allocatable_answer, list_answer
from tests.nvml import library
from tests.nvml.library import Fault, NvmlScenario, ScriptedGpu, ScriptedProcess, Step
from tests.ports import OwnPort
from tests.programs import Running, module, running, wait_until

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.database.engine import open_database
from gputally.collector.database.schema import device, line, owner, posting, window, window_device

S = 1_000_000
GPUS = tuple(f"GPU-0000000{n}-1111-4222-8333-444444444444" for n in range(4))
TRAIN, CHAT = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"
LATE_US = S // 2  # how far off an edge may be: samples are 250 ms apart
_GPU_IS_LOST = 15
DEADLINE_S = 90  # for what takes seconds on a machine that has nothing else to do

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(library.skip_reason()), reason=library.skip_reason()),
    pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is missing: apt-get install prometheus"),
]


@dataclass
class Cluster:
    """Everything of the test that runs."""

    folder: Path
    engine: Engine
    database_url: str
    cgroups: Cgroups
    kubelet: FakeKubelet
    api: FakeKubeApi
    library_dir: Path
    collector: Running
    ports: dict[str, OwnPort]
    pids: dict[str, int] = field(default_factory=dict)

    def agent(self) -> "Running":
        command = module(
            "gputally.agent.main",
            *("--collector", self.ports["grpc"].address, "--node", "node-1", "--cluster", "test"),
            *("--pod-resources-socket", str(self.folder / "kubelet.sock"), "--kube-api", self.api.url),
            *("--spool-dir", str(self.folder / "spool"), "--http-listen", self.ports["agent"].address),
            *("--sample-interval", "250ms", "--process-interval", "1s", "--reservation-interval", "1s"),
            *("--window", "5s"),
        )
        env = library.environment(self.library_dir, self.folder / "scenario")
        return Running(command, self.folder / "agent.log", env)

    def covered_us(self) -> int:
        """Up to when windows are in the database."""
        with self.engine.connect() as connection:
            return int(connection.execute(select(func.max(window.c.end_us))).scalar() or 0)

    def wait_covered(self, until_us: int) -> None:
        wait_until(lambda: self.covered_us() >= until_us, DEADLINE_S, f"windows up to {until_us}\n{self.collector.log}")

    def report(self, *arguments: str) -> dict[str, Any]:
        gputally = str(Path(sys.executable).with_name("gputally"))
        hour = now_us() // HOUR_US * HOUR_US  # not the month so far: it may have begun a moment ago
        period = ("--from", text_of(hour - HOUR_US), "--to", text_of(hour + HOUR_US))
        command = [gputally, "report", "--database-url", self.database_url, "--format", "json", *period]
        found = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
        return dict(json.loads(found.stdout))


def now_us() -> int:
    return time.time_ns() // 1000


@pytest.fixture
def cluster(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Cluster]:
    url = postgres_server.create(migrated=False)
    ports = {name: OwnPort() for name in ("grpc", "http", "agent", "prometheus")}
    with ExitStack() as stack:
        cgroups = stack.enter_context(mounted_cgroups(tmp_path))
        kubelet = stack.enter_context(FakeKubelet(tmp_path / "kubelet.sock"))
        api = stack.enter_context(FakeKubeApi())
        command = module(
            "gputally.collector.main",
            *("--database-url", url, "--grpc-listen", ports["grpc"].address),
            *("--http-listen", ports["http"].address),
        )
        collector = stack.enter_context(running(command, tmp_path / "collector.log"))
        (tmp_path / "nvml").mkdir()
        library_dir = library.build(tmp_path / "nvml")
        wait_until(lambda: "ready" in http(ports["http"], "/readyz"), DEADLINE_S, f"the collector\n{collector.log}")
        engine = open_database(url)
        yield Cluster(tmp_path, engine, url, cgroups, kubelet, api, library_dir, collector, ports)
        engine.dispose()
    postgres_server.drop(url)


def http(port: OwnPort, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{port.address}{path}", timeout=60) as answer:
            return str(answer.read().decode())
    except OSError as error:
        return f"{type(error).__name__}"


def populate(cluster: Cluster) -> None:
    """Two pods with a real process each, and a process of the host."""
    for namespace, name, uid, container_id in (
        ("research", "train", TRAIN, "a" * 64),
        ("inference", "chat", CHAT, "b" * 64),
    ):
        cluster.pids[name] = cluster.cgroups.sleeper(pod_path(uid, container_id))
        cluster.api.put(pod(namespace, name, uid, node="node-1", containers={"main": container_id}))
    cluster.pids["host"] = cluster.cgroups.sleeper("/system.slice/batch.service")


def scenario(pids: dict[str, int], start_us: int, change_us: int) -> NvmlScenario:
    """GPU 0: 60 % all the time. GPU 2: a host process at 25 %. At `change_us` GPU 1 works at 80 % for five seconds,
    and GPU 3 is lost for four."""
    burst = (Step(start_us, 0), Step(change_us, 80), Step(change_us + 5 * S, 0))
    train = ScriptedProcess(pids["train"], busy=(Step(start_us, 60),))
    chat = ScriptedProcess(pids["chat"], busy=burst)
    batch = ScriptedProcess(pids["host"], busy=(Step(start_us, 25),))
    return NvmlScenario(
        gpus=(
            ScriptedGpu(GPUS[0], start_us, processes=(train,)),
            ScriptedGpu(GPUS[1], start_us, minor=1, processes=(chat,)),
            ScriptedGpu(GPUS[2], start_us, minor=2, processes=(batch,)),
            ScriptedGpu(GPUS[3], start_us, minor=3),
        ),
        faults=(Fault(_GPU_IS_LOST, gpu=3, from_us=change_us, to_us=change_us + 4 * S),),
    )


def held(*names: str) -> bytes:
    grants = {"train": ("research", "train", "main", [GPUS[0]]), "chat": ("inference", "chat", "main", [GPUS[1]])}
    return list_answer([grants[name] for name in names])


def lines_of(engine: Engine) -> dict[str, dict[str, int]]:
    """Per row of the report: state sums, straight from the lines in the database."""
    names = ("used", "idle", "unallocated", "unavailable", "unobserved")
    sums = [func.sum(line.c[f"{name}_us"]).label(name) for name in names]
    with engine.connect() as connection:
        row = connection.execute(select(*sums)).mappings().one()
    return {"all": {name: int(row[name]) for name in names}}


def test_gpu_hours_in_the_database_equal_the_scenarios_truth(cluster: Cluster) -> None:
    populate(cluster)
    cluster.kubelet.answer(held("train"), allocatable_answer(GPUS))
    start_us = now_us() // S * S - 20 * S
    scenario(cluster.pids, start_us, change_us=start_us + 3600 * S).write(cluster.folder / "scenario")
    agent = cluster.agent()
    try:
        cluster.wait_covered(start_us + 20 * S)
        cluster.kubelet.answer(held("train", "chat"), allocatable_answer(GPUS))
        answered_us = now_us()
        asked = cluster.kubelet.calls.count("List")
        # Who asks once more has taken the answer before; what is on its way now may still be the old one.
        wait_until(lambda: cluster.kubelet.calls.count("List") >= asked + 3, DEADLINE_S, "the kubelet to be asked")
        known_us = now_us()
        truth = scenario(cluster.pids, start_us, change_us=(known_us // S + 3) * S)
        truth.write(cluster.folder / "scenario")
        cluster.wait_covered(known_us + 10 * S)
        check_exposition(cluster)
        assert agent.stop() == 0, agent.log
        first = check_truth(cluster, truth, (answered_us, known_us))
        with prometheus(cluster):
            before = check_prometheus(cluster, first)
            agent = cluster.agent()
            cluster.wait_covered(now_us() + 6 * S)
            assert agent.stop() == 0, agent.log
            second = by_namespace(cluster)
            check_gap(cluster, second)
            after = check_prometheus(cluster, without_gaps(cluster, second))
    finally:
        agent.process.kill()
        agent.process.wait()
    counted = without_gaps(cluster, second)
    for key, value in after.items():
        assert value - before.get(key, 0) == counted[key[0]][key[1]] - first.get(key[0], {}).get(key[1], 0)


def by_namespace(cluster: Cluster) -> dict[str, dict[str, int]]:
    """The report's rows of pods, by namespace, and the total under the empty name."""
    found = cluster.report("--by", "namespace")
    rows = {row["namespace"]: row for row in found["rows"] if row["owner"] == "pod"}
    return {**rows, "": found["total"]}


def gaps(cluster: Cluster) -> dict[str, int]:
    """Time that no window covers, by namespace; all of it under the empty name."""
    statement = select(owner.c.namespace, func.sum(posting.c.gap_us)).select_from(posting).join(owner)
    with cluster.engine.connect() as connection:
        found = {name: int(us) for name, us in connection.execute(statement.group_by(owner.c.namespace)).all()}
    return {**found, "": sum(found.values())}


def without_gaps(cluster: Cluster, rows: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """The report's rows as the counters have them: these grow by lines, and gap time may still be replaced."""
    gone = gaps(cluster)
    return {name: {**row, "unobserved_us": row["unobserved_us"] - gone.get(name, 0)} for name, row in rows.items()}


def check_gap(cluster: Cluster, rows: dict[str, dict[str, int]]) -> None:
    """Between two agents nobody looked: each device's time is unobserved, and of those who held it on both sides."""
    with cluster.engine.connect() as connection:
        windows = connection.execute(select(window.c.start_us, window.c.end_us).order_by(window.c.start_us)).all()
    pairs = itertools.pairwise(windows)
    [between_us] = [after.start_us - before.end_us for before, after in pairs if after.start_us > before.end_us]
    assert gaps(cluster) == {"research": between_us, "inference": between_us, "": 4 * between_us}
    assert rows["research"]["unobserved_us"] == rows["inference"]["unobserved_us"] == between_us
    gap = "sum(gputally_gap_gpu_seconds)"
    wait_until(
        lambda: [round(float(series["value"][1]) * 1e6) for series in ask(cluster, gap)] == [4 * between_us],
        DEADLINE_S,
        f"Prometheus to show {4 * between_us} us of gaps",
    )


def check_truth(cluster: Cluster, truth: NvmlScenario, held_from_us: tuple[int, int]) -> dict[str, dict[str, int]]:
    """`held_from_us`: the earliest and the latest instant from which the second pod holds its GPU."""
    spans = check_devices(cluster, truth)
    found = cluster.report("--by", "namespace")
    rows = {(row["owner"], row["namespace"]): row for row in found["rows"]}
    research, inference = rows["pod", "research"], rows["pod", "inference"]
    host, platform = rows["host", ""], rows["platform", ""]
    capacity = {uuid: end - start for uuid, (start, end) in spans.items()}
    windows = 2 + (spans[GPUS[0]][1] - spans[GPUS[0]][0]) // (5 * S)

    assert research["reserved_us"] == capacity[GPUS[0]]
    assert research["used_us"] == pytest.approx(capacity[GPUS[0]] * 60 / 100, abs=windows)
    assert research["idle_us"] == capacity[GPUS[0]] - research["used_us"]

    answered_us, known_us = held_from_us
    busy_us = truth.busy_us(GPUS[1], answered_us, known_us + 10 * S)
    assert inference["used_us"] == pytest.approx(busy_us, abs=LATE_US)
    late_us = spans[GPUS[1]][1] - answered_us - inference["reserved_us"]
    assert 0 <= late_us <= known_us - answered_us

    assert host["used_us"] == pytest.approx(capacity[GPUS[2]] * 25 / 100, abs=windows)
    assert platform["unavailable_us"] == pytest.approx(4 * S, abs=LATE_US)
    assert platform["intruder_us"] == host["intruder_us"] == 0
    assert found["total"]["unobserved_us"] == 0, found
    assert found["total"]["capacity_us"] == sum(capacity.values())
    return by_namespace(cluster)


def check_devices(cluster: Cluster, truth: NvmlScenario) -> dict[str, tuple[int, int]]:
    """Windows follow each other, states sum to capacity, energy to the counter; returns each device's (start, end)."""
    query = select(window, window_device).join(window_device).order_by(window.c.start_us)
    with cluster.engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
        energy = dict(
            connection.execute(
                select(
                    line.c.device_id, func.sum(line.c.energy_dynamic_mj + func.coalesce(line.c.energy_idle_mj, 0))
                ).group_by(line.c.device_id)
            ).all()
        )
    uuids = device_uuids(cluster.engine)
    spans = {}
    for device_id, uuid in uuids.items():
        mine = [row for row in rows if row["device_id"] == device_id]
        assert all(a["end_us"] == b["start_us"] for a, b in itertools.pairwise(mine))
        spans[uuid] = (mine[-1]["end_us"] - sum(row["capacity_us"] for row in mine), mine[-1]["end_us"])
        if uuid == GPUS[3]:
            continue  # its counter cannot be read while it is lost
        assert energy[device_id] == mine[-1]["energy_end_mj"] - mine[0]["energy_start_mj"]
        moved = truth.energy_mj(uuid, spans[uuid][1]) - truth.energy_mj(uuid, spans[uuid][0])
        assert energy[device_id] == pytest.approx(moved, rel=0.01)
    states = lines_of(cluster.engine)["all"]
    assert sum(states.values()) == sum(end - start for start, end in spans.values())
    return spans


def device_uuids(engine: Engine) -> dict[int, str]:
    with engine.connect() as connection:
        return {int(row.id): str(row.uuid) for row in connection.execute(select(device))}


def check_exposition(cluster: Cluster) -> None:
    """Both /metrics pages are clean for promtool."""
    for name in ("agent", "http"):
        text = http(cluster.ports[name], "/metrics")
        assert "gputally_" in text
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        assert checked.stdout + checked.stderr == ""
        assert checked.returncode == 0


def prometheus(cluster: Cluster) -> Any:
    """The real server, scraping agent and collector each second."""
    targets = {"agent": cluster.ports["agent"], "collector": cluster.ports["http"]}
    jobs = [{"job_name": job, "static_configs": [{"targets": [port.address]}]} for job, port in targets.items()]
    config = cluster.folder / "prometheus.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    command = [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={cluster.folder / 'tsdb'}",
        f"--web.listen-address={cluster.ports['prometheus'].address}", "--log.level=warn",
    ]  # fmt: skip
    return running(command, cluster.folder / "prometheus.log")


def ask(cluster: Cluster, query: str) -> list[dict[str, Any]]:
    text = http(cluster.ports["prometheus"], f"/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    return list(json.loads(text)["data"]["result"]) if text.startswith("{") else []


def check_prometheus(cluster: Cluster, expected: dict[str, dict[str, int]]) -> dict[tuple[str, str], int]:
    """Instant values of the counters in microseconds, by (namespace, state); the total under the empty namespace."""

    def values() -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for name, key in (("namespace", "namespace"), ("capacity", "")):
            query = f"sum by (namespace, state) (gputally_{name}_gpu_seconds_total)"
            for series in ask(cluster, query):
                labels = series["metric"]
                found[labels.get(key, ""), f"{labels['state']}_us"] = round(float(series["value"][1]) * 1e6)
        return found

    def as_reported() -> dict[tuple[str, str], int]:
        now = values()
        is_whole = {name for name, _ in now} == {"research", "inference", ""}
        return now if is_whole and all(now[key] == expected[key[0]][key[1]] for key in now) else {}

    return wait_until(as_reported, DEADLINE_S, f"Prometheus to show the report's numbers: {values()} {expected}")
