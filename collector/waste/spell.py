"""Idle spells within the windows of a container's partition: which windows they are made of, and which are long.

Two idle windows are of one spell where no used window lies between them and at most two minutes do.
"""

from collections.abc import Iterable
from typing import NamedTuple

from gputally.collector.ledger.idle import is_idle

FORGOTTEN_US = 30 * 60_000_000  # so long a spell is not a pause; at most an hour, so that neighbouring hours tell
UNOBSERVED_US = 2 * 60_000_000  # a spell outlives so much that was not observed


class Window(NamedTuple):
    """A window of one container's partition; `memory_byte_s` None: unknown."""

    start_us: int
    end_us: int
    used_us: int
    idle_us: int
    memory_byte_s: int | None = None

    @property
    def is_idle(self) -> bool:
        """Measured, and used less than 1 % of what was."""
        return is_idle(self.used_us, self.idle_us)


class Spell(NamedTuple):
    """From the start of its first window to the end of its last one."""

    from_us: int
    until_us: int

    @property
    def is_long(self) -> bool:
        """Whether it is of FORGOTTEN_US or more."""
        return self.until_us - self.from_us >= FORGOTTEN_US

    def meets(self, later: "Spell") -> bool:
        """Whether a later one, with no use between, is the same spell."""
        return later.from_us - self.until_us <= UNOBSERVED_US

    def joined(self, later: "Spell") -> "Spell":
        """Both as one."""
        return Spell(self.from_us, later.until_us)


class Spells(NamedTuple):
    """The spells of an hour: `head` is the first where no use lies before it, `tail` the last where none is after."""

    all: tuple[Spell, ...]
    head: Spell | None
    tail: Spell | None


def spells(windows: Iterable[Window]) -> Spells:
    """The spells of windows that are in order."""
    found: list[Spell] = []
    used = used_before = False
    for window in windows:
        if window.is_idle:
            used_before |= used and not found
            _add(found, Spell(window.start_us, window.end_us), apart=used)
            used = False
        else:
            used |= window.used_us > 0
    head = found[0] if found and not used_before else None
    return Spells(tuple(found), head, found[-1] if found and not used else None)


def _add(found: list[Spell], one: Spell, *, apart: bool) -> None:
    """Add an idle window to the last spell, or as a new one."""
    if found and not apart and found[-1].meets(one):
        found[-1] = found[-1].joined(one)
    else:
        found.append(one)
