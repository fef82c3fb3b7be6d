"""uid -> login name: what the machine says now, and what stands while it says nothing."""

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


def test_what_is_remembered_is_bounded() -> None:
    users = Directory(**{f"u{uid}": f"user{uid}" for uid in range(300)})
    for uid in range(300):
        users.of(uid)
    assert users.of(299) == "user299"
    assert users.asked == 300
    users.of(0)
    assert users.asked == 301
