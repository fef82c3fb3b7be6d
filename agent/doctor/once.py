"""An answer that several checks need, asked for once, by whoever needs it first."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Calls `ask` at most once; any thread may ask, and waits while another one does."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._answers: list[T] = []

    def __call__(self) -> T:
        """The answer; raises what `ask` raises, each time anew."""
        with self._lock:
            if not self._answers:
                self._answers.append(self._ask())
            return self._answers[0]
