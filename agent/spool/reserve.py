"""Room on the disk that nobody else can take: even a full disk lets the spool forget what the collector has."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gputally.agent.spool.claim import FULL_ERRNOS
from gputally.agent.spool.file import LOG_BYTES

_NAME = "reserve"
_SCARCE_BYTES = 64 << 10  # SQLite needs about this for its shared memory and a first page, and names no reason
_log = logging.getLogger(__name__)


def is_full(error: sqlite3.Error | OSError, folder: Path) -> bool:
    """Whether a write failed for want of room. SQLite says FULL, or an error that could mean anything: then look."""
    if isinstance(error, OSError):
        return error.errno in FULL_ERRNOS
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return _free_bytes(folder) < _SCARCE_BYTES
    return bool(code == sqlite3.SQLITE_FULL)


def _free_bytes(folder: Path) -> int:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return _SCARCE_BYTES  # that it is full is not known
    return disk.f_bavail * disk.f_frsize


class Reserve:
    """A file of as many bytes as the write-ahead log has, which is what folding the log can need at most."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME

    def take(self) -> None:
        """Have the reserve on the disk, if the disk still has the room."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, LOG_BYTES)
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.debug("spool: no reserve in %s: %s", self._path, error.strerror)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Within this, the reserve's room is free."""
        self._path.unlink(missing_ok=True)
        try:
            yield
        finally:
            self.take()
