"""Windows on disk until the collector has them: bounded, in order, and counting what it must refuse."""

import fcntl
import logging
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from gputally.accounting.line import Window
from gputally.agent.snapshot import SpoolState
from gputally.agent.spool_file import Row, SpoolFile, is_broken, move_aside
from gputally.proto import codec

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FULL, TOO_OLD, DISK = "full", "too-old", "disk"  # why a window was refused


class SpoolError(Exception):
    """The spool cannot be used. The message is one line that says what to do."""


class SpoolInUse(SpoolError):
    """Another agent has this spool; the message names it."""


class SpoolUnusable(SpoolError):
    """The directory or its disk cannot be used."""


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
        self._refused_windows: Counter[str] = Counter()
        self._refused_capacity_us: Counter[str] = Counter()
        self._corrupted = 0
        self._error = ""
        self._closed = False
        self._file: SpoolFile | None = None
        self._agent_id, self._last_sequence = "", 0
        self._claim = _claim(path)
        if self._guarded(lambda _: True) is None:
            os.close(self._claim)
            raise SpoolUnusable(f"the spool in {path} cannot be opened: {self._error}; see --spool-dir")

    @property
    def agent_id(self) -> str:
        """The random id of this spool; a spool that starts anew is a new agent."""
        return self._agent_id

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, in the appending thread, whenever there is something new to read."""
        self._listeners.append(listener)

    def append(self, windows: Iterable[Window]) -> list[int]:
        """Give each window the next sequence and write all in one transaction; returns the sequences.

        A window that does not fit, is too old or cannot be written gets none: it is refused and counted.
        """
        batch = list(windows)
        with self._lock:
            self._guarded(self._expire)
            sequences = self._guarded(lambda file: self._write(file, batch))
            if sequences is None:
                self._refuse(DISK, len(batch), sum(map(_capacity_us, batch)))
            elif sequences:
                self._error = ""
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
            self._guarded(lambda file: file.remove_through(through))

    def pending(self) -> tuple[int, int, int | None]:
        """How many windows wait, their bytes, and the end of the oldest (microseconds since the epoch)."""
        with self._lock:
            oldest_us = self._guarded(lambda file: file.oldest_end_us())
            return (self._file.windows, self._file.bytes, oldest_us) if self._file else (0, 0, None)

    def state(self) -> SpoolState:
        """Everything there is to report about the spool."""
        windows, size, oldest_us = self.pending()
        with self._lock:
            refused = (dict(self._refused_windows), dict(self._refused_capacity_us))
            return SpoolState(windows, size, oldest_us, *refused, self._corrupted, self._error)

    def close(self) -> None:
        """Close the file and let another agent have it. Closing twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._file:
                self._file.close()
            os.close(self._claim)

    # What follows runs with the lock held.

    def _guarded(self, work: Callable[[SpoolFile], _T]) -> _T | None:
        """Run `work` on the file. A damaged file is replaced and `work` runs again; None when the disk refuses."""
        try:
            try:
                return work(self._opened())
            except sqlite3.DatabaseError as error:
                if not is_broken(error):
                    raise
                self._replace(error)
                return work(self._opened())
        except (sqlite3.OperationalError, OSError) as error:
            self._complain(error)
            return None

    def _opened(self) -> SpoolFile:
        if self._closed:
            raise SpoolUnusable(f"the spool in {self._path} is closed")
        if self._file is None:
            self._file = SpoolFile(self._path, self._agent_id, self._last_sequence)
            self._agent_id = self._file.agent_id
        self._last_sequence = self._file.last_sequence
        return self._file

    def _replace(self, why: sqlite3.Error) -> None:
        """Start a new file that goes on with our id and numbers, if they are known, so that none is used twice."""
        if self._file:
            self._last_sequence = self._file.last_sequence
            self._file.close()
            self._file = None
        aside = move_aside(self._path)
        self._corrupted += 1
        _log.error("spool: the file could not be read (%s); it is kept as %s and a new one begins", why, aside)

    def _complain(self, error: Exception) -> None:
        text = str(error)
        if text != self._error:
            _log.error("spool: %s: %s", self._path, text)
        self._error = text

    def _write(self, file: SpoolFile, windows: list[Window]) -> list[int]:
        rows: list[Row] = []
        room = self._max_bytes - file.bytes
        refused: list[tuple[str, int]] = []
        oldest_us = self._now_us() - self._max_age_us
        for window in windows:
            capacity_us = _capacity_us(window)
            sequence = file.last_sequence + len(rows) + 1
            payload = codec.encode(window, self._agent_id, self._boot_id, sequence)
            if window.end_us < oldest_us:
                refused.append((TOO_OLD, capacity_us))
            elif len(payload) > room:
                refused.append((FULL, capacity_us))
            else:
                room -= len(payload)
                rows.append(Row(sequence, window.end_us, capacity_us, payload))
        file.insert(rows)
        for reason, capacity_us in refused:
            self._refuse(reason, 1, capacity_us)
        return [row.sequence for row in rows]

    def _expire(self, file: SpoolFile) -> None:
        removed = file.remove_ended_before(self._now_us() - self._max_age_us)
        if removed.windows:
            self._refuse(TOO_OLD, removed.windows, removed.capacity_us)

    def _refuse(self, reason: str, windows: int, capacity_us: int) -> None:
        if windows and not self._refused_windows[reason]:
            _log.error("spool: %s: refusing windows from now on, and counting them: %s", self._path, reason)
        self._refused_windows[reason] += windows
        self._refused_capacity_us[reason] += capacity_us


def _capacity_us(window: Window) -> int:
    return sum(device.capacity_us for device in window.devices)


def _claim(path: Path) -> int:
    """Lock the directory for this process; returns the lock's descriptor."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpoolUnusable(f"the spool directory {path} cannot be used: {error.strerror}; see --spool-dir") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 100).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        raise SpoolInUse(
            f"the spool in {path} belongs to {holder}; give this agent a --spool-dir of its own"
        ) from error
    _sign(descriptor)
    return descriptor


def _sign(descriptor: int) -> None:
    """Write who holds the lock. It only helps people, so a full disk does not matter here."""
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()}\n".encode())
    except OSError as error:
        _log.warning("spool: cannot write the lock's owner: %s", error.strerror)
