"""What a supervisor of real probes brings, and which probes run."""

import os
from collections.abc import Callable

import psutil

from gputally.agent.probe.main import monotonic_us
from gputally.agent.probe.message import Failure, Message
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.sample import Sample

S = 1_000_000
LONG_US = 60 * S  # far longer than anything here takes; a test that is right never waits for it


def until(supervisor: Supervisor, wanted: Callable[[Message], bool]) -> Message:
    """The first message that is wanted; others are read past."""
    end_us = monotonic_us() + LONG_US
    while monotonic_us() < end_us:
        message = supervisor.receive(S)
        if message is not None and wanted(message):
            return message
    raise AssertionError("no such message came")


def is_full(message: Message) -> bool:
    """A sample with its process lists."""
    return isinstance(message, Sample) and message.full


def is_sample(message: Message) -> bool:
    return isinstance(message, Sample)


def is_failure(message: Message) -> bool:
    return isinstance(message, Failure)


def children() -> list[psutil.Process]:
    """The probes that run now; other tests may have children of their own."""
    return [child for child in psutil.Process().children() if _is_probe(child)]


def _is_probe(child: psutil.Process) -> bool:
    try:
        while child.status() != psutil.STATUS_ZOMBIE:
            if words := child.cmdline():  # a program that is just being begun has none yet
                return "upward_fd" in " ".join(words)
            os.sched_yield()
        return False
    except psutil.NoSuchProcess:  # it ended while we looked
        return False
