"""Reading again and again: what was known stays while the database is away, and an error is nobody's silence."""

import threading
from collections.abc import Callable

import pytest
from tests.collector.top.facts import facts, standing

from gputally.collector.top.facts import Facts
from gputally.collector.top.poll import CannotRead, News, Poll

FACTS = facts([standing(idle=60)])


class Database:
    """Gives facts, or what it is told to raise; `stop` ends whoever reads after so many readings."""

    def __init__(self, stop: threading.Event | None = None, last: int = 0) -> None:
        self.error: Exception | None = None
        self.count = 0
        self._stop = stop
        self._last = last

    def read(self) -> Facts:
        self.count += 1
        if self._stop and self.count >= self._last:
            self._stop.set()
        if self.error:
            raise self.error
        return FACTS


def test_what_was_known_stays_while_the_database_is_away_with_why() -> None:
    database = Database()
    poll = Poll(database.read, 5)
    assert poll.news == News()
    poll.turn()
    assert poll.news == News(FACTS, "", 1)
    database.error = CannotRead("connection refused")
    poll.turn()
    assert poll.news == News(FACTS, "connection refused", 2)
    database.error = None
    poll.turn()
    assert poll.news == News(FACTS, "", 3)


def test_it_reads_until_it_is_told_to_stop_whether_or_not_it_can() -> None:
    stop = threading.Event()
    database = Database(stop, last=4)
    database.error = CannotRead("away")
    poll = Poll(database.read, 0)
    poll.run(stop)
    poll.check()
    assert (database.count, poll.news.turns) == (4, 4)


@pytest.mark.parametrize("error", [ValueError("another zone"), SystemError()])
def test_what_no_waiting_mends_ends_it_and_is_raised_where_somebody_looks(error: Exception) -> None:
    database = Database()
    database.error = error
    poll = Poll(database.read, 0)
    run: Callable[[threading.Event], None] = poll.run
    run(threading.Event())
    with pytest.raises(type(error)):
        poll.check()
    assert database.count == 1
