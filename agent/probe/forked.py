"""A probe that is a copy of its parent, made while that has one thread and has loaded little: it need not start anew.

It behaves as a `subprocess.Popen` as far as a probe's parent needs one.
"""

import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress

_INHERITED = (signal.SIGUSR1, signal.SIGUSR2)  # the parent's own: a program that is started has none of its handlers


class Forked:
    """A child that does `work` and ends. `close`: descriptors that are the parent's alone. Raises OSError."""

    def __init__(self, work: Callable[[], object], close: Iterable[int]) -> None:
        self._status: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            _live(work, close)

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it lives. Asking reaps it."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has reaped it: nobody knows its status
                pid, status = self._pid, 0
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def send_signal(self, number: int) -> None:
        """Send a signal to it, if it lives."""
        if self.poll() is None:
            os.kill(self._pid, number)

    def wait(self, timeout: float) -> int:
        """Its exit status; raises subprocess.TimeoutExpired where it lives on for so many seconds."""
        with suppress(OSError):  # it has ended already
            fd = os.pidfd_open(self._pid)
            try:
                select.select([fd], [], [], timeout)
            finally:
                os.close(fd)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("probe", timeout)
        return status


def _live(work: Callable[[], object], close: Iterable[int]) -> None:
    """What happens in the child; it never returns to what its parent was about to do."""
    status = 1
    try:
        for fd in close:
            os.close(fd)
        for number in _INHERITED:
            signal.signal(number, signal.SIG_DFL)
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - nobody is above us: it is said, and the process ends
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
