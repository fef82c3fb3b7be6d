"""What the soak runs and ends: nodes with an agent, collectors, a database server; all real, all on loopback."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
from tests.programs import Running, module, running, wait_until
from tests.proxy import Proxy

CLOCK = Path(__file__).with_name("clock")
SENDER = Path(__file__).parent.parent / "send_spool.py"
TRAIN_PERCENT = 60  # what the pod on each node's first GPU uses of its time
HOST_PERCENT = 25  # what a process outside pods uses of the second, which nobody holds
_START_S = 60


def scenario(number: int) -> str:
    """Two GPUs whose truth is the same at every instant: one held by a pod, one with a host's process on it."""
    gpus = [f"GPU-{number:08d}-0000-4000-8000-{at:012d}" for at in range(2)]
    facts = {"model": "NVIDIA H100 80GB HBM3", "idle_watts": 70, "max_watts": 700, "memory_gib": 80}
    return json.dumps(
        {
            "gpus": [{"uuid": uuid, **facts} for uuid in gpus],
            "pods": [
                {"namespace": "research", "name": f"train-{number}", "containers": [{"name": "main", "gpus": [0]}]}
            ],
            "workloads": [
                {"container": f"research/train-{number}/main", "gpus": [0], "busy_percent": TRAIN_PERCENT},
                {"host": {"user": "user-1000"}, "gpus": [1], "busy_percent": HOST_PERCENT},
            ],
        }
    )


class Collector:
    """A replica; it comes back on another port."""

    def __init__(self, name: str, folder: Path, database_url: str, stack: ExitStack) -> None:
        self.name = name
        self._url = database_url
        self._log = folder / f"{name}.log"
        self._stack = stack
        self._run: Running | None = None
        self.port = 0

    def start(self) -> None:
        """Start it and wait until it takes streams."""
        before = self._log.read_text().count("agents on") if self._log.exists() else 0
        places = ("--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
        command = module("gputally.collector.main", "--database-url", self._url, *places)
        self._run = self._stack.enter_context(running(command, self._log))
        said = re.compile(r"agents on 127\.0\.0\.1:(\d+)")
        wait_until(lambda: len(said.findall(self._run_log())) > before, _START_S, f"{self.name}\n{self._run_log()}")
        self.port = int(said.findall(self._run_log())[-1])

    def end(self, number: int) -> None:
        """End it by a signal; it need not like it."""
        assert self._run is not None
        self._run.stop(number, _START_S)

    def _run_log(self) -> str:
        return self._run.log if self._run else ""


class Node:
    """A node: its agent, its spool on a small disk of its own where that is possible, its clock, its line."""

    def __init__(self, number: int, folder: Path, line: Proxy, stack: ExitStack) -> None:
        self.name = f"node-{number}"
        self.folder = folder / self.name
        self.spool = self.folder / "spool"
        self.spool.mkdir(parents=True)
        self.line = line
        self.offset_s = 0.0
        self._stack = stack
        self._run: Running | None = None
        self.has_disk = stack.enter_context(_small_disk(self.spool))
        (self.folder / "scenario.json").write_text(scenario(number))
        self.set_clock(0.0)

    @property
    def log(self) -> str:
        """What its agents have printed so far."""
        path = self.folder / "agent.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start the agent; it takes up the spool."""
        command = module(
            *("gputally.agent.main", "--node", self.name, "--cluster", "soak", "--nvml", "simulated"),
            *("--scenario", str(self.folder / "scenario.json"), "--spool-dir", str(self.spool)),
            *("--collector", f"127.0.0.1:{self.line.port}", "--http-listen", "127.0.0.1:0", "--window", "1s"),
            *("--sample-interval", "250ms", "--process-interval", "1s", "--reservation-interval", "1s"),
        )
        path = f"{CLOCK}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        env = {**os.environ, "PYTHONPATH": path, "CHAOS_CLOCK": str(self.folder / "clock")}
        self._run = self._stack.enter_context(running(command, self.folder / "agent.log", env))

    def end(self, number: int) -> None:
        """End the agent by a signal."""
        assert self._run is not None
        self._run.stop(number, _START_S)

    def probe(self) -> psutil.Process | None:
        """The agent's child that reads the GPUs, where there is one now."""
        assert self._run is not None
        try:
            children = psutil.Process(self._run.process.pid).children()
        except psutil.NoSuchProcess:
            return None
        return children[-1] if children else None

    def set_clock(self, offset_s: float) -> None:
        """Step the node's wall clock to the real time plus this."""
        self.offset_s = offset_s
        new = self.folder / "clock.new"
        new.write_text(repr(offset_s))
        new.rename(self.folder / "clock")

    def waiting(self) -> int:
        """How many windows are in the spool."""
        with closing(sqlite3.connect(f"file:{self.spool / 'spool.sqlite'}?mode=ro", uri=True, timeout=10)) as spool:
            return int(spool.execute("SELECT count(*) FROM window").fetchone()[0])

    def fill_disk(self) -> int:
        """Leave no byte of the spool's disk; how many were left."""
        with (self.spool / "ballast").open("wb", buffering=0) as ballast:
            size = 0
            try:
                while written := ballast.write(b"\0" * 4096):
                    size += written
            except OSError:
                return size
        return size

    def free_disk(self) -> None:
        """Give the disk back."""
        (self.spool / "ballast").unlink(missing_ok=True)

    def copy_spool(self, to: Path) -> Path:
        """The spool as it is now, for a second sender."""
        to.mkdir()
        with (
            closing(sqlite3.connect(self.spool / "spool.sqlite", timeout=10)) as source,
            closing(sqlite3.connect(to / "spool.sqlite")) as copy,
        ):
            source.backup(copy)
        return to

    def send(self, spool: Path, log: Path) -> Running:
        """Begin to send a copy of the spool beside the agent."""
        command = [sys.executable, str(SENDER), str(spool), f"127.0.0.1:{self.line.port}"]
        return self._stack.enter_context(running(command, log))


@contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """A file system of 2 MiB at a folder, where this user may mount one; whether it is there."""
    mount = shutil.which("mount")
    mounted = mount is not None and os.geteuid() == 0 and _call(mount, "-t", "tmpfs", "-o", "size=2m", "soak", folder)
    try:
        yield mounted
    finally:
        if mounted:
            _call(str(shutil.which("umount")), "-l", folder)


def _call(*command: str | Path) -> bool:
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def drained(nodes: Sequence[Node], within_s: float) -> None:
    """Wait until no spool holds a window that is older than the last seconds."""
    end = time.monotonic() + within_s
    for node in nodes:
        left = max(1.0, end - time.monotonic())
        wait_until(lambda node=node: node.waiting() <= 3, left, f"{node.name} to be drained\n{node.log[-3000:]}")  # type: ignore[misc]
