"""The spool's directory is looked at beside a running agent, and left as it was."""

from pathlib import Path

import pytest
from tests.spools import Clock, open_spool

from gputally.agent.doctor.finding import Level
from gputally.agent.doctor.spool import Place, file_system, judge, lock_owner, look

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /run rw,nosuid - tmpfs tmpfs rw
31 22 8:2 / /var/lib/gpu\\040tally rw - xfs /dev/sdb1 rw
32 31 0:30 / /var/lib/gpu\\040tally rw - nfs4 server:/export rw
"""
MIB = 1 << 20
FOLDER = Path("/var/lib/gputally")


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "ext4"), ("/run/spool", "tmpfs"), ("/runner", "ext4"), ("/var/lib/gpu tally/spool", "nfs4")],
)
def test_the_file_system_is_that_of_the_innermost_and_latest_mount(path: str, kind: str) -> None:
    assert file_system(MOUNTS, Path(path)) == kind
    assert file_system("", Path(path)) == ""


def test_a_running_agent_is_seen_and_goes_on(tmp_path: Path) -> None:
    """Its lock is read of /proc/locks and not asked for; nothing is left behind."""
    spool = open_spool(tmp_path / "spool", Clock())
    before = sorted(path.name for path in (tmp_path / "spool").iterdir())
    place = look(tmp_path / "spool", Path("/proc"))
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == before
    assert place.error == ""
    assert place.exists
    assert place.used_bytes > 0
    assert place.owner.startswith("process ")
    spool.close()
    assert look(tmp_path / "spool", Path("/proc")).owner == ""


def test_a_lock_that_is_not_the_spools_is_nobodys(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("process 12\n")
    inode = lock.stat().st_ino
    assert lock_owner(lock, f"1: FLOCK  ADVISORY  WRITE 12 08:01:{inode} 0 EOF\n") == "process 12"
    assert lock_owner(lock, f"1: POSIX  ADVISORY  WRITE 12 08:01:{inode} 0 EOF\n") == ""
    assert lock_owner(lock, f"1: FLOCK  ADVISORY  WRITE 12 08:01:{inode}7 0 EOF\n") == ""
    assert lock_owner(tmp_path / "none", "") == ""


def test_a_directory_that_is_still_to_be_made_is_not_made(tmp_path: Path) -> None:
    place = look(tmp_path / "a/b", Path("/proc"))
    assert (place.exists, place.error, (tmp_path / "a").exists()) == (False, "", False)
    (tmp_path / "file").touch()
    assert look(tmp_path / "file/spool", Path("/proc")).error == "Not a directory"


def test_a_directory_that_may_not_be_looked_at_is_an_answer_and_no_defect(tmp_path: Path) -> None:
    """As below a folder of another user; a name that is too long is refused to root as well."""
    assert look(tmp_path / ("x" * 300) / "spool", Path("/proc")).error == "File name too long"


@pytest.mark.parametrize(
    ("place", "level", "words"),
    [
        (Place(kind="ext4", free_bytes=900 * MIB), Level.OK, "ext4, 900 MiB free"),
        (Place(kind="ext4", free_bytes=900 * MIB, owner="process 7"), Level.OK, "process 7 uses it"),
        (Place(exists=False, kind="ext4", free_bytes=900 * MIB), Level.OK, "to be made"),
        (Place(free_bytes=900 * MIB), Level.OK, "unknown file system"),
        (Place(kind="tmpfs", free_bytes=900 * MIB), Level.WARN, "a reboot loses what waits"),
        (Place(kind="overlay", free_bytes=900 * MIB), Level.WARN, "it goes with the pod"),
        (Place(kind="nfs4", free_bytes=900 * MIB), Level.WARN, "is on a network"),
        (Place(kind="ext4", free_bytes=100 * MIB, used_bytes=155 * MIB), Level.WARN, "has room for 255 MiB"),
        (Place(kind="ext4", free_bytes=101 * MIB, used_bytes=155 * MIB), Level.OK, "101 MiB free"),
        (Place(error="Read-only file system"), Level.FAIL, "cannot be written: Read-only file system"),
    ],
)
def test_what_waits_must_survive_a_reboot_and_days_without_a_collector(place: Place, level: Level, words: str) -> None:
    found = judge(place, FOLDER, 256 * MIB)
    assert (found.level, words in found.found) == (level, True), found
