"""What an agent's start takes, CPU time of both processes from exec to the first whole sample of eight GPUs.

Beside it: a Python that imports the NVML bindings and grpc.aio and opens a channel, which no such agent can do without.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from agent_cost import WHOLE
from cpu import family, life_s
from node import BenchNode, bench_node
from table import Figure, ratio_at_most
from tests.programs import module, running, wait_until

_LAST_CALL = "RunningProcesses"  # the sampler reads the process lists at the end of a device
_IMPORTS = """
import asyncio, time, pynvml, grpc.aio
async def opened():
    async with grpc.aio.insecure_channel("127.0.0.1:9"):
        pass
pynvml.nvmlInit()
asyncio.run(opened())
print(time.process_time())
"""


def figures(*, quick: bool) -> list[Figure]:
    """Both in turns, medians."""
    with tempfile.TemporaryDirectory(prefix="gputally-bench-") as folder, bench_node(Path(folder), WHOLE) as node:
        env = {**os.environ, **node.env}
        pairs = [(_agent_s(node, env, at), _imports_s(env)) for at in range(3 if quick else 7)]
    ours, least = (median(side) * 1000 for side in zip(*pairs, strict=True))
    ceiling = "import pynvml, grpc; channel"
    return [Figure("agent start to first sample", ours, "CPU ms", ceiling, least, ratio_at_most(2.5), kept=True)]


def _imports_s(env: Mapping[str, str]) -> float:
    done = subprocess.run([sys.executable, "-c", _IMPORTS], env=env, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _agent_s(node: BenchNode, env: Mapping[str, str], at: int) -> float:
    arguments = node.agent_arguments()
    arguments[arguments.index("--spool-dir") + 1] = str(node.folder / f"spool-{at}")
    with running(module("gputally.agent.main", *arguments), node.folder / f"start-{at}.log", env) as agent:
        pid = agent.process.pid

        def used_s() -> float | None:
            return life_s(pid) if _has_sampled(node, pid) else None

        return wait_until(used_s, 30, f"the first sample\n{agent.log}") or 0.0


def _has_sampled(node: BenchNode, pid: int) -> bool:
    """Whether the lists of every GPU were read, by the child that samples."""
    counted = [node.calls_of(member) for member in family(pid) if (node.counts / str(member)).exists()]
    return any(sum(count for name, count in calls.items() if _LAST_CALL in name) >= WHOLE.gpus for calls in counted)
