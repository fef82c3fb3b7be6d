"""Pauses of a thread that a test looks at and ends, so that no test waits for time to pass."""

import threading

DEADLINE_S = 60.0


class Pauses(threading.Event):
    """A stop event whose waits end when the test says so, and that remembers how long they were to last."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []
        self._over = 0
        self._moved = threading.Condition()

    def wait(self, timeout: float | None = None) -> bool:
        with self._moved:
            if timeout:
                self.delays.append(timeout)
                number = len(self.delays)
                self._moved.notify_all()
                self._moved.wait_for(lambda: self.is_set() or self._over >= number, DEADLINE_S)
        return self.is_set()

    def set(self) -> None:
        with self._moved:
            super().set()
            self._moved.notify_all()

    def reached(self, number: int) -> float:
        """Wait until the pause of this number (from 1) has begun; how long it is to last."""
        with self._moved:
            assert self._moved.wait_for(lambda: len(self.delays) >= number, DEADLINE_S), self.delays
            return self.delays[number - 1]

    def end(self) -> None:
        """Let the time of all pauses so far pass."""
        with self._moved:
            self._over = len(self.delays)
            self._moved.notify_all()
