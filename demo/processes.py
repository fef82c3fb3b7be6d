"""The demo's processes: the real collector and the real agents, started, watched and stopped by their ids."""

import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

_STOP_S = 8
_LOOK_S = 0.1
_SHOWN = 2000  # characters of a log that are worth a look


class ProgramError(Exception):
    """A process did not start, or ended on its own; the message holds the end of its log."""


class Program:
    """One child process with its log in a file."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as sink:
            # A session of its own: Ctrl-C reaches only the demo, which then stops all in order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], stdout=sink, stderr=sink, start_new_session=True
            )

    def wait_for(self, pattern: str, deadline_s: float, stop: threading.Event) -> re.Match[str] | None:
        """The first match of `pattern` in the log, None when `stop` came first.

        Raises ProgramError when the program ends or takes too long.
        """
        for _ in range(int(deadline_s / _LOOK_S)):
            ended = self._process.poll() is not None
            found = re.search(pattern, self.log())
            if found:
                return found
            if ended:
                break
            if stop.wait(_LOOK_S):
                return None
        raise ProgramError(f"{self.name} did not start:\n{self.log()[-_SHOWN:]}")

    def check(self) -> None:
        """Raises ProgramError when the program has ended."""
        status = self._process.poll()
        if status is not None:
            raise ProgramError(f"{self.name} ended with status {status}:\n{self.log()[-_SHOWN:]}")

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
