"""Answers that are fetched in threads of their own: asked for once, waited for with patience or without."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


def begin(ask: Callable[[], T], name: str) -> "Future[T]":
    """Ask in a thread that nobody has to wait for: it may hang, and the process ends all the same."""
    future: Future[T] = Future()
    threading.Thread(target=_fill, args=(future, ask), name=name, daemon=True).start()
    return future


def _fill(future: "Future[T]", ask: Callable[[], T]) -> None:
    try:
        future.set_result(ask())
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
        future.set_exception(error)


class Once(Generic[T]):
    """An answer that several need: asked for when the first of them wants it, and then known. Any thread may call."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._future: Future[T] | None = None

    def __call__(self) -> T:
        """The answer; raises what asking raises."""
        return self._begun().result()

    def within(self, seconds: float) -> T | None:
        """The answer, or None where it does not come in time; raises what asking raises."""
        try:
            return self._begun().result(seconds)
        except TimeoutError:
            return None

    def _begun(self) -> "Future[T]":
        with self._lock:
            if self._future is None:
                self._future = begin(self._ask, "once")
            return self._future
