"""Agents as processes, on a node whose NVML is the test library; what they say, and what they keep."""

import os
import re
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from tests.nvml.library import (
    Fault,
    NvmlScenario,
    ScriptedGpu,
    ScriptedProcess,
    Step,
    environment,
)
from tests.programs import Running, module, running, wait_until

from gputally.accounting.invariants import violations
from gputally.accounting.line import DeviceWindow, Window
from gputally.accounting.states import Reason
from gputally.agent.probe.main import namespace_warning
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

S = 1_000_000
A, B = (f"GPU-0000000{n}-1111-4222-8333-444444444444" for n in range(2))
NAMED = ("--node", "n", "--cluster", "c")
ELSEWHERE = namespace_warning(Path("/proc"))  # what an agent says as well where these tests run in a container


def now_us() -> int:
    return time.time_ns() // 1000


@dataclass
class Node:
    """A machine with two GPUs, one of them busy with a host's process, and a spool; agents run on it as processes."""

    folder: Path
    library_dir: Path
    scenario: NvmlScenario

    def play(self, *faults: Fault, **changes: Any) -> None:
        """From now on the GPUs do this."""
        replace(self.scenario, faults=faults, **changes).write(self.folder / "scenario")

    @property
    def env(self) -> dict[str, str]:
        return environment(self.library_dir, self.folder / "scenario")

    def command(self, *settings: str, window: str = "1s") -> list[str]:
        """An agent that does everything at least each second; the system chooses its port."""
        return module(
            *("gputally.agent.main", *NAMED, "--spool-dir", str(self.folder / "spool"), "--window", window),
            *("--sample-interval", "250ms", "--process-interval", "500ms", "--reservation-interval", "1s"),
            *(() if "--http-listen" in settings else ("--http-listen", "127.0.0.1:0")),
            *(() if "--pod-resources-socket" in settings else ("--pod-resources-socket", "off")),
            *settings,
        )

    def agent(self, *settings: str, window: str = "1s", log: str = "agent.log") -> AbstractContextManager[Running]:
        return running(self.command(*settings, window=window), self.folder / log, self.env)

    def windows(self) -> list[Window]:
        """What waits in the spool, in order."""
        return [codec.decode(pb.Window.FromString(payload)) for payload in self.payloads().values()]

    def payloads(self) -> dict[int, bytes]:
        """What waits in the spool, by sequence."""
        path = self.folder / "spool" / "spool.sqlite"
        if not path.exists():
            return {}
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                return dict(database.execute("SELECT sequence, payload FROM window ORDER BY sequence"))
        except sqlite3.OperationalError:  # it is being made
            return {}

    def wait_covered(self, until_us: int) -> list[Window]:
        """The windows, once they reach that far; they are sound and follow each other."""
        wait_until(lambda: any(window.end_us >= until_us for window in self.windows()), 60, "windows")
        windows = self.windows()
        check(windows)
        assert all(before.end_us == after.start_us for before, after in pairwise(windows))
        return windows


def check(windows: Sequence[Window]) -> None:
    """Each window keeps the rules, and none begins before the last one ended."""
    assert [violation for window in windows for violation in violations(window)] == []
    assert all(before.end_us <= after.start_us for before, after in pairwise(windows))


def two_gpus(folder: Path, library_dir: Path) -> Node:
    """A node whose GPUs have been there for 20 s."""
    start_us = now_us() - 20 * S
    gpus = (
        ScriptedGpu(A, start_us, processes=(ScriptedProcess(os.getpid(), busy=(Step(start_us, 40),)),)),
        ScriptedGpu(B, start_us, minor=1, pci_bus_id="00000000:AF:00.0"),
    )
    node = Node(folder, library_dir, NvmlScenario(gpus))
    node.play()
    return node


def port_of(agent: Running) -> int:
    """The port that the agent says it serves on; it must not end before that."""

    def said() -> "re.Match[str] | None":
        assert agent.process.poll() is None, agent.log
        return re.search(r"on port (\d+)", agent.log)

    return int(wait_until(said, 60, f"the agent to serve\n{agent.log}")[1])


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of one of the agent's pages."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def troubles(port: int) -> list[str]:
    """The lines of /readyz without those of the place where the tests run; the status agrees with them."""
    status, body = get(port, "/readyz")
    assert status == (200 if body == "ready\n" else 503)
    return [line for line in body.splitlines() if line not in ("ready", ELSEWHERE)]


def wait_ready(agent: Running) -> int:
    """Wait until nothing is wrong; returns the port."""
    port = port_of(agent)
    wait_until(lambda: not troubles(port), 60, f"the agent to be ready\n{agent.log}")
    return port


def wait_trouble(agent: Running, port: int, words: str, within_s: float = 60) -> str:
    """The one line with these words, once /readyz says nothing else; the agent is alive, and its log has the line."""

    def only() -> str:
        lines = troubles(port)
        return lines[0] if len(lines) == 1 and words in lines[0] else ""

    line = wait_until(only, within_s, f"{words!r}\n{agent.log}")
    assert get(port, "/healthz") == (200, "alive\n")
    wait_until(lambda: f"not ready: {line}\n" in agent.log, 60, "the log to say it")
    assert agent.log.count(f"not ready: {line}\n") == 1
    return line


def probe_of(agent: Running) -> psutil.Process:
    """The one child that lives."""
    (child,) = filter(is_alive, psutil.Process(agent.process.pid).children())
    return child


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def sum_of(windows: Sequence[Window], uuid: str, state: str, reason: Reason | None = None) -> int:
    """Microseconds of a device in a state, over all windows; of one reason or of all."""
    devices = [device for window in windows for device in window.devices if device.uuid == uuid]
    lines = [line for device in devices for line in device.lines if reason is None or line.key.reason is reason]
    return sum(getattr(line, f"{state}_us") for line in lines)


def devices_of(windows: Sequence[Window], uuid: str) -> list[DeviceWindow]:
    """A device's part of every window."""
    return [device for window in windows for device in window.devices if device.uuid == uuid]


def look(node: Node, *settings: str) -> subprocess.CompletedProcess[str]:
    """What `--once` says on this node."""
    command = module("gputally.agent.main", "--node", "n", "--once", *settings)
    return subprocess.run(command, env=node.env, capture_output=True, text=True, timeout=60, check=False)


def refused(*command: str, env: dict[str, str] | None = None) -> list[str]:
    """The lines of an agent that ends at once with exit 2."""
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    return [line for line in ended.stderr.splitlines() if line.startswith("gputally-agent")]
