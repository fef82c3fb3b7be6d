"""A thread may be woken late, with those that it starts, and no other."""

import threading
from pathlib import Path

import pytest

from gputally.agent.timer_slack import may_wake_late


def slack_us() -> int:
    return int(Path(f"/proc/{threading.get_native_id()}/timerslack_ns").read_text()) // 1000


def in_a_thread(*work: object) -> list[int]:
    """What the slack of a new thread is after all of this."""
    found: list[int] = []

    def run() -> None:
        for each in work:
            assert callable(each)
            each()
        found.append(slack_us())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found


@pytest.mark.skipif(not Path("/proc/self/timerslack_ns").exists(), reason="no such setting on this system")
def test_it_is_for_the_thread_that_asks_and_for_those_it_starts() -> None:
    before_us = slack_us()
    inherited: list[int] = []
    assert in_a_thread(lambda: may_wake_late(2_000_000), lambda: inherited.extend(in_a_thread())) == [2_000_000]
    assert inherited == [2_000_000]
    assert slack_us() == before_us


def test_a_system_without_it_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("gputally.agent.timer_slack._THREAD", tmp_path / "thread-self")
    may_wake_late(2_000_000)
    assert list(tmp_path.iterdir()) == []
