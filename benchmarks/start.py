"""What an agent's start takes, CPU time of both processes from exec to the first whole sample of eight GPUs.

Beside it: a Python that imports the NVML bindings and grpc.aio and opens a channel, which no such agent can do without.
"""

import compileall
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from agent_cost import WHOLE
from cpu import cpu_s
from node import BenchNode, bench_node
from table import Figure, ratio_at_most
from tests.programs import module, running

import gputally

_LAST_CALL = "RunningProcesses"  # the sampler reads the process lists at the end of a device
_PATIENCE_S, _LOOK_S = 30, 0.001
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
    _compile()
    with tempfile.TemporaryDirectory(prefix="gputally-bench-") as folder, bench_node(Path(folder), WHOLE) as node:
        env = {**os.environ, **node.env}
        pairs = [(_agent_s(node, env, at), _imports_s(env)) for at in range(3 if quick else 7)]
    ours, least = (median(side) * 1000 for side in zip(*pairs, strict=True))
    ceiling = "import pynvml, grpc; channel"
    return [Figure("agent start to first sample", ours, "CPU ms", ceiling, least, ratio_at_most(2.5), kept=True)]


def _compile() -> None:
    """As an installed agent is, and what is beside it: to compile its modules at each start adds more than half."""
    for folder in (Path(root) for root in gputally.__path__):
        for part in folder.iterdir():
            compileall.compile_dir(part, quiet=1)


def _imports_s(env: Mapping[str, str]) -> float:
    done = subprocess.run([sys.executable, "-c", _IMPORTS], env=env, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _agent_s(node: BenchNode, env: Mapping[str, str], at: int) -> float:
    """Looked at every millisecond or two: meanwhile the agent goes on loading what it samples without."""
    arguments = node.agent_arguments()
    arguments[arguments.index("--spool-dir") + 1] = str(node.folder / f"spool-{at}")
    before = set(node.counts.iterdir())
    with running(module("gputally.agent.main", *arguments), node.folder / f"start-{at}.log", env) as agent:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            for counted in set(node.counts.iterdir()) - before:
                if _has_sampled(node, child := int(counted.name)):
                    return cpu_s(agent.process.pid) + cpu_s(child)
            time.sleep(_LOOK_S)
        raise AssertionError(f"no sample came in {_PATIENCE_S} s\n{agent.log}")


def _has_sampled(node: BenchNode, pid: int) -> bool:
    """Whether the lists of every GPU were read by the child that samples."""
    lists = (count for name, count in node.calls_of(pid).items() if _LAST_CALL in name)
    return sum(lists) >= WHOLE.gpus
