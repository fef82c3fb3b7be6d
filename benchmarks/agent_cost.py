"""What an agent costs its node, CPU time of all its processes, beside a peer and beside the bare NVML calls.

All of them run at once on the same NVML library, for the same seconds, so that whatever slows the machine slows them
all. The library answers in about a microsecond; a driver's own time is on top, for each of them by its number of calls.
The peer is nvitop-exporter, unscraped and once a second whatever the agent's interval, in an environment of its own.
"""

import argparse
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cpu import CpuOf, family, pss_mib
from node import BenchNode, Shape, bench_node
from table import Figure, at_most, ratio_at_most
from tests.agents import port_of
from tests.programs import Running, module, running

WHOLE = Shape(gpus=8, processes=32, pods=8)
DENSE = Shape(gpus=8, processes=200, pods=100, instances=7)
WARM_S = 12.0
SCRAPE_S = 15.0
PEER = Path(sys.prefix) / "peer" / "bin" / "nvitop-exporter"  # where `make bench` installs it
# On a GPU in MIG mode the driver says neither how busy it is nor what runs: its instances are asked, each on its own.
_BARE = """
import time, pynvml as n
n.nvmlInit()
gpus = [n.nvmlDeviceGetHandleByIndex(i) for i in range(n.nvmlDeviceGetCount())]
migs = {}
for i, gpu in enumerate(gpus):
    try:
        migs[i] = [n.nvmlDeviceGetMigDeviceHandleByIndex(gpu, k) for k in range(INSTANCES)]
    except n.NVMLError:
        migs[i] = []
while True:
    for i, gpu in enumerate(gpus):
        n.nvmlDeviceGetPowerUsage(gpu); n.nvmlDeviceGetTotalEnergyConsumption(gpu)
        if not migs[i]:
            n.nvmlDeviceGetUtilizationRates(gpu)
        for part in migs[i] or [gpu]:
            n.nvmlDeviceGetMemoryInfo(part); n.nvmlDeviceGetComputeRunningProcesses(part)
    time.sleep(INTERVAL)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds a second, memory (PSS, MiB) at the end, NVML calls a second and GPU."""

    cpu_ms: float
    pss_mib: float
    calls: float
    lists: float


class Watch:
    """Measures one program between two instants."""

    def __init__(self, node: BenchNode, program: Running, gpus: int) -> None:
        self._node, self._program, self._gpus = node, program, gpus

    def start(self) -> None:
        """From now on."""
        self._pids = family(self._program.process.pid)
        self._cpu, self._calls, self._at = CpuOf(self._pids[0]), self._counted(), time.monotonic()

    def stop(self) -> Cost:
        """Until now."""
        seconds = time.monotonic() - self._at
        assert self._program.process.poll() is None, f"it ended:\n{self._program.log}"
        pids = family(self._program.process.pid)
        assert pids == self._pids, f"{self._program.log_file.name} ended, or started another process"
        calls = {name: count - self._calls.get(name, 0) for name, count in self._counted().items()}
        lists = sum(count for name, count in calls.items() if "RunningProcesses" in name)
        each = seconds * self._gpus
        cpu_ms = self._cpu.seconds() * 1000 / seconds
        return Cost(cpu_ms, pss_mib(pids), sum(calls.values()) / each, lists / each)

    def _counted(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for pid in self._pids:
            if (self._node.counts / str(pid)).exists():
                for name, count in self._node.calls_of(pid).items():
                    found[name] = found.get(name, 0) + count
        return found


def scraping(agent: Running, stop: Callable[[], bool]) -> None:
    """Scrape the agent as Prometheus does, until told to stop."""
    url = f"http://127.0.0.1:{port_of(agent)}/metrics"
    due = time.monotonic()
    while not stop():
        if time.monotonic() >= due:
            with urllib.request.urlopen(url, timeout=10) as answer:
                answer.read()
            due += SCRAPE_S
        time.sleep(0.25)


@contextmanager
def programs(node: BenchNode, interval: str, instances: int, peer: Path | None) -> Iterator[dict[str, Running]]:
    """The agent, the peer where it is there, and the bare loop, all at one interval."""
    seconds = (
        float(interval.removesuffix("ms")) / 1000 if interval.endswith("ms") else float(interval.removesuffix("s"))
    )
    commands = {
        "agent": module("gputally.agent.main", *node.agent_arguments("--sample-interval", interval)),
        "bare": [sys.executable, "-c", _BARE.replace("INTERVAL", str(seconds)).replace("INSTANCES", str(instances))],
    }
    if peer:
        commands["nvitop"] = [str(peer), "--port", "0", "--interval", "1"]
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(running(command, node.folder / f"{name}.log", {**os.environ, **node.env}))
            for name, command in commands.items()
        }


def measure(shape: Shape, interval: str, seconds: float, peer: Path | None) -> dict[str, Cost]:
    """The cost of each program on a node of this shape."""
    with (
        tempfile.TemporaryDirectory(prefix="gputally-bench-") as folder,
        bench_node(Path(folder), shape) as node,
        programs(node, interval, shape.instances, peer) as started,
    ):
        agent = started["agent"]
        port_of(agent)
        end = time.monotonic() + WARM_S
        scraping(agent, lambda: time.monotonic() >= end)
        watches = {name: Watch(node, program, shape.gpus) for name, program in started.items()}
        for watch in watches.values():
            watch.start()
        end = time.monotonic() + seconds
        scraping(agent, lambda: time.monotonic() >= end)
        return {name: watch.stop() for name, watch in watches.items()}


def figures(*, quick: bool) -> list[Figure]:
    """The agent's cost on two nodes and at two rates. A whole minute holds one window, whenever it begins."""
    if not quick:
        return [*_whole(60), *_fast(30), *_dense(60)]
    costs = measure(WHOLE, "1s", 20, None)
    return [Figure("agent CPU, 8 x 4, 1 s", costs["agent"].cpu_ms, "ms/s", *_bare(costs), kept=True)]


def _whole(seconds: float) -> list[Figure]:
    """Eight whole GPUs with four processes each, once a second."""
    costs = measure(WHOLE, "1s", seconds, peer())
    agent = costs["agent"]
    return [
        Figure("agent CPU, 8 x 4, 1 s", agent.cpu_ms, "ms/s", *_bare(costs)),
        *_beside_peer("agent CPU, 8 x 4, 1 s", costs, 1 / 8),
        Figure(
            "agent memory, PSS of both processes", agent.pss_mib, "MiB", "bare loop", costs["bare"].pss_mib, at_most(60)
        ),
        Figure("agent's NVML calls", agent.calls, "/s/GPU", "bare loop", costs["bare"].calls, at_most(7)),
        Figure("agent's process lists", agent.lists, "/s/GPU", "bare loop", costs["bare"].lists, at_most(0.2)),
    ]


def _fast(seconds: float) -> list[Figure]:
    costs = measure(WHOLE, "100ms", seconds, peer())
    name = "agent CPU, 8 x 4, 10 Hz"
    return [Figure(name, costs["agent"].cpu_ms, "ms/s", *_bare(costs)), *_beside_peer(name, costs, 1 / 2)]


def _dense(seconds: float) -> list[Figure]:
    """MIG everywhere. The smaller node is measured once more right after it, on a machine in the same mood."""
    dense, small = measure(DENSE, "1s", seconds, peer()), measure(WHOLE, "1s", seconds, None)
    agent, name = dense["agent"], "agent CPU, 8 x 7 MIG, 200 processes"
    return [
        Figure(name, agent.cpu_ms, "ms/s", *_bare(dense)),
        *_beside_peer(name, dense, None),
        Figure(name, agent.cpu_ms, "ms/s", "agent, 8 x 4", small["agent"].cpu_ms, ratio_at_most(4)),
        Figure(
            "agent memory, 8 x 7 MIG, 200 processes",
            agent.pss_mib,
            "MiB",
            "bare loop",
            dense["bare"].pss_mib,
            at_most(60),
        ),
    ]


def _bare(costs: Mapping[str, Cost]) -> tuple[str, float]:
    return "bare loop of NVML calls", costs["bare"].cpu_ms


def _beside_peer(name: str, costs: Mapping[str, Cost], most: float | None) -> list[Figure]:
    """Nothing where the peer is not installed; the page says so elsewhere."""
    if "nvitop" not in costs:
        return []
    target = None if most is None else ratio_at_most(most)
    return [Figure(name, costs["agent"].cpu_ms, "ms/s", "nvitop-exporter at 1 s", costs["nvitop"].cpu_ms, target)]


def peer() -> Path | None:
    """nvitop-exporter, where `make bench` could install it."""
    return PEER if PEER.exists() else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--peer", type=Path, default=peer(), help="nvitop-exporter, in an environment of its own")
    given = parser.parse_args()
    for shape, interval in ((WHOLE, "1s"), (WHOLE, "100ms"), (DENSE, "1s")):
        print(f"{shape.text}, every {interval}")
        for name, cost in measure(shape, interval, given.seconds, given.peer).items():
            print(
                f"  {name:<8} {cost.cpu_ms:8.2f} ms/s {cost.pss_mib:6.1f} MiB "
                f"{cost.calls:6.1f} calls/s/GPU {cost.lists:5.2f} lists/s/GPU"
            )


if __name__ == "__main__":
    main()
