"""An agent's memory while pods come and go: the samples, windows and pods of an hour in minutes.

Its size is the PSS of both processes, whose shared pages weigh more whenever another program ends that has the same
libraries. So what it grows by is told by the pages that belong to no file.

A node of 56 MIG devices and 100 pods, of which each lives for 36 seconds of that hour, a hundredth of what it would
as a rule. Time is not simulated but everything in it is faster, so what the agent keeps for some minutes it keeps of
more pods than it would: up to the numbers that bound it.
"""

import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from agent_cost import DENSE
from cpu import family, pss_mib
from node import BenchNode, bench_node
from table import Figure, at_most
from tests.agents import port_of
from tests.programs import module, running

HOUR_S, FASTER = 3600, 20
LIFE_S = 36  # of a pod, in seconds of that hour
STEP_S = 0.5
WARM_S = 10.0
_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a thousand small files a second
_SETTINGS = (
    *("--sample-interval", f"{1000 // FASTER}ms", "--process-interval", f"{5000 // FASTER}ms"),
    *("--reservation-interval", f"{10_000 // FASTER}ms", "--window", f"{60 // FASTER}s"),
)


def figures(*, quick: bool) -> list[Figure]:
    """At the end of the hour, and how much of it came in the last quarter, when whatever is bounded is full."""
    with tempfile.TemporaryDirectory(prefix="gputally-bench-", dir=_FOLDER) as folder:
        sizes, pods = measure(Path(folder), (HOUR_S // 60 if quick else HOUR_S) / FASTER)
    (_, before), (end, anonymous) = sizes[len(sizes) * 3 // 4], sizes[-1]
    name = f"agent memory after an hour's samples, {pods:,} pods"
    return [
        Figure(name, end, "MiB", target=at_most(60)),
        Figure(f"{name}, without files, in its last quarter", anonymous - before, "MiB", target=at_most(1)),
    ]


def measure(folder: Path, seconds: float) -> tuple[list[tuple[float, float]], int]:
    """The agent's size every now and then, its PSS and that without files, and how many pods there were."""
    with bench_node(folder, DENSE, changes=True) as node:
        command = module("gputally.agent.main", *node.agent_arguments(*_SETTINGS))
        with running(command, folder / "agent.log", {**os.environ, **node.env}) as agent:
            port_of(agent)
            time.sleep(WARM_S)
            sizes = []
            began, number = time.monotonic(), DENSE.pods
            while (passed := time.monotonic() - began) < seconds:
                number = churn(node, number, passed)
                pids = family(agent.process.pid)
                sizes.append((pss_mib(pids), anonymous_mib(pids)))
                time.sleep(STEP_S)
            return sizes, number


def anonymous_mib(pids: Iterable[int]) -> float:
    """The PSS of what belongs to no file, MiB: the kernel tells it apart since Linux 5.9."""
    return sum(map(_anonymous_kib, pids)) / 1024


def _anonymous_kib(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon"))
    return 0


def churn(node: BenchNode, number: int, passed_s: float) -> int:
    """Bring as many pods as should have come by now, as far as this machine can; returns the number of the next."""
    due = min(DENSE.pods + round(passed_s * FASTER * DENSE.pods / LIFE_S), number + DENSE.pods // 2)
    for each in range(number, due):
        node.put_pod(each % DENSE.pods, each)
    node.tell()
    return due


def main() -> None:
    """Print the sizes, one a second or so."""
    with tempfile.TemporaryDirectory(prefix="gputally-bench-", dir=_FOLDER) as folder:
        sizes, pods = measure(Path(folder), HOUR_S / FASTER)
        print(f"{pods} pods, MiB, of it without files:", *(f"{pss:.1f}/{own:.1f}" for pss, own in sizes[::10]))


if __name__ == "__main__":
    main()
