"""The first probe, a copy of its parent: it ends as a program would, and touches nothing before it is let begin.

Each runs in an interpreter of its own: the one of the tests has threads, and must not be copied.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FORKED = """
import os, signal, subprocess, sys, threading
from gputally.agent.probe.forked import Forked
"""
SUPERVISED = """
import sys, time
from gputally.agent.probe.main import ProbeSettings, monotonic_us
from gputally.agent.probe.supervisor import Supervisor
import psutil
S = 1_000_000
asked = ProbeSettings(-1, -1, "/proc", 50_000, 500_000, sys.argv[1])
supervisor = Supervisor(asked, 30 * S, 30 * S, monotonic_us, time.sleep)
supervisor.prepare()
[first] = psutil.Process().children()
"""
SCENARIO = {
    "gpus": [
        {
            "uuid": "GPU-00000000-0000-4000-8000-000000000001",
            "model": "H100",
            "idle_watts": 70,
            "max_watts": 700,
            "memory_gib": 80,
        }
    ]
}


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    (tmp_path / "s.json").write_text(json.dumps(SCENARIO))
    return str(tmp_path / "s.json")


def test_it_ends_with_the_status_of_its_work_and_what_went_wrong_is_said() -> None:
    done = run(
        FORKED
        + """
def fails():
    raise ValueError("what went wrong")
try:
    print(Forked(lambda: None, ()).wait(30), Forked(fails, ()).wait(30))
finally:
    print("the parent's own end")
"""
    )
    assert done.stdout == "0 1\nthe parent's own end\n"
    assert done.stderr.endswith("ValueError: what went wrong\n")


def test_it_is_killed_waited_for_and_asked_as_any_process() -> None:
    done = run(
        FORKED
        + """
child = Forked(signal.pause, ())
try:
    child.wait(0.01)
except subprocess.TimeoutExpired:
    print(child.poll())
child.send_signal(signal.SIGKILL)
print(child.wait(30), child.poll(), child.wait(0))
child.send_signal(signal.SIGKILL)
"""
    )
    assert (done.stdout, done.stderr) == ("None\n-9 -9 -9\n", "")


def test_it_has_neither_its_parents_descriptors_nor_its_handlers() -> None:
    """The parent's end of a pipe, kept open in the child, would hide from it that its parent has gone."""
    done = run(
        FORKED
        + """
signal.signal(signal.SIGUSR1, lambda *_: None)
read, write = os.pipe()
child = Forked(lambda: os.read(read, 1), (write,))
os.close(write)
print(child.wait(30))
print(Forked(lambda: os.kill(os.getpid(), signal.SIGUSR1), ()).wait(30) == -signal.SIGUSR1)
"""
    )
    assert (done.stdout, done.stderr) == ("0\nTrue\n", "")


def test_a_prepared_probe_says_nothing_until_it_is_let_begin_and_is_then_the_child(scenario: str) -> None:
    done = run(
        SUPERVISED
        + """
print(supervisor.has_spoken, supervisor.starts)
supervisor.begin()
while not supervisor.has_spoken:
    pass
sample = supervisor.receive(30 * S)
print(len(sample.devices), supervisor.starts, [each.pid for each in psutil.Process().children()] == [first.pid])
supervisor.close()
print(psutil.Process().children())
""",
        scenario,
    )
    assert (done.stdout, done.stderr) == ("False 0\n1 1 True\n[]\n", "")


def test_a_prepared_probe_ends_with_a_release_and_a_new_program_follows_it(scenario: str) -> None:
    done = run(
        SUPERVISED
        + """
print(supervisor.release(), psutil.Process().children())
supervisor.begin()
supervisor.take_up()
while not supervisor.receive(30 * S):
    pass
[other] = psutil.Process().children()
print(other.pid != first.pid, "upward_fd" in " ".join(other.cmdline()))
supervisor.close()
""",
        scenario,
    )
    assert (done.stdout, done.stderr) == ("True []\nTrue True\n", "")


def test_a_probe_that_died_before_it_was_let_begin_is_replaced(scenario: str) -> None:
    done = run(
        SUPERVISED
        + """
first.kill()
first.wait(30)
supervisor.begin()
print(supervisor.receive(30 * S).message)
while not supervisor.receive(30 * S):
    pass
print(supervisor.starts)
supervisor.close()
""",
        scenario,
    )
    assert done.stdout == "the probe ended unexpectedly; a new one is started\n2\n"
    assert done.stderr == f"a probe is given up: {done.stdout.splitlines()[0]}\n"
