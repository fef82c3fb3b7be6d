"""Windows on disk until the collector has them: bounded, in order, and counting what it must refuse.

A full disk is a state, not an end. What is new waits in memory, as much of it as is bounded; what the collector has
leaves the disk all the same; and when there is room again everything goes on by itself.
"""

import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gputally.accounting.line import Window
from gputally.agent.snapshot import SpoolState
from gputally.agent.spool.claim import SpoolError, SpoolFull, SpoolInUse, SpoolUnusable, claim
from gputally.agent.spool.file import Amount, Past, Row, SpoolFile, is_broken, move_aside
from gputally.agent.spool.reserve import Reserve, is_full
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

__all__ = [
    "DAMAGED",
    "DISK",
    "FULL",
    "TOO_OLD",
    "Spool",
    "SpoolError",
    "SpoolFull",
    "SpoolInUse",
    "SpoolReport",
    "SpoolUnusable",
]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FULL, TOO_OLD, DISK, DAMAGED = "full", "too-old", "disk", "damaged"  # why windows were refused or lost
_HELD_WINDOWS = 120  # two hours of a disk that takes nothing, a few MiB of memory
_DISK_FULL = "the disk is full: make room, or see --spool-dir; new windows wait in memory for two hours"


@dataclass(frozen=True, slots=True)
class SpoolReport:
    """What the collector is told: what was refused since the spool was made, and what waits.

    `refused_us` is the capacity of the refused windows, summed over their devices; `oldest_us` is the start of the
    oldest window that waits (microseconds since the epoch), None where none does.
    """

    refused_windows: int
    refused_us: int
    waiting_windows: int
    oldest_us: int | None


class Spool:
    """The windows of one agent that no collector has acknowledged yet. Any thread may call any method.

    A spool has one agent id, one agent at a time, and never uses a sequence twice, not even after its release.
    `max_bytes` bounds the waiting messages (the file is a few percent larger): a window that does not fit is refused.
    `max_age_us` bounds their age by `now_us`, the wall clock in microseconds since the epoch. Raises SpoolError.
    """

    def __init__(self, path: Path, boot_id: str, max_bytes: int, max_age_us: int, now_us: Callable[[], int]) -> None:
        self._path = path
        self._boot_id = boot_id
        self._max_bytes = max_bytes
        self._max_age_us = max_age_us
        self._now_us = now_us
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._held: deque[Window] = deque()  # what the disk did not take yet
        self._unsaved: dict[str, Amount] = {}  # refusals that the file does not know of yet
        self._said: set[str] = set()
        self._corrupted = 0
        self._error = ""
        self._closed = False
        self._file: SpoolFile | None = None
        self._past = Past()
        self._reserve = Reserve(path)
        self._claim = claim(path)
        if self._guarded(lambda _: True) is None and self._error != _DISK_FULL:
            os.close(self._claim)
            raise SpoolUnusable(f"the spool in {path} cannot be opened: {self._error}; see --spool-dir")
        self._reserve.take()

    @property
    def agent_id(self) -> str:
        """The random id of this spool; a spool that starts anew is a new agent."""
        return self._past.agent_id

    @property
    def last_end_us(self) -> int:
        """The end of the last window that was ever written here, microseconds since the epoch; 0: there was none."""
        return self._past.last_end_us

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, in the appending thread, whenever there is something new to read."""
        self._listeners.append(listener)

    def append(self, windows: Iterable[Window]) -> list[int]:
        """Give each window the next sequence and write all in one transaction; returns the sequences.

        A window that does not fit or is too old gets none: it is refused and counted. What a full or failing disk does
        not take is held in memory and written by a later call, before what that brings.
        """
        with self._lock:
            self._held.extend(windows)
            self._guarded(self._expire, frees=True)
            sequences = self._guarded(self._write)
            if sequences is None:
                self._refuse_excess()
            else:
                self._held.clear()
                self._recovered()
            self._guarded(self._save)
        if sequences:
            for listener in self._listeners:
                listener()
        return sequences or []

    def read(self, after: int, max_bytes: int, max_windows: int) -> list[tuple[int, bytes]]:
        """(sequence, message) of the next windows past `after`, in order; at least one if there is any."""
        with self._lock:
            return self._guarded(lambda file: file.read(after, max_bytes, max_windows)) or []

    def release(self, through: int) -> None:
        """Forget every window up to and including sequence `through`: the collector has them."""
        with self._lock:
            self._guarded(lambda file: file.remove_through(through), frees=True)

    def pending(self) -> tuple[int, int, int | None]:
        """How many windows wait, their bytes, and the end of the oldest (microseconds since the epoch)."""
        with self._lock:
            oldest_us = self._guarded(lambda file: file.oldest_end_us())
            return (self._file.windows, self._file.bytes, oldest_us) if self._file else (0, 0, None)

    def report(self) -> SpoolReport:
        """What the collector must know: nobody else could tell it."""
        with self._lock:
            payload = self._guarded(lambda file: file.oldest_payload())
            oldest_us = pb.Window.FromString(payload).start_us if payload else None
            waiting = (self._file.windows if self._file else 0) + len(self._held)
            refused = sum(self._refused().values(), Amount())
        return SpoolReport(refused.windows, refused.capacity_us, waiting, oldest_us)

    def state(self) -> SpoolState:
        """Everything there is to report about the spool."""
        windows, size, oldest_us = self.pending()
        with self._lock:
            refused = self._refused()
            counts = {reason: amount.windows for reason, amount in refused.items()}
            lost_us = {reason: amount.capacity_us for reason, amount in refused.items()}
            held = len(self._held)
            return SpoolState(windows, size, oldest_us, counts, lost_us, self._corrupted, self._error, held)

    def close(self) -> None:
        """Close the file and let another agent have it. Closing twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._held:
                _log.error("spool: %d windows are lost: the disk did not take them", len(self._held))
            if self._file:
                self._file.close()
            os.close(self._claim)

    # What follows runs with the lock held.

    def _guarded(self, work: Callable[[SpoolFile], _T], *, frees: bool = False) -> _T | None:
        """Run `work` on the file; None when the disk refuses. `frees`: it may use the reserve, as it makes room."""
        try:
            try:
                return self._mended(work)
            except (sqlite3.OperationalError, OSError) as error:
                if not is_full(error, self._path):
                    raise
            with self._reserve.lent():
                self._mended(lambda file: file.fold())
                if frees:
                    return self._mended(work)
            return self._mended(work)
        except (sqlite3.OperationalError, OSError) as error:
            self._complain(_DISK_FULL if is_full(error, self._path) else str(error))
            return None

    def _mended(self, work: Callable[[SpoolFile], _T]) -> _T:
        """Run `work` on the file; a damaged file is replaced, and `work` runs again."""
        try:
            return work(self._opened())
        except sqlite3.DatabaseError as error:
            if not is_broken(error):
                raise
            self._replace(error)
            return work(self._opened())

    def _opened(self) -> SpoolFile:
        if self._closed:
            raise SpoolUnusable(f"the spool in {self._path} is closed")
        if self._file is None:
            self._file = SpoolFile(self._path, self._past)
        self._past = self._file.past
        return self._file

    def _replace(self, why: sqlite3.Error) -> None:
        """Start a new file that goes on with our id and numbers, if they are known, so that none is used twice."""
        if self._file:
            self._past = self._file.past
            for reason, amount in self._file.refused.items():
                self._count(reason, amount)
            self._refuse(DAMAGED, Amount(self._file.windows, self._file.capacity_us))
            self._file.close()
            self._file = None
        aside = move_aside(self._path)
        self._corrupted += 1
        _log.error("spool: the file could not be read (%s); it is kept as %s and a new one begins", why, aside)

    def _complain(self, text: str) -> None:
        if text != self._error:
            _log.error("spool: %s: %s", self._path, text)
        self._error = text

    def _recovered(self) -> None:
        if self._error:
            _log.warning("spool: %s: windows are written again", self._path)
            self._reserve.take()
        self._error = ""

    def _write(self, file: SpoolFile) -> list[int]:
        rows: list[Row] = []
        room = self._max_bytes - file.bytes
        refused: list[tuple[str, Amount]] = []
        oldest_us = self._now_us() - self._max_age_us
        for window in self._held:
            amount = Amount(1, _capacity_us(window))
            sequence = file.last_sequence + len(rows) + 1
            payload = codec.encode(window, file.agent_id, self._boot_id, sequence)
            if window.end_us < oldest_us:
                refused.append((TOO_OLD, amount))
            elif len(payload) > room:
                refused.append((FULL, amount))
            else:
                room -= len(payload)
                rows.append(Row(sequence, window.end_us, amount.capacity_us, payload))
        file.insert(rows)
        self._past = file.past
        for reason, amount in refused:
            self._refuse(reason, amount)
        return [row.sequence for row in rows]

    def _expire(self, file: SpoolFile) -> None:
        self._refuse(TOO_OLD, file.remove_ended_before(self._now_us() - self._max_age_us))

    def _refuse_excess(self) -> None:
        """Keep the older ones, as the file does: what is new must find room."""
        while len(self._held) > _HELD_WINDOWS:
            self._refuse(DISK, Amount(1, _capacity_us(self._held.pop())))

    def _refuse(self, reason: str, amount: Amount) -> None:
        if amount.windows and reason not in self._said:
            _log.error("spool: %s: refusing windows from now on, and counting them: %s", self._path, reason)
            self._said.add(reason)
        self._count(reason, amount)

    def _count(self, reason: str, amount: Amount) -> None:
        if amount.windows:
            self._unsaved[reason] = self._unsaved.get(reason, Amount()) + amount

    def _save(self, file: SpoolFile) -> None:
        """Have the file remember what was refused. A disk that refuses this too is asked again later."""
        if self._unsaved:
            file.note_refused(self._unsaved)
            self._unsaved = {}

    def _refused(self) -> dict[str, Amount]:
        known = self._file.refused if self._file else {}
        reasons = sorted({*known, *self._unsaved})
        return {reason: known.get(reason, Amount()) + self._unsaved.get(reason, Amount()) for reason in reasons}


def _capacity_us(window: Window) -> int:
    return sum(device.capacity_us for device in window.devices)
