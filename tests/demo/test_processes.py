"""The demo's processes are watched, and gone when they are told to go."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gputally.demo import processes
from gputally.demo.processes import Program, ProgramError, stop_all

PROGRAMS = {
    # Says that it is ready, and ends at SIGTERM, telling the others' file.
    "obedient": """
import pathlib, signal, sys, time
def end(*_):
    with pathlib.Path(sys.argv[1]).open("a") as order: order.write(sys.argv[2] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready on 127.0.0.1:1234", flush=True)
while True: time.sleep(60)
""",
    "stubborn": """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True: time.sleep(60)
""",
    "hopeless": "import sys; sys.exit('no GPU for you')",
}


class Starter:
    """Starts programs of this test, and sees to it that none outlives it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.order = folder / "order"
        self.programs: list[Program] = []

    def start(self, module: str, name: str = "") -> Program:
        name = name or module
        program = Program(name, module, [str(self.order), name], self.folder / f"{name}.log")
        self.programs.append(program)
        return program


@pytest.fixture
def starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starter]:
    for name, text in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(processes, "_STOP_S", 60)
    starter = Starter(tmp_path)
    yield starter
    stop_all(starter.programs)
    assert not [child for child in psutil.Process().children() if is_of(child, tmp_path)]


def is_of(child: psutil.Process, folder: Path) -> bool:
    try:
        return str(folder) in " ".join(child.cmdline())
    except psutil.NoSuchProcess:  # another test's, which ended while we looked
        return False


def test_waits_for_what_a_program_says(starter: Starter) -> None:
    found = starter.start("obedient").wait_for(r"ready on (\S+)", 60, threading.Event())
    assert found
    assert found[1] == "127.0.0.1:1234"


def test_a_program_that_ends_at_once_is_an_error_with_its_own_words(starter: Starter) -> None:
    with pytest.raises(ProgramError, match=r"(?s)hopeless did not start:.*no GPU for you"):
        starter.start("hopeless").wait_for("ready", 60, threading.Event())


def test_a_program_that_never_says_it_is_an_error(starter: Starter) -> None:
    with pytest.raises(ProgramError, match="obedient did not start"):
        starter.start("obedient").wait_for("something else", 0.3, threading.Event())


def test_being_told_to_stop_while_waiting_is_no_error(starter: Starter) -> None:
    stop = threading.Event()
    stop.set()
    assert starter.start("obedient").wait_for("something else", 60, stop) is None


def test_a_program_that_ended_is_noticed(starter: Starter) -> None:
    """The demo does not go on showing the table of a fleet that is gone."""
    program = starter.start("obedient")
    program.wait_for("ready", 60, threading.Event())
    program.check()
    program.stop()
    with pytest.raises(ProgramError, match="obedient ended with status 0"):
        program.check()


def test_the_first_program_is_stopped_last(starter: Starter) -> None:
    """The agents have a last window to send, and the collector is there to take it."""
    names = ["collector", "agent-1", "agent-2"]
    programs = [starter.start("obedient", name) for name in names]
    for program in programs:
        program.wait_for("ready", 60, threading.Event())
    stop_all(programs)
    ended = starter.order.read_text().split()
    assert ended[-1] == "collector"
    assert sorted(ended) == sorted(names)


def test_what_does_not_listen_is_killed(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_STOP_S", 0.1)
    program = starter.start("stubborn")
    program.wait_for("ready", 60, threading.Event())
    program.stop()
    with pytest.raises(ProgramError, match="ended with status -9"):
        program.check()


def test_stopping_twice_is_harmless(starter: Starter) -> None:
    program = starter.start("obedient")
    program.wait_for("ready", 60, threading.Event())
    program.stop()
    program.stop()
    assert starter.order.read_text().split() == ["obedient"]
