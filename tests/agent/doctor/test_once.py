"""An answer is asked for once, whoever wants it, and nobody has to wait for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gputally.agent.doctor.once import Once


def test_many_that_want_it_ask_once() -> None:
    asked: list[int] = []
    once = Once(lambda: asked.append(1) or "answer")
    with ThreadPoolExecutor(8) as pool:
        assert {future.result() for future in [pool.submit(once) for _ in range(32)]} == {"answer"}
    assert asked == [1]


def test_who_does_not_want_to_wait_goes_on_without() -> None:
    go_on = threading.Event()
    once = Once(lambda: go_on.wait(60))
    assert once.within(0) is None
    go_on.set()
    assert once() is True


def test_what_asking_raises_is_raised_to_each() -> None:
    def ask() -> str:
        raise OSError("away")

    once = Once(ask)
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            once()
