"""The parent's side of the probe: start the child, take its samples, and start another when it falls silent or dies.

A child that hangs in the driver may not even be killable; it is left behind and reaped when it ends.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection

from gputally.agent.message import FLUSH, Failure, Known, Message
from gputally.agent.probe import ProbeSettings
from gputally.agent.sample import Sample

_LONGEST_BACKOFF_US = 30_000_000
_LAST_WAIT_S = 2.0  # a child that reads its pipe ends within a tick
_KILLED_WAIT_S = 0.5  # for all that were killed: those that are not in the driver are gone at once
_LEFT_BEHIND = 16  # children stuck in the driver that we still remember to reap


class Supervisor:
    """One child at a time. `receive` returns its next message; silence longer than `deadline_us` ends the child."""

    def __init__(
        self,
        settings: ProbeSettings,
        deadline_us: int,
        start_deadline_us: int,
        monotonic_us: Callable[[], int],
        pause: Callable[[float], object],
        command: Sequence[str] = (sys.executable, "-m", "gputally.agent.probe"),
    ) -> None:
        self._settings = settings
        self._deadline_us = deadline_us
        self._start_deadline_us = start_deadline_us
        self._monotonic_us = monotonic_us
        self._pause = pause  # waits that many seconds, or less when the agent stops
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None
        self._upward: Connection | None = None
        self._downward: Connection | None = None
        self._left_behind: list[subprocess.Popen[bytes]] = []
        self._due_us = 0  # the child must have spoken by then
        self._start_us = 0  # no new child before then
        self._backoff_us = 500_000
        self.starts = 0

    def receive(self, timeout_us: int) -> Message | None:
        """The child's next message, or None when none came in time. Starts a child where there is none."""
        if self._child is None and not self._start(timeout_us):
            return None
        if self._upward is None:
            return None
        try:
            if self._upward.poll(timeout_us / 1e6):
                return self._take(self._upward.recv())
        except (EOFError, OSError):
            return self._ended()
        return self._silence()

    def flush(self, deadline_us: int) -> list[Sample]:
        """The samples up to a full one that is taken from now on; without a full one when none came in time.

        Those on the way count too: the driver's buffers were read for them.
        """
        asked_us = self._monotonic_us()
        samples: list[Sample] = []
        self._send(FLUSH)
        while self._child is not None and (left_us := asked_us + deadline_us - self._monotonic_us()) > 0:
            message = self.receive(left_us)
            if isinstance(message, Sample):
                samples.append(message)
                if message.full and message.monotonic_us >= asked_us:
                    break
        return samples

    def know(self, uids: frozenset[str]) -> None:
        """Tell the child which pods are this node's."""
        self._send(Known(uids))

    def close(self) -> None:
        """Close the pipes, which ends the child, and wait for it a moment; a stuck one is left to the kernel."""
        child = self._child
        self._disconnect()
        if child is not None:
            try:
                child.wait(_LAST_WAIT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                self._left_behind.append(child)
        wait_s = _KILLED_WAIT_S / max(1, len(self._left_behind))
        self._left_behind = [left for left in self._left_behind if not _ended(left, wait_s)]

    def _start(self, timeout_us: int) -> bool:
        wait_us = self._start_us - self._monotonic_us()
        if wait_us > 0:
            self._pause(min(wait_us, timeout_us) / 1e6)
            return False
        self._reap()
        up_read, up_write = os.pipe()
        down_read, down_write = os.pipe()
        settings = replace(self._settings, upward_fd=up_write, downward_fd=down_read)
        self._child = subprocess.Popen([*self._command, settings.to_json()], pass_fds=(up_write, down_read))
        os.close(up_write)
        os.close(down_read)
        os.set_blocking(down_write, False)  # a child that hangs reads nothing: it must not make its parent wait
        self._upward = Connection(up_read, writable=False)
        self._downward = Connection(down_write, readable=False)
        self._due_us = self._monotonic_us() + self._start_deadline_us
        self.starts += 1
        return True

    def _take(self, message: Message) -> Message:
        self._due_us = self._monotonic_us() + self._deadline_us
        if isinstance(message, Sample):
            self._backoff_us = 500_000
        elif message.fatal:
            self._replace()
        return message

    def _silence(self) -> Failure | None:
        if self._monotonic_us() < self._due_us:
            return None
        self._replace()
        return Failure("the driver did not answer in time; a new probe is started")

    def _ended(self) -> Failure:
        self._replace()
        return Failure("the probe ended unexpectedly; a new one is started")

    def _replace(self) -> None:
        """Give up on this child. SIGKILL may have to wait for the driver, so nobody waits for the child."""
        child = self._child
        self._disconnect()
        if child is not None:
            child.send_signal(signal.SIGKILL)
            self._left_behind.append(child)
        self._reap()
        self._start_us = self._monotonic_us() + self._backoff_us
        self._backoff_us = min(2 * self._backoff_us, _LONGEST_BACKOFF_US)

    def _reap(self) -> None:
        self._left_behind = [left for left in self._left_behind if left.poll() is None][-_LEFT_BEHIND:]

    def _disconnect(self) -> None:
        for end in (self._upward, self._downward):
            if end is not None:
                end.close()
        self._child = self._upward = self._downward = None

    def _send(self, request: object) -> None:
        if self._downward is None:
            return
        try:
            self._downward.send(request)
        except OSError:
            self._replace()


def _ended(child: subprocess.Popen[bytes], wait_s: float) -> bool:
    """Whether a killed child is gone; one that is in the driver stays until the driver lets go."""
    try:
        child.wait(wait_s)
    except subprocess.TimeoutExpired:
        return False
    return True
