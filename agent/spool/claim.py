"""One agent a spool: the directory's lock, and the errors of a spool that cannot be had."""

import errno
import fcntl
import logging
import os
from pathlib import Path

FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_log = logging.getLogger(__name__)


class SpoolError(Exception):
    """The spool cannot be used. The message is one line that says what to do."""


class SpoolInUse(SpoolError):
    """Another agent has this spool; the message names it."""


class SpoolFull(SpoolError):
    """There is no room on the disk even for the directory or its lock; look again later."""


class SpoolUnusable(SpoolError):
    """The directory or its disk cannot be used."""


def claim(path: Path) -> int:
    """Lock the directory for this process; returns the lock's descriptor. Raises SpoolError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in FULL_ERRNOS:
            raise SpoolFull(f"the disk of {path} is full: make room, or see --spool-dir") from error
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
