"""The demo's processes: the real collector and the real agents, started, watched and stopped by their ids."""

import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

_STOP_S = 8


class StartError(Exception):
    """A process ended instead of starting; the message holds the end of its log."""


class Program:
    """One child process with its log in a file."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], stdout=sink, stderr=sink, start_new_session=True
            )

    def wait_for(self, pattern: str, deadline_s: float, pause: threading.Event) -> re.Match[str]:
        """The first match of `pattern` in the log; raises StartError when the program ends or takes too long."""
        steps = int(deadline_s / 0.1)
        for _ in range(steps):
            found = re.search(pattern, self.log())
            if found:
                return found
            if self._process.poll() is not None or pause.wait(0.1):
                break
        raise StartError(f"{self.name} did not start:\n{self.log()[-2000:]}")

    def log(self) -> str:
        """What the program has printed."""
        return self._log.read_text(errors="replace")

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """Ask, wait, and kill what does not listen."""
        self.ask_to_stop()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def stop_all(programs: Sequence[Program]) -> None:
    """Stop all at once, the first started last: agents send what they have to a collector that still listens."""
    for program in reversed(programs[1:]):
        program.ask_to_stop()
    for program in reversed(programs):
        program.stop()
