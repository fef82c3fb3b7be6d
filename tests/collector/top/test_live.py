"""The view that goes on: keys, news and the terminal's size change it, and nothing else does."""

from tests.collector.top.facts import NOON_US, facts, standing
from tests.fakes import Clock

from gputally.collector.now.latest import FRESH_US
from gputally.collector.top.draw import Shown, Size
from gputally.collector.top.facts import Facts
from gputally.collector.top.live import View
from gputally.collector.top.poll import CannotRead, Poll

SIZE = Size(80, 24)


class Fleet:
    """So many containers, or a database that is away."""

    def __init__(self, pods: int) -> None:
        self.pods = pods
        self.away = False

    def read(self) -> Facts:
        if self.away:
            raise CannotRead("the database is away")
        return facts([standing(f"train-{at:02}", used=60, uuid=f"GPU-{at}") for at in range(self.pods)])


def viewing(fleet: Fleet, clock: Clock, *, typing: bool = True) -> tuple[Poll, View]:
    poll = Poll(fleet.read, 5)
    return poll, View(poll, Shown(), lambda: NOON_US + clock(), typing=typing)


def text(view: View, size: Size = SIZE) -> str:
    return "\n".join(line.plain for line in view.frame(size).lines)


def test_before_the_first_answer_it_says_what_it_waits_for() -> None:
    _, view = viewing(Fleet(3), Clock())
    assert "reading the database" in text(view)


def test_a_database_that_is_away_from_the_start_is_said_too() -> None:
    fleet = Fleet(3)
    fleet.away = True
    poll, view = viewing(fleet, Clock())
    poll.turn()
    assert "the database is away" in text(view)
    assert "reading" not in text(view)


def test_while_the_database_is_away_what_it_said_last_is_now_only_for_a_while() -> None:
    """Rows of an hour ago would look like rows of now."""
    fleet, clock = Fleet(3), Clock()
    poll, view = viewing(fleet, clock)
    poll.turn()
    fleet.away = True
    poll.turn()
    assert ("3.0 GPUs" in text(view), "silent" in text(view)) == (True, False)
    clock.now_us += FRESH_US + 1
    poll.turn()
    assert "GPUs on" not in text(view)
    assert text(view).count("silent") == 3 + 1


def test_q_quits_and_nothing_else_does() -> None:
    _, view = viewing(Fleet(3), Clock())
    assert view.typed(b"jkhc\x1b[B x")
    assert not view.typed(b"q")


def test_a_frame_is_drawn_again_for_keys_news_a_new_size_and_each_second() -> None:
    clock = Clock()
    poll, view = viewing(Fleet(30), clock)
    poll.turn()
    before = view.state(SIZE)
    clock.now_us += 1
    assert view.state(SIZE) == before
    assert view.state(Size(81, 24)) != before
    text(view)
    view.typed(b"j")
    assert (after := view.state(SIZE)) != before
    poll.turn()
    assert (newer := view.state(SIZE)) != after
    clock.now_us += 1_000_000
    assert view.state(SIZE) != newer


def test_a_list_that_became_shorter_is_shown_from_where_it_ends() -> None:
    fleet = Fleet(60)
    poll, view = viewing(fleet, Clock())
    poll.turn()
    text(view)
    view.typed(b"G")
    assert "train-59" in text(view)
    fleet.pods = 3
    poll.turn()
    assert "train-00" in text(view)
    assert "1–3 of 3" in text(view)


def test_who_cannot_type_is_told_what_ends_it() -> None:
    poll, view = viewing(Fleet(3), Clock(), typing=False)
    poll.turn()
    assert "Ctrl-C quits" in text(view)
    assert "sort:" not in text(view)
