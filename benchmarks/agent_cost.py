"""What an agent costs its node, CPU time of all its processes, beside a peer and beside the bare NVML calls.

All of them run at once on the same NVML library, for the same seconds, so that whatever slows the machine slows them
all. The library answers in about a microsecond; a driver's own time is on top, for each of them by its number of calls.
"""

import argparse
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from node import BenchNode, Shape, bench_node
from tests.agents import port_of
from tests.programs import Running, module, running, wait_until

WHOLE = Shape(gpus=8, processes=32, pods=8)
DENSE = Shape(gpus=8, processes=200, pods=100, instances=7)
WARM_S = 12.0
SCRAPE_S = 15.0
_BARE = """
import time, pynvml as n
n.nvmlInit()
handles = [n.nvmlDeviceGetHandleByIndex(i) for i in range(n.nvmlDeviceGetCount())]
while True:
    for h in handles:
        n.nvmlDeviceGetUtilizationRates(h); n.nvmlDeviceGetMemoryInfo(h); n.nvmlDeviceGetPowerUsage(h)
        n.nvmlDeviceGetTotalEnergyConsumption(h); n.nvmlDeviceGetComputeRunningProcesses(h)
    time.sleep(INTERVAL)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds a second, memory (PSS, MiB) at the end, NVML calls a second and GPU."""

    cpu_ms: float
    pss_mib: float
    calls: float
    lists: float


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds of processes so far, from the scheduler's nanoseconds of every thread."""
    return sum(_thread_ns(task) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def _thread_ns(task: Path) -> int:
    return int((task / "schedstat").read_text().split()[0])


def family(pid: int) -> list[int]:
    """A process and its children."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


def pss_mib(pids: Sequence[int]) -> float:
    """What the processes hold, pages shared with others divided among them."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 2**20


class Watch:
    """Measures one program between two instants."""

    def __init__(self, node: BenchNode, program: Running, gpus: int) -> None:
        self._node, self._program, self._gpus = node, program, gpus

    def start(self) -> None:
        """From now on."""
        self._pids = family(self._program.process.pid)
        self._cpu, self._calls, self._at = cpu_s(self._pids), self._counted(), time.monotonic()

    def stop(self) -> Cost:
        """Until now."""
        seconds = time.monotonic() - self._at
        pids = family(self._program.process.pid)
        assert pids == self._pids, f"{self._program.log_file.name} ended, or started another process"
        calls = {name: count - self._calls.get(name, 0) for name, count in self._counted().items()}
        lists = sum(count for name, count in calls.items() if "RunningProcesses" in name)
        each = seconds * self._gpus
        cpu_ms = (cpu_s(pids) - self._cpu) * 1000 / seconds
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
def programs(node: BenchNode, interval: str, peer: Path | None) -> Iterator[dict[str, Running]]:
    """The agent, the peer where it is there, and the bare loop, all at one interval."""
    seconds = (
        float(interval.removesuffix("ms")) / 1000 if interval.endswith("ms") else float(interval.removesuffix("s"))
    )
    commands = {
        "agent": module("gputally.agent.main", *node.agent_arguments("--sample-interval", interval)),
        "bare": [sys.executable, "-c", _BARE.replace("INTERVAL", str(seconds))],
    }
    if peer:
        commands["nvitop"] = [str(peer), "--port", "0", "--interval", str(max(seconds, 0.25))]
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
        programs(node, interval, peer) as started,
    ):
        agent = started["agent"]
        wait_until(lambda: node.collector.ledger.windows or agent.process.poll() is not None, 100, "a window")
        assert agent.process.poll() is None, agent.log
        end = time.monotonic() + WARM_S
        scraping(agent, lambda: time.monotonic() >= end)
        watches = {name: Watch(node, program, shape.gpus) for name, program in started.items()}
        for watch in watches.values():
            watch.start()
        end = time.monotonic() + seconds
        scraping(agent, lambda: time.monotonic() >= end)
        return {name: watch.stop() for name, watch in watches.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--peer", type=Path, help="nvitop-exporter, in an environment of its own")
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
