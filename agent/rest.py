"""The pauses of the agent's loop: samples wait in the probe's pipe meanwhile, and are then taken together.

To take five at once costs little more than to take one: most of what a sample costs is that its code and data have left
the processor's caches since the one before.
"""

import os
import select
import threading
from contextlib import suppress


class Rest:
    """One thread pauses (`take`). Any other may end a pause (`wake`), as may a signal handler: nothing is locked."""

    def __init__(self) -> None:
        self._heard, self._told = os.pipe()
        for fd in (self._heard, self._told):
            os.set_blocking(fd, False)
        self._waiter = select.poll()
        self._waiter.register(self._heard, select.POLLIN)
        self.is_resting = False
        self._is_done = threading.Event()  # the loop has taken all there was

    def take(self, longest_us: int, fd: int | None = None) -> None:
        """Pause so long, or until somebody needs the loop; at once if somebody did since the last pause.

        The end of whoever writes to `fd` ends the pause, what he writes does not.
        """
        self._is_done.set()
        self.is_resting = True
        if fd is not None:
            self._waiter.register(fd, 0)  # a pipe that is closed is told of unasked
        self._waiter.poll(longest_us / 1000)
        if fd is not None:
            self._waiter.unregister(fd)
        self.is_resting = False
        with suppress(BlockingIOError):  # nobody did
            os.read(self._heard, 4096)

    def wake(self) -> None:
        """End the pause, or the next one."""
        with suppress(BlockingIOError):  # it is full of such calls
            os.write(self._told, b".")

    def interrupt(self, patience_s: float) -> None:
        """Have the loop take what waits for it, unless it is at that; at most `patience_s` are waited for it."""
        if not self.is_resting:
            return
        self._is_done.clear()
        self.wake()
        self._is_done.wait(patience_s)
