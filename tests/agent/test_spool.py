"""The spool keeps every window until it is released, and says what it could not keep."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.programs import wait_until
from tests.spools import DAY_US, MINUTE_US, Clock, open_spool, recent, sequences, window

from gputally.agent.spool.spool import DAMAGED, FULL, TOO_OLD, Spool, SpoolInUse, SpoolReport, SpoolUnusable
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> Iterator[Spool]:
    spool = open_spool(tmp_path, clock)
    yield spool
    spool.close()


def test_a_window_comes_back_as_it_went_in_with_its_identity(spool: Spool, clock: Clock) -> None:
    """The message on disk is the one that goes on the wire."""
    [sequence] = spool.append(recent(clock))
    [(found, payload)] = spool.read(0, 1 << 20, 10)
    message = pb.Window.FromString(payload)
    assert (found, message.sequence, message.agent_id, message.boot_id) == (sequence, sequence, spool.agent_id, "boot")
    assert codec.decode(message) == recent(clock)[0]


def test_only_the_agent_can_read_the_spool(spool: Spool, tmp_path: Path) -> None:
    """It holds the names of everybody's pods, and its folder may be open to all."""
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"spool.sqlite", "spool.sqlite-wal"}
    assert {path.stat().st_mode & 0o077 for path in files} == {0}


def test_reading_is_bounded_by_windows_and_bytes_but_never_starves(spool: Spool, clock: Clock) -> None:
    """A window larger than the limit goes alone instead of never."""
    spool.append(recent(clock, 5))
    assert [s for s, _ in spool.read(1, 1 << 20, 2)] == [2, 3]
    assert [s for s, _ in spool.read(0, 1, 10)] == [1]
    size = len(spool.read(0, 1, 1)[0][1])
    assert [s for s, _ in spool.read(0, 2 * size, 10)] == [1, 2]


def test_release_forgets_up_to_and_including_the_sequence(spool: Spool, clock: Clock) -> None:
    """What the collector has committed leaves the disk, nothing else does."""
    spool.append(recent(clock, 5))
    spool.release(3)
    assert sequences(spool) == [4, 5]
    spool.release(1)
    assert sequences(spool) == [4, 5]


def test_a_sequence_is_never_used_twice_even_after_release_and_restart(tmp_path: Path, clock: Clock) -> None:
    """A number that the collector has seen must not come back with other content."""
    first = open_spool(tmp_path, clock)
    assert first.append(recent(clock, 3)) == [1, 2, 3]
    first.release(3)
    first.close()
    second = open_spool(tmp_path, clock)
    assert second.agent_id == first.agent_id
    assert second.append(recent(clock)) == [4]
    second.close()


def test_pending_says_how_much_waits_and_since_when(spool: Spool, clock: Clock) -> None:
    """Nothing waiting has no oldest window: None, not 0."""
    assert spool.pending() == (0, 0, None)
    spool.append(recent(clock, 2))
    size = sum(len(payload) for _, payload in spool.read(0, 1 << 20, 10))
    assert spool.pending() == (2, size, clock.us - MINUTE_US)
    spool.release(2)
    assert spool.pending() == (0, 0, None)


def test_pending_survives_a_restart(tmp_path: Path, clock: Clock) -> None:
    """The counts are those of the file, not of this process."""
    first = open_spool(tmp_path, clock)
    first.append(recent(clock, 4))
    before = first.pending()
    first.close()
    second = open_spool(tmp_path, clock)
    assert second.pending() == before
    second.close()


def test_what_does_not_fit_is_refused_and_counted(tmp_path: Path, clock: Clock) -> None:
    """The windows that wait stay; the new ones are refused, with the capacity that was lost."""
    spool = open_spool(tmp_path, clock, max_bytes=300)
    accepted = spool.append(recent(clock, 10))
    state = spool.state()
    assert 0 < len(accepted) < 10
    assert state.bytes <= 300
    assert state.refused_windows == {FULL: 10 - len(accepted)}
    assert state.refused_capacity_us == {FULL: (10 - len(accepted)) * MINUTE_US}
    spool.release(accepted[-1])
    assert spool.append(recent(clock)) == [accepted[-1] + 1]
    spool.close()


def test_what_is_too_old_leaves_counted(spool: Spool, clock: Clock) -> None:
    """The collector takes nothing older than the limit, so keeping it would only fill the disk."""
    spool.append(recent(clock, 3))
    clock.us += 7 * DAY_US - MINUTE_US
    spool.append(recent(clock))
    assert sequences(spool) == [2, 3, 4]
    assert spool.append([window(clock.us - 8 * DAY_US)]) == []
    assert spool.state().refused_windows == {TOO_OLD: 2}
    assert spool.state().refused_capacity_us == {TOO_OLD: 2 * MINUTE_US}


def test_only_one_agent_has_a_spool_and_the_second_is_told_who(tmp_path: Path, clock: Clock) -> None:
    """Two agents on one spool would mix their sequences."""
    first = open_spool(tmp_path, clock)
    with pytest.raises(SpoolInUse, match=f"process {os.getpid()}"):
        open_spool(tmp_path, clock)
    first.close()
    first.close()
    open_spool(tmp_path, clock).close()


def test_a_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path, clock: Clock) -> None:
    """The message names the directory and the flag."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolUnusable, match=r"file/spool cannot be used: .*--spool-dir"):
        open_spool(tmp_path / "file" / "spool", clock)


def test_a_damaged_file_is_moved_aside_and_counted(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The agent starts with a new spool, and a new id, and the old file stays for whoever wants to look."""
    first = open_spool(tmp_path, clock)
    first.append(recent(clock))
    first.close()
    (tmp_path / "spool.sqlite").write_bytes(b"this is no database" * 1000)
    second = open_spool(tmp_path, clock)
    assert second.agent_id != first.agent_id
    assert second.state().corrupted == 1
    assert second.state().error == ""
    assert second.append(recent(clock)) == [1]
    assert (tmp_path / "spool.sqlite.broken").read_bytes().startswith(b"this is no database")
    assert "kept as" in caplog.text
    second.close()


def test_a_file_of_another_format_is_moved_aside(tmp_path: Path, clock: Clock) -> None:
    """A newer agent's spool is not guessed at."""
    open_spool(tmp_path, clock).close()
    with sqlite3.connect(tmp_path / "spool.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    spool = open_spool(tmp_path, clock)
    assert spool.state().corrupted == 1
    spool.close()


def test_a_file_damaged_while_in_use_is_replaced_and_no_sequence_comes_back(tmp_path: Path, clock: Clock) -> None:
    """The new file goes on with our id and numbers, so that an ack on its way cannot release the wrong window."""
    big = [window(each.start_us, model="x" * 8192) for each in recent(clock, 600)]  # more than SQLite caches
    spool = open_spool(tmp_path, clock, max_bytes=1 << 24)
    spool.append(big)
    spool.close()
    spool = open_spool(tmp_path, clock, max_bytes=1 << 24)
    size = (tmp_path / "spool.sqlite").stat().st_size
    with (tmp_path / "spool.sqlite").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    assert spool.read(0, 1 << 24, 600) == []
    assert spool.append(recent(clock, 2)) == [601, 602]
    assert spool.state().corrupted == 1
    assert spool.state().refused_windows == {DAMAGED: 600}
    assert spool.state().refused_capacity_us == {DAMAGED: 600 * MINUTE_US}
    assert spool.state().windows == 2
    spool.close()


def test_a_failing_disk_is_a_state_not_a_crash(tmp_path: Path) -> None:
    """What it does not take waits in memory, bounded; the rest is refused and counted; then it all goes on."""
    script = """
import resource, sys
from pathlib import Path
from tests.spools import HELD, Clock, open_spool, recent
clock = Clock()
spool = open_spool(Path(sys.argv[1]), clock)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
kept = [len(spool.append(recent(clock, 100))) for _ in range(12)]
full = spool.state()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
kept_again = len(spool.append(recent(clock, 100)))
now = spool.state()
assert kept[0] == 100 and kept[-1] == 0, kept
assert full.error and full.held == HELD and full.refused_windows == {"disk": 1200 - sum(kept) - HELD}, full
assert kept_again == HELD + 100 and not now.error and not now.held, now
assert now.windows == sum(kept) + kept_again == len(spool.read(0, 1 << 30, 1 << 30)), now
assert now.refused_windows == full.refused_windows, now
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr


def test_what_was_appended_survives_a_kill(tmp_path: Path, clock: Clock) -> None:
    """A commit that returned is there after SIGKILL, in order and whole."""
    script = """
import sys
from pathlib import Path
from tests.spools import Clock, open_spool, recent
clock = Clock()
spool = open_spool(Path(sys.argv[1]), clock)
while True:
    spool.append(recent(clock, 3))
    print(spool.state().windows, flush=True)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        told = [int(child.stdout.readline()) for _ in range(20)][-1]
        child.send_signal(signal.SIGKILL)
    spool = open_spool(tmp_path, clock)
    found = sequences(spool)
    assert len(found) >= told
    assert len(found) % 3 == 0
    assert found == list(range(1, len(found) + 1))
    assert spool.state().corrupted == 0
    spool.close()


def test_a_kill_in_the_middle_of_writes_leaves_whole_transactions(tmp_path: Path, clock: Clock) -> None:
    """Killed at any instant, twenty times over: the file is sound, and the numbers and refusals go on."""
    script = """
import sys
from pathlib import Path
from tests.spools import Clock, open_spool, recent
clock = Clock()
spool = open_spool(Path(sys.argv[1]), clock, max_bytes=4000)
print("go", flush=True)
while True:
    if len(spool.append(recent(clock, 7))) < 7:
        spool.release(max(s for s, _ in spool.read(0, 1 << 20, 100)) - 2)
"""
    last_sequence = last_refused = 0
    for attempt in range(20):
        command = [sys.executable, "-c", script, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            assert child.stdout.readline() == "go\n"
            wait_for_growth(tmp_path / "spool.sqlite-wal", 1000 * attempt)
            child.send_signal(signal.SIGKILL)
        spool = open_spool(tmp_path, clock, max_bytes=4000)
        found = sequences(spool)
        assert not found or found == list(range(found[0], found[-1] + 1))
        assert spool.report().refused_windows >= last_refused
        last_refused = spool.report().refused_windows
        (sequence,) = spool.append([window(clock.us - MINUTE_US, model="")]) or (last_sequence,)
        assert sequence >= last_sequence
        last_sequence = sequence
        assert (spool.state().corrupted, spool.state().error) == (0, "")
        spool.close()
    assert last_refused > 0


def wait_for_growth(log: Path, bytes_more: int) -> None:
    """Until the write-ahead log has so many more bytes, or was begun anew."""
    start = log.stat().st_size
    wait_until(lambda: not start <= log.stat().st_size < start + bytes_more, 60, "writes")


def test_a_listener_hears_of_new_windows_only(spool: Spool, clock: Clock) -> None:
    """The stream sleeps until there is something to send."""
    heard: list[int] = []
    spool.subscribe(lambda: heard.append(1))
    spool.append([])
    spool.append([window(clock.us - 30 * DAY_US)])
    assert heard == []
    spool.append(recent(clock))
    assert heard == [1]


def test_what_was_refused_is_counted_over_restarts(tmp_path: Path, clock: Clock) -> None:
    """The collector is told of all that this spool ever refused, and of what waits."""
    first = open_spool(tmp_path, clock, max_bytes=1)
    first.append(recent(clock, 5))
    first.close()
    second = open_spool(tmp_path, clock)
    second.append([window(clock.us - 9 * DAY_US), *recent(clock, 2)])
    assert second.state().refused_windows == {FULL: 5, TOO_OLD: 1}
    assert second.report() == SpoolReport(6, 6 * MINUTE_US, 2, clock.us - 2 * MINUTE_US)
    second.release(2)
    assert second.report() == SpoolReport(6, 6 * MINUTE_US, 0, None)
    second.close()


def test_the_end_of_the_last_window_is_remembered_after_its_release_and_a_restart(tmp_path: Path, clock: Clock) -> None:
    """A clock that was set back meanwhile must not make the next agent count that time again."""
    first = open_spool(tmp_path, clock)
    assert first.last_end_us == 0
    last = first.append(recent(clock, 3))[-1]
    first.release(last)
    first.append([window(clock.us - 60 * MINUTE_US)])
    assert first.last_end_us == clock.us
    first.close()
    second = open_spool(tmp_path, clock)
    assert second.last_end_us == clock.us
    second.close()


def test_a_spool_of_the_format_before_keeps_what_waits(tmp_path: Path, clock: Clock) -> None:
    first = open_spool(tmp_path, clock)
    first.append(recent(clock, 3))
    first.close()
    with closing(sqlite3.connect(tmp_path / "spool.sqlite")) as database:
        database.executescript("DROP TABLE refused; DROP TABLE written; PRAGMA user_version = 1")
    second = open_spool(tmp_path, clock)
    assert sequences(second) == [1, 2, 3]
    assert second.last_end_us == clock.us
    assert (second.agent_id, second.state().corrupted) == (first.agent_id, 0)
    second.close()


def test_refusing_is_logged_once_a_reason(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A long outage must not fill the log too."""
    spool = open_spool(tmp_path, clock, max_bytes=1)
    with caplog.at_level(logging.ERROR):
        spool.append(recent(clock, 5))
        spool.append(recent(clock, 5))
    assert len(caplog.records) == 1
    spool.close()


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 5)),
    st.tuples(st.just("release"), st.integers(0, 30)),
    st.tuples(st.just("restart"), st.just(0)),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=st.lists(STEPS, max_size=12))
def test_every_window_is_waiting_released_or_refused(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """appended = waiting + released + refused, whatever happens in between; sequences only rise."""
    clock = Clock()
    path = tmp_path_factory.mktemp("spool")
    spool = open_spool(path, clock, max_bytes=700)
    waiting: list[int] = []
    highest = refused = 0
    for step, number in steps:
        if step == "append":
            got = spool.append(recent(clock, number))
            assert got == list(range(highest + 1, highest + 1 + len(got)))
            highest += len(got)
            waiting += got
            refused += number - len(got)
        elif step == "release":
            spool.release(number)
            waiting = [sequence for sequence in waiting if sequence > number]
        else:
            spool.close()
            spool = open_spool(path, clock, max_bytes=700)
        assert sequences(spool) == waiting
        assert spool.pending()[0] == len(waiting)
        assert sum(spool.state().refused_windows.values()) == refused
    spool.close()
