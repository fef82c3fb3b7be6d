"""Real processes for tests: started with a log file, waited for by a condition and a deadline, ended by their ids."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_FIRST_LOOK_S, _LAST_LOOK_S = 0.02, 0.25  # apart: what takes long is looked at less often, as each look takes its time


def wait_until(found: Callable[[], _T], within_s: float, what: str) -> _T:
    """The first true value of `found`; fails with `what` when none comes in time.

    It looks a last time when the time is over: a machine that stood still is no reason to fail.
    """
    end, pause_s, is_over = time.monotonic() + within_s, _FIRST_LOOK_S, False
    while not is_over:
        is_over = time.monotonic() >= end
        value = found()
        if value:
            return value
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, _LAST_LOOK_S)
    raise AssertionError(f"waited {within_s} s for {what}")


def begun(pid: int, name: str) -> None:
    """Wait until a process that was started is the program of this name, and no longer a copy of who started it."""
    wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == f"{name}\n", 60, f"{name} to begin")


class Running:
    """A process of the product (a module of it) or any other program, with its output in a file."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None) -> None:
        self.log_file = log
        with log.open("ab") as sink:
            self.process = subprocess.Popen(command, stdout=sink, stderr=sink, env=env, start_new_session=True)

    @property
    def log(self) -> str:
        """All that it has printed so far."""
        return self.log_file.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM, within_s: float = 60) -> int:
        """Send a signal and wait; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(within_s)


@contextmanager
def running(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """A running program that is gone afterwards, whatever happens."""
    program = Running(command, log, env)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.process.kill()
        program.process.wait()


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of the product with this interpreter."""
    return [sys.executable, "-m", name, *arguments]
