"""A probe as its parent sees it: the process, the two pipes, and the board that says which GPU it touches."""

import fcntl
import io
import os
import select
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Protocol

from gputally.agent.probe import frame
from gputally.agent.probe.board import Board, new_board_fd
from gputally.agent.probe.forked import Forked
from gputally.agent.probe.glance import Samples
from gputally.agent.probe.main import ProbeSettings, serve
from gputally.agent.probe.message import Failure, Message, unpack
from gputally.agent.probe.requests import Outbox

_ROOM_BYTES = 1 << 20  # of the pipe upwards: what an unprivileged process may ask Linux for


class Process(Protocol):
    """What is needed of a process."""

    def poll(self) -> int | None:
        """Its exit status; None while it lives. Asking reaps it."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal to it, if it lives."""

    def wait(self, timeout: float, /) -> int:
        """Its exit status; raises subprocess.TimeoutExpired."""


class Child:
    """A running probe. Its pipes can be closed though it hangs, which may make even killing it impossible.

    `command`: the program that it is; None: a copy of this process, which must have one thread only. Raises OSError
    where no process can be started.
    """

    def __init__(self, command: Sequence[str] | None, settings: ProbeSettings) -> None:
        board_fd = new_board_fd()
        up_read, up_write = os.pipe()
        down_read, down_write = os.pipe()
        theirs = (up_write, down_read, board_fd)
        told = replace(settings, upward_fd=up_write, downward_fd=down_read, board_fd=board_fd)
        try:
            self._process: Process = (
                Forked(partial(serve, told), (up_read, down_write))
                if command is None
                else subprocess.Popen([*command, told.to_json()], pass_fds=theirs)
            )
        except OSError:
            for fd in (*theirs, up_read, down_write):
                os.close(fd)
            raise
        self._board = Board(board_fd)
        for fd in theirs:
            os.close(fd)
        self.room_bytes = _widen(up_read)
        self.largest_bytes = 0  # of its messages so far
        self._samples = Samples()
        self._waiter = select.poll()
        self._waiter.register(up_read, select.POLLIN)
        self._upward = io.FileIO(up_read)
        self._requests = Outbox(down_write)

    @property
    def touching(self) -> int | None:
        """The index of the GPU that it was about to touch last, while it has not said that it is done."""
        return self._board.read()

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone; asking reaps it."""
        return self._process.poll() is not None

    def receive(self, timeout_us: int) -> Message | None:
        """Its next message, None when none comes in time; raises EOFError or OSError when it is gone."""
        if not self._waiter.poll(timeout_us / 1000):
            return None
        data = frame.read(self._upward.fileno())
        self.largest_bytes = max(self.largest_bytes, len(data))
        message = unpack(data)
        return message if isinstance(message, Failure) else self._samples.whole(message)

    @property
    def fileno(self) -> int:
        """Its pipe upwards."""
        return self._upward.fileno()

    @property
    def has_spoken(self) -> bool:
        """Whether a message waits, or its end."""
        return bool(self._waiter.poll(0))

    def ask(self, request: object) -> None:
        """Ask it something, now or as soon as it has read what it was asked before."""
        self._requests.put(request)
        self.go_on_asking()

    @property
    def has_been_asked(self) -> bool:
        """Whether all of that is in its pipe."""
        return self._requests.is_empty

    def go_on_asking(self) -> None:
        """Write what waits, as far as its pipe has room."""
        with suppress(OSError):  # it is gone: its pipe upwards says so, behind what it said before
            self._requests.push()

    def disconnect(self) -> None:
        """Close the pipes, which ends a child that is not stuck. Closing twice is harmless."""
        self._upward.close()
        self._requests.close()

    def kill(self) -> None:
        """SIGKILL, for which nobody waits: it may have to wait for the driver."""
        self._process.send_signal(signal.SIGKILL)

    def ends_within(self, wait_s: float) -> bool:
        """Whether it is gone within so many seconds."""
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return False
        return True


def _widen(fd: int) -> int:
    """Let a pipe hold more, where the system lets us; returns how much it holds, bytes."""
    with suppress(OSError, AttributeError):  # other systems have no such call; Linux may refuse us the memory
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _ROOM_BYTES)
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    return select.PIPE_BUF
