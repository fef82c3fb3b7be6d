"""uid -> login name: what the machine says now, and what stands while it says nothing."""

import threading

import pytest

from gputally.agent.probe.login_names import LoginNames

MINUTE_US = 60_000_000


class Directory:
    """The machine's users, some of whom a directory elsewhere knows; and a clock."""

    def __init__(self, **names: str) -> None:
        self.names = {int(uid.removeprefix("u")): name for uid, name in names.items()}
        self.asked = 0
        self.now_us = 0
        self.login_names = LoginNames(lambda: self.now_us, self._name_of)

    def _name_of(self, uid: int) -> str:
        self.asked += 1
        return self.names[uid]

    def of(self, uid: int) -> str:
        return self.login_names.of(uid)


def test_a_name_is_asked_for_once_in_ten_minutes() -> None:
    users = Directory(u1000="alice")
    assert [users.of(1000) for _ in range(3)] == ["alice"] * 3
    assert users.asked == 1


def test_a_uid_that_was_given_to_somebody_else_is_that_ones_within_ten_minutes() -> None:
    users = Directory(u1000="alice")
    assert users.of(1000) == "alice"
    users.names[1000] = "bob"
    users.now_us += 10 * MINUTE_US
    assert users.of(1000) == "bob"


def test_a_directory_that_was_away_is_asked_again_after_a_minute() -> None:
    users = Directory()
    assert users.of(1000) == "1000"
    users.names[1000] = "alice"
    assert users.of(1000) == "1000"
    users.now_us += MINUTE_US
    assert users.of(1000) == "alice"


def test_a_directory_that_went_away_takes_no_name_with_it() -> None:
    users = Directory(u1000="alice")
    assert users.of(1000) == "alice"
    users.names.clear()
    users.now_us += 10 * MINUTE_US
    assert users.of(1000) == "alice"


@pytest.mark.parametrize("name", ["", "1001", "j\udcf6rg", "x" * 300, "/" * 100])
def test_a_name_that_is_no_namespace_or_like_anothers_uid_leaves_the_uid(name: str) -> None:
    """One window with a name that is too long for the collector would be refused as a whole."""
    assert Directory(u1000=name).of(1000) == "1000"


def test_a_directory_that_does_not_answer_holds_nobody_up() -> None:
    """A probe that waits for it would be taken for stuck in the driver, and the next one would wait again."""
    asked, free, now = [], threading.Event(), [0]

    def name_of(uid: int) -> str:
        asked.append(uid)
        free.wait(60)
        return "alice"

    users = LoginNames(lambda: now[0], name_of, patience_s=0.01)
    assert [users.of(1000) for _ in range(3)] == ["1000"] * 3
    assert [users.of(uid) for uid in range(20)] == [str(uid) for uid in range(20)]
    assert len(asked) <= 8, "threads that nobody can end are bounded"
    free.set()
    while users.of(1000) != "alice":
        assert threading.active_count() < 20
    free.clear()
    now[0] += 10 * MINUTE_US
    assert users.of(1000) == "alice", "what was known stands"
    free.set()


def test_what_is_remembered_is_bounded() -> None:
    users = Directory(**{f"u{uid}": f"user{uid}" for uid in range(300)})
    for uid in range(300):
        users.of(uid)
    assert users.of(299) == "user299"
    assert users.asked == 300
    users.of(0)
    assert users.asked == 301
