"""The spool's SQLite file: rows in, rows out. It knows nothing of limits, locks or what to do when a disk fails.

`synchronous` is FULL: a commit is on the disk before it returns. NORMAL would survive a kill of the agent just as
well, but a power cut could take the last commits back, and with them numbers that the collector has already seen. It
costs one fsync a window, which is one a minute.
"""

import contextlib
import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NAME = "spool.sqlite"
BROKEN_NAME = "spool.sqlite.broken"
_FORMAT = 1  # PRAGMA user_version
_TABLES = """
CREATE TABLE identity (agent_id TEXT NOT NULL);
CREATE TABLE window (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    end_us INTEGER NOT NULL,
    capacity_us INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX window_end ON window (end_us);
"""
_WAL_BYTES = 4 << 20  # the write-ahead log shrinks back to this after a checkpoint
_BROKEN_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Unreadable(sqlite3.DatabaseError):
    """The file is damaged, or it is not a spool of this version."""


@dataclass(frozen=True, slots=True)
class Row:
    """A window that waits. `end_us` since the epoch; `capacity_us` summed over its devices."""

    sequence: int
    end_us: int
    capacity_us: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal took out of the file."""

    windows: int = 0
    bytes: int = 0
    capacity_us: int = 0


def is_broken(error: sqlite3.Error) -> bool:
    """Whether the error says that the file itself is damaged, not that the disk is full, read-only or failing."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, Unreadable) or (code is not None and code & 0xFF in _BROKEN_CODES)


def move_aside(folder: Path) -> Path:
    """Put the file out of the way, over an earlier one if there is any; returns its new path. Raises OSError."""
    for suffix in ("", "-wal", "-shm"):
        (folder / f"{BROKEN_NAME}{suffix}").unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (folder / f"{NAME}{suffix}").rename(folder / f"{BROKEN_NAME}{suffix}")
    return folder / BROKEN_NAME


class SpoolFile:
    """An open spool file, made where there is none. Not for two threads at once; raises sqlite3.Error.

    A new file goes on after `last_sequence` and takes `agent_id`, or a random one.
    """

    def __init__(self, folder: Path, agent_id: str = "", last_sequence: int = 0) -> None:
        self._database = sqlite3.connect(folder / NAME, check_same_thread=False)
        try:
            self._prepare(agent_id, last_sequence)
        except BaseException:
            self._database.close()
            raise

    def _prepare(self, agent_id: str, last_sequence: int) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", f"journal_size_limit = {_WAL_BYTES}"):
            self._database.execute(f"PRAGMA {pragma}")
        if self._one("PRAGMA user_version") == 0 and self._one("SELECT count(*) FROM sqlite_master") == 0:
            self._create(agent_id or str(uuid.uuid4()), last_sequence)
        self._check()
        self.agent_id = str(self._one("SELECT agent_id FROM identity"))
        self.last_sequence = int(self._one("SELECT max(seq) FROM sqlite_sequence WHERE name = 'window'") or 0)
        windows, size = self._database.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM window").fetchone()
        self.windows, self.bytes = int(windows), int(size)

    def _create(self, agent_id: str, last_sequence: int) -> None:
        # One transaction: a kill in the middle leaves an empty file, which is made again.
        with self._database:
            self._database.execute("BEGIN")
            for statement in filter(str.strip, _TABLES.split(";")):
                self._database.execute(statement)
            self._database.execute("INSERT INTO identity VALUES (?)", (agent_id,))
            self._database.execute("INSERT INTO sqlite_sequence VALUES ('window', ?)", (last_sequence,))
            self._database.execute(f"PRAGMA user_version = {_FORMAT}")

    def _check(self) -> None:
        version = self._one("PRAGMA user_version")
        if version != _FORMAT:
            raise Unreadable(f"it has format {version}, this agent writes format {_FORMAT}")
        answer = self._one("PRAGMA quick_check(1)")
        if answer != "ok":
            raise Unreadable(f"it is damaged: {answer}")

    def _one(self, query: str) -> int | str | None:
        row = self._database.execute(query).fetchone()
        value: int | str | None = row[0] if row else None
        return value

    def insert(self, rows: Iterable[Row]) -> None:
        """Write all rows in one transaction, or none."""
        batch = [(row.sequence, row.end_us, row.capacity_us, len(row.payload), row.payload) for row in rows]
        if not batch:
            return
        with self._database:
            self._database.executemany("INSERT INTO window VALUES (?, ?, ?, ?, ?)", batch)
        self.last_sequence = max(self.last_sequence, *(row[0] for row in batch))
        self.windows += len(batch)
        self.bytes += sum(row[3] for row in batch)

    def read(self, after: int, max_bytes: int, max_windows: int) -> list[tuple[int, bytes]]:
        """(sequence, payload) past `after`, in order: at most so many of each, but at least one if there is any."""
        query = "SELECT sequence, payload FROM window WHERE sequence > ? ORDER BY sequence LIMIT ?"
        found: list[tuple[int, bytes]] = []
        size = 0
        with contextlib.closing(self._database.execute(query, (after, max_windows))) as rows:
            for sequence, payload in rows:
                size += len(payload)
                if found and size > max_bytes:
                    break
                found.append((sequence, payload))
        return found

    def oldest_end_us(self) -> int | None:
        """The earliest end of a waiting window, microseconds since the epoch."""
        answer = self._one("SELECT min(end_us) FROM window")
        return None if answer is None else int(answer)

    def remove_through(self, sequence: int) -> Removed:
        """Delete every row up to and including `sequence`."""
        return self._remove("sequence <= ?", sequence)

    def remove_ended_before(self, end_us: int) -> Removed:
        """Delete every row whose window ended before `end_us`."""
        return self._remove("end_us < ?", end_us)

    def _remove(self, which: str, limit: int) -> Removed:
        sums = "SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(capacity_us), 0) FROM window WHERE"
        removed = Removed(*self._database.execute(f"{sums} {which}", (limit,)).fetchone())
        if removed.windows:
            with self._database:
                self._database.execute(f"DELETE FROM window WHERE {which}", (limit,))  # noqa: S608 - our own text
        self.windows -= removed.windows
        self.bytes -= removed.bytes
        return removed

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        self._database.close()
