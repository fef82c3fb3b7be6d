"""The pauses of the agent's loop: they end for whoever needs the loop, and a snapshot is of what has come by then."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gputally.agent.rest import Rest

HOUR_US = 3600 * 1_000_000
SOON_S = 60.0  # on any machine, and far from an hour


def paused_s(rest: Rest, longest_us: int, fd: int | None = None) -> float:
    """How long a pause was."""
    began = time.monotonic()
    rest.take(longest_us, fd)
    return time.monotonic() - began


@contextmanager
def resting(rest: Rest, turns: list[str], until: threading.Event) -> Iterator[threading.Thread]:
    """A loop that pauses for an hour after each turn."""

    def loop() -> None:
        while not until.is_set():
            turns.append("turn")
            rest.take(HOUR_US)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield thread
    finally:
        until.set()
        rest.wake()
        thread.join(30)


def test_a_pause_ends_when_somebody_wakes_the_loop() -> None:
    rest, stop = Rest(), threading.Event()
    with resting(rest, [], stop) as thread:
        stop.set()
        rest.wake()
        thread.join(30)
        assert not thread.is_alive()


def test_whoever_woke_the_loop_before_its_pause_is_not_forgotten() -> None:
    """A signal may come between the loop's look at what it is told and its pause."""
    rest = Rest()
    rest.wake()
    assert paused_s(rest, HOUR_US) < SOON_S


def test_a_pause_outlasts_what_a_pipe_brings_but_not_the_end_of_its_writer() -> None:
    rest = Rest()
    ours, theirs = os.pipe()
    os.write(theirs, b"a sample")
    assert paused_s(rest, 20_000, ours) >= 0.02
    os.close(theirs)
    assert paused_s(rest, HOUR_US, ours) < SOON_S
    os.close(ours)


def test_waking_a_loop_ever_so_often_is_one_call() -> None:
    """A full pipe must not make a signal handler wait."""
    rest = Rest()
    for _ in range(100_000):
        rest.wake()
    for _ in range(100_000 // 4096 + 1):
        rest.take(0)
    assert paused_s(rest, 20_000) >= 0.02, "none of the calls is left"


def test_an_interruption_waits_until_the_loop_has_taken_its_turn() -> None:
    rest, turns, stop = Rest(), [], threading.Event()
    with resting(rest, turns, stop):
        while not rest.is_resting:
            pass
        before = len(turns)
        rest.interrupt(30)
        assert len(turns) == before + 1


def test_a_loop_that_is_at_work_is_not_waited_for() -> None:
    """Whoever asks then gets what there is: the lock of the snapshot keeps him from a half-taken sample."""
    rest = Rest()
    began = time.monotonic()
    rest.interrupt(HOUR_US / 1e6)
    assert time.monotonic() - began < SOON_S
    assert paused_s(rest, 20_000) >= 0.02, "its next pause is a whole one"
