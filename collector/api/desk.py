"""Where questions are answered: a few at a time, on threads of their own, away from the event loop of the streams.

The writer shares the database with whoever asks, so the questions under way are few, and those that wait are bounded.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gputally.collector.api.problems import Busy

Answer = TypeVar("Answer")


class Desk:
    """Answers up to `at_once` questions at a time; up to `waiting` more wait, and the rest are refused and counted."""

    def __init__(self, at_once: int = 2, waiting: int = 32) -> None:
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="api")
        self._room = at_once + waiting
        self._lock = threading.Lock()
        self._refused = 0

    @property
    def refused(self) -> int:
        """Questions that found no room since the start."""
        return self._refused

    @property
    def full(self) -> bool:
        """Whether the next question is refused."""
        return not self._room

    async def answer(self, question: Callable[[], Answer]) -> Answer:
        """The question's answer; raises Busy where too many wait, and what the question raises."""
        with self._lock:
            if not self._room:
                self._refused += 1
                raise Busy("too many questions at once: ask again in a few seconds")
            self._room -= 1
        # Given back when it is done, not when nobody waits for it any more: a thread cannot be cancelled.
        future = self._pool.submit(question)
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Take no more questions; those that wait are dropped, those under way end by their deadline."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, _future: object) -> None:
        with self._lock:
            self._room += 1
