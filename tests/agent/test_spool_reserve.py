"""A disk that is really full: said once, survived, and what the collector has leaves it all the same."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.spools import HELD, MINUTE_US, Clock, open_spool, recent, sequences, window

from gputally.accounting.line import Window
from gputally.agent.spool.spool import DISK


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 5 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a tmpfs: run the tests as root, with mount (apt-get install mount)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Somebody else takes all that is left."""
    with (folder / "other").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 512)


def large(clock: Clock, count: int = 20) -> list[Window]:
    return [window(each.start_us, model="x" * 8192) for each in recent(clock, count)]


@pytest.mark.root
def test_a_full_disk_is_said_once_and_what_the_collector_has_leaves_it_all_the_same(
    small_disk: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody else makes room: the spool lives on what it has, without losing a window or using a number twice."""
    spool = open_spool(small_disk / "spool", clock, max_bytes=1 << 30)
    taken: list[int] = []
    while not spool.state().error:
        taken += spool.append(large(clock))
    fill(small_disk)
    assert len(taken) > 50
    assert spool.append(large(clock)) == []
    assert spool.state().error.startswith("the disk is full")
    held = spool.state().held
    assert held == 40
    assert sequences(spool) == taken
    for _ in range(5):
        spool.release(taken[-1])
        assert spool.pending()[0] == 0
        again = spool.append(large(clock))
        assert spool.state().error == ""
        assert again[:1] == [taken[-1] + 1]
        assert len(again) == held + 20
        held, taken = 0, again
    assert spool.state().refused_windows == {}
    assert sum("the disk is full" in record.message for record in caplog.records) == 1
    spool.close()


@pytest.mark.root
def test_a_disk_that_is_full_before_the_spool_is_there_is_waited_for(small_disk: Path, clock: Clock) -> None:
    """The agent counts; what it counts is in memory until somebody makes room."""
    (small_disk / "spool").mkdir()
    (small_disk / "spool" / "lock").touch()
    fill(small_disk)
    spool = open_spool(small_disk / "spool", clock)
    assert spool.append(recent(clock, 3)) == []
    assert (spool.state().held, spool.pending(), spool.agent_id) == (3, (0, 0, None), "")
    assert spool.read(0, 1 << 20, 10) == []
    assert spool.report().waiting_windows == 3
    spool.release(7)
    (small_disk / "other").unlink()
    assert spool.append(recent(clock)) == [1, 2, 3, 4]
    assert spool.agent_id
    assert (spool.state().error, spool.state().held) == ("", 0)
    spool.close()


@pytest.mark.root
def test_what_a_full_disk_did_not_take_is_remembered_once_it_takes_anything(small_disk: Path, clock: Clock) -> None:
    spool = open_spool(small_disk / "spool", clock, max_bytes=1 << 30)
    (small_disk / "other").write_bytes(bytes(2 << 20))
    while not spool.state().error:
        spool.append(large(clock))
    fill(small_disk)
    refused = 0
    for _ in range(10):
        spool.append(large(clock))
        refused = spool.state().refused_windows.get(DISK, 0)
    assert refused > 0
    (small_disk / "other").unlink()
    assert len(spool.append(recent(clock))) == HELD + 1
    spool.close()
    again = open_spool(small_disk / "spool", clock, max_bytes=1 << 30)
    assert again.state().refused_windows == {DISK: refused}
    assert again.report().refused_us == refused * MINUTE_US
    again.close()
