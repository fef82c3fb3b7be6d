"""The ledger is settled again and again, and a database that fails does not end that."""

import threading

import pytest
from sqlalchemy.exc import OperationalError

from gputally.collector.ledger.settler import Settler

DEADLINE_S = 60


class Hours:
    """Hours that wait; `failing` makes the database fail. Says when it was asked."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        self.failing = False
        self.asked = threading.Event()

    def settle(self) -> int:
        self.asked.set()
        if self.failing:
            raise OperationalError("SELECT", {}, Exception("the server went away\nand more"))
        done, self.waiting = self.waiting, 0
        return done


def test_what_waits_is_settled_and_counted() -> None:
    settler = Settler(Hours(3).settle, 1)
    settler.turn()
    settler.turn()
    assert (settler.settled, settler.last_error) == (3, "")


def test_a_failure_is_told_in_one_line_until_it_is_over() -> None:
    hours = Hours(2)
    settler = Settler(hours.settle, 1)
    hours.failing = True
    settler.turn()
    assert "the server went away" in settler.last_error
    assert "\n" not in settler.last_error
    hours.failing = False
    settler.turn()
    assert (settler.settled, settler.last_error) == (2, "")


def test_the_thread_goes_on_after_a_failure_and_ends_when_closed() -> None:
    hours = Hours(1)
    hours.failing = True
    settler = Settler(hours.settle, 0.001)
    settler.start()
    for _ in range(2):
        assert hours.asked.wait(DEADLINE_S)
        hours.asked.clear()
    settler.close(DEADLINE_S)
    assert not any(thread.name == "settler" for thread in threading.enumerate())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_by_itself_is_told() -> None:
    """Nobody would settle any more, and nothing else would say so."""
    settler = Settler(lambda: {}["a mistake of ours"], 0.001)
    settler.start()
    settler._thread.join(DEADLINE_S)
    assert settler.last_error == "the settler has ended"


def test_closing_what_never_started_is_harmless() -> None:
    settler = Settler(Hours(0).settle, 1)
    settler.close(DEADLINE_S)
    assert settler.last_error == "", "it has not ended: it never began"
