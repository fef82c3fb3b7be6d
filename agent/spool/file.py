"""The spool's SQLite file: rows in, rows out. It knows nothing of limits, locks or what to do when a disk fails.

`synchronous` is FULL: a commit is on the disk before it returns. NORMAL would survive a kill of the agent just as
well, but a power cut could take the last commits back, and with them numbers that the collector has already seen. It
costs one fsync a window, which is one a minute.
"""

import contextlib
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

NAME = "spool.sqlite"
BROKEN_NAME = "spool.sqlite.broken"
LOG_BYTES = 1 << 20  # about where the write-ahead log is folded into the file and begins anew
_FORMAT = 2  # PRAGMA user_version
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
_SINCE_FORMAT_2 = """
CREATE TABLE refused (reason TEXT PRIMARY KEY, windows INTEGER NOT NULL, capacity_us INTEGER NOT NULL);
CREATE TABLE written (end_us INTEGER NOT NULL);
"""
_PAGES_FOLDED = LOG_BYTES // 4096
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
class Amount:
    """So many windows, with their capacity summed over their devices in microseconds."""

    windows: int = 0
    capacity_us: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.windows + other.windows, self.capacity_us + other.capacity_us)


@dataclass(frozen=True, slots=True)
class Past:
    """What a new file takes over of the one before: who writes it, its last number, and the end of the last window."""

    agent_id: str = ""
    last_sequence: int = 0
    last_end_us: int = 0


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

    A new file goes on from `past`; without an agent id there it takes a random one. `windows`, `bytes` and
    `capacity_us` are what waits; `refused` is by reason, over the file's whole life.
    """

    def __init__(self, folder: Path, past: Past) -> None:
        self._database = sqlite3.connect(folder / NAME, check_same_thread=False)
        try:
            self._database.execute("SELECT 1 FROM sqlite_schema")  # now the file is there
            with contextlib.suppress(OSError):  # a disk that cannot be written is told by the first write
                (folder / NAME).chmod(0o600)  # it holds the names of pods; the log and index beside it get its mode
            self._prepare(past)
        except BaseException:
            self._database.close()
            raise

    @property
    def past(self) -> Past:
        """What a file after this one must know."""
        return Past(self.agent_id, self.last_sequence, self.last_end_us)

    def _prepare(self, past: Past) -> None:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            f"journal_size_limit = {LOG_BYTES}",
            f"wal_autocheckpoint = {_PAGES_FOLDED}",
            "secure_delete = OFF",  # some builds write zeros over what is deleted, which takes room in the log
        ):
            self._database.execute(f"PRAGMA {pragma}")
        if self._one("PRAGMA user_version") == 0 and self._one("SELECT count(*) FROM sqlite_master") == 0:
            self._create(past)
        if self._one("PRAGMA user_version") == 1:
            self._upgrade()
        self._check()
        self.agent_id = str(self._one("SELECT agent_id FROM identity"))
        self.last_sequence = self._number("SELECT max(seq) FROM sqlite_sequence WHERE name = 'window'")
        self.last_end_us = self._number("SELECT max(end_us) FROM written")
        sums = "SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(capacity_us), 0) FROM window"
        self.windows, self.bytes, self.capacity_us = map(int, self._database.execute(sums).fetchone())
        found = self._database.execute("SELECT reason, windows, capacity_us FROM refused")
        self.refused = {str(reason): Amount(windows, capacity_us) for reason, windows, capacity_us in found}

    def _create(self, past: Past) -> None:
        # One transaction: a kill in the middle leaves an empty file, which is made again.
        with self._database:
            self._database.execute("BEGIN")
            self._make(_TABLES + _SINCE_FORMAT_2)
            self._database.execute("INSERT INTO identity VALUES (?)", (past.agent_id or str(uuid.uuid4()),))
            self._database.execute("INSERT INTO sqlite_sequence VALUES ('window', ?)", (past.last_sequence,))
            self._database.execute("INSERT INTO written VALUES (?)", (past.last_end_us,))

    def _upgrade(self) -> None:
        """Take over a file of the format before, with what waits in it."""
        with self._database:
            self._database.execute("BEGIN")
            self._make(_SINCE_FORMAT_2)
            self._database.execute("INSERT INTO written SELECT coalesce(max(end_us), 0) FROM window")

    def _make(self, tables: str) -> None:
        for statement in filter(str.strip, tables.split(";")):
            self._database.execute(statement)
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

    def _number(self, query: str) -> int:
        return int(self._one(query) or 0)

    def insert(self, rows: Iterable[Row]) -> None:
        """Write all rows in one transaction, or none."""
        batch = [(row.sequence, row.end_us, row.capacity_us, len(row.payload), row.payload) for row in rows]
        if not batch:
            return
        last_end_us = max(self.last_end_us, *(row[1] for row in batch))
        with self._database:
            self._database.executemany("INSERT INTO window VALUES (?, ?, ?, ?, ?)", batch)
            self._database.execute("UPDATE written SET end_us = ?", (last_end_us,))
        self.last_sequence = max(self.last_sequence, *(row[0] for row in batch))
        self.last_end_us = last_end_us
        self.windows += len(batch)
        self.bytes += sum(row[3] for row in batch)
        self.capacity_us += sum(row[2] for row in batch)

    def note_refused(self, amounts: Mapping[str, Amount]) -> None:
        """Add to what was refused, by reason."""
        totals = {reason: self.refused.get(reason, Amount()) + amount for reason, amount in amounts.items()}
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO refused VALUES (?, ?, ?)",
                [(reason, total.windows, total.capacity_us) for reason, total in totals.items()],
            )
        self.refused |= totals

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

    def oldest_payload(self) -> bytes | None:
        """The waiting window that ended first."""
        row = self._database.execute("SELECT payload FROM window ORDER BY end_us LIMIT 1").fetchone()
        return bytes(row[0]) if row else None

    def remove_through(self, sequence: int) -> Amount:
        """Delete every row up to and including `sequence`."""
        return self._remove("sequence <= ?", sequence)

    def remove_ended_before(self, end_us: int) -> Amount:
        """Delete every row whose window ended before `end_us`."""
        return self._remove("end_us < ?", end_us)

    def _remove(self, which: str, limit: int) -> Amount:
        sums = "SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(capacity_us), 0) FROM window WHERE"
        windows, size, capacity_us = self._database.execute(f"{sums} {which}", (limit,)).fetchone()
        if windows:
            with self._database:
                self._database.execute(f"DELETE FROM window WHERE {which}", (limit,))  # noqa: S608 - our own text
        self.windows -= windows
        self.bytes -= size
        self.capacity_us -= capacity_us
        return Amount(windows, capacity_us)

    def fold(self) -> None:
        """Fold the write-ahead log into the file, and give its room on the disk back."""
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        self._database.close()
