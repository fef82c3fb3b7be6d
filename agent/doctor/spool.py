"""Whether windows are safe in the spool's directory. Its lock is not touched: an agent may be running on it."""

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gputally.agent.doctor.finding import Finding, fail, ok, warn

NAME = "spool"
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_OF_A_CONTAINER = frozenset({"overlay", "aufs"})
_OF_A_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph"})
_OCTAL = re.compile(r"\\([0-7]{3})")  # how mountinfo writes a space
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """`error`: why nothing can be written there. `kind`: of the file system, empty unknown. `used_bytes`: the spool's.

    `exists` False: the directory is still to be made, and the rest is said of the folder that it would be made in.
    """

    exists: bool = True
    error: str = ""
    kind: str = ""
    free_bytes: int = 0
    used_bytes: int = 0
    owner: str = ""  # who holds the lock, as it says in it; empty: nobody


def check(folder: Path, max_bytes: int, proc_root: Path) -> Iterator[Finding]:
    """Look at the directory; `max_bytes`: what the spool may grow to."""
    yield judge(look(folder, proc_root), folder, max_bytes)


def look(folder: Path, proc_root: Path) -> Place:
    """What is there. One empty file is made, and removed; a directory that is missing is not made."""
    at = folder
    try:
        at = next(place for place in (folder, *folder.parents) if place.exists())
        disk = os.statvfs(at)
        with tempfile.TemporaryFile(dir=at):
            error = ""
    except OSError as refusal:
        return Place(error=refusal.strerror or str(refusal))
    mounts = _text(proc_root / "self" / "mountinfo")
    used = sum(file.stat().st_size for file in folder.glob("spool.sqlite*")) if folder.is_dir() else 0
    owner = lock_owner(folder / "lock", _text(proc_root / "locks"))
    return Place(folder.is_dir(), error, file_system(mounts, at.resolve()), disk.f_bavail * disk.f_frsize, used, owner)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def file_system(mountinfo: str, path: Path) -> str:
    """The kind of the file system that a path is on, by the text of /proc/self/mountinfo; empty unknown."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) > 4 and after:
            mount = Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4]))
            if path.is_relative_to(mount) and len(mount.parts) >= best:  # a later mount hides an earlier one
                best, kind = len(mount.parts), after.split()[0]
    return kind


def lock_owner(lock: Path, locks: str) -> str:
    """Who holds the spool's lock by the text of /proc/locks: asking with flock could make a starting agent wait."""
    try:
        inode = lock.stat().st_ino
        said = lock.read_text(errors="replace").strip()
    except OSError:
        return ""
    held = any(f":{inode} " in line and " FLOCK " in line for line in locks.splitlines())
    return (said or "another process") if held else ""


def judge(place: Place, folder: Path, max_bytes: int) -> Finding:
    """Whether windows survive there what they are meant to survive: restarts, reboots, days without a collector."""
    room_bytes = place.free_bytes + place.used_bytes
    if place.error:
        return fail(NAME, f"{folder} cannot be written: {place.error}", "mount a hostPath there, or see --spool-dir")
    if place.kind in _IN_MEMORY:
        return warn(
            NAME, f"{folder} is memory ({place.kind}): a reboot loses what waits", "put it on a disk of the node"
        )
    if place.kind in _OF_A_CONTAINER:
        return warn(
            NAME,
            f"{folder} is the container's own layer ({place.kind}): it goes with the pod",
            "mount a hostPath there, or see --spool-dir",
        )
    if place.kind in _OF_A_NETWORK:
        return warn(
            NAME,
            f"{folder} is on a network ({place.kind}), whose locks cannot be relied on",
            "put it on a disk of the node",
        )
    if room_bytes < max_bytes:
        return warn(
            NAME,
            f"{folder} has room for {room_bytes // _MIB} MiB, and may fill {max_bytes // _MIB} (--spool-max-bytes)",
            "make room, or set --spool-max-bytes lower: windows beyond it are refused and counted",
        )
    to_be = "" if place.exists else ", to be made"
    user = f"; {place.owner} uses it" if place.owner else ""
    kind = place.kind or "unknown file system"
    return ok(NAME, f"{folder}{to_be}: {kind}, {place.free_bytes // _MIB} MiB free{user}")
