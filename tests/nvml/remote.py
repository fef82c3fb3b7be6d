"""Drives an object in a child process that runs on the test library: LD_LIBRARY_PATH counts only when a process starts.

The child makes its objects anew, so each test has its own pynvml, its own loaded library and its own cursors.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ANSWER_WITHIN_S = 60.0


class Remote:
    """Calls functions of importable modules in the child: `call("tests.x:make", *arguments)`; exceptions travel back.

    A function that wants to keep something between calls keeps it in its module.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._connection, child = Pipe()
        code = f"from tests.nvml.remote import serve; serve({child.fileno()})"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT)},
            pass_fds=[child.fileno()],
        )
        child.close()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function(*arguments)` gives in the child; raises what it raises, TimeoutError if it hangs."""
        self.begin(function, *arguments)
        return self.end(ANSWER_WITHIN_S)

    def begin(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Start a call, to be ended by `end`."""
        self._connection.send((f"{function.__module__}:{function.__name__}", arguments))

    def end(self, within_s: float) -> Any:
        """The answer to the call begun."""
        if not self._connection.poll(within_s):
            raise TimeoutError(f"no answer within {within_s} s")
        failed, answer = self._connection.recv()
        if failed:
            raise answer
        return answer

    def close(self) -> None:
        """End the child."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


def serve(descriptor: int) -> None:
    """The child's loop, until the parent goes."""
    connection = Connection(os.dup(descriptor))
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return
        connection.send(_answer(name, arguments))


def _answer(name: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    module, _, function = name.partition(":")
    __import__(module)
    try:
        return False, getattr(sys.modules[module], function)(*arguments)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the parent's to judge
        return True, error
