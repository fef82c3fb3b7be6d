"""The meter where the wall clock is set, or stands still while the machine sleeps."""

from itertools import pairwise

from tests.ticked_node import HOST, MINUTE, T0, A, Node, S

from gputally.accounting.invariants import violations
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.reservations.holders import Grant


def test_a_clock_stepped_forward_cuts_the_window_and_bills_no_skipped_time() -> None:
    node = Node()
    node.hold()
    node.run(11)
    node.wall_offset += 600 * S
    node.run(11)
    node.stop()
    assert [w.end_us - w.start_us for w in node.windows] == [10 * S, 10 * S]
    assert [w.skipped_us for w in node.windows] == [0, 600 * S]


def test_a_clock_set_back_bills_nothing_twice_and_says_how_long_it_waited() -> None:
    node = Node()
    node.hold()
    node.run(11)
    node.wall_offset -= 20 * S
    node.run(1)
    assert node.meter.problem.startswith("the clock was set back")
    node.run(39)
    assert node.meter.problem == ""
    node.stop()
    first, second = node.windows
    assert second.start_us > first.end_us
    assert second.waited_us == 21 * S
    assert second.start_us - first.end_us <= S


def test_a_restart_with_a_clock_set_back_bills_nothing_twice_and_says_how_long_it_waited() -> None:
    """The agent before sent windows up to there; this one holds its time until the clock has passed that."""
    settings = MeterSettings("c", "n")
    meter = Meter(settings, lambda _process, _held: (HOST,), kubernetes=True, sent_us=T0 + 90 * S)
    node = Node(meter)
    node.hold(Grant(A, ("GPU-0",)))
    node.run(91, 50)
    why = "the clock was set back, to time that was counted before: GPU time counts again from 2023-11-14 22:14:30 UTC"
    assert meter.problem == why
    node.run(109, 50)
    assert meter.problem == ""
    first = node.windows[0]
    assert (first.start_us, first.end_us) == (T0 + 91 * S, T0 + 2 * MINUTE)
    assert (first.waited_us, first.skipped_us) == (91 * S, 0)
    assert {window.waited_us for window in node.windows[1:]} == {0}


def test_a_restart_with_a_right_clock_waits_for_nothing() -> None:
    settings = MeterSettings("c", "n")
    node = Node(Meter(settings, lambda _process, _held: (HOST,), kubernetes=True, sent_us=T0 - S))
    node.run(70)
    assert (node.windows[0].start_us, node.windows[0].waited_us) == (T0, 0)


def test_a_leap_to_the_future_and_back_does_not_stop_the_node_for_years() -> None:
    """What it made in the future is nobody's time; what is counted after it was undone goes on from now."""
    node = Node()
    node.run(30)
    node.wall_offset += 365 * 86_400 * S
    node.run(90)
    node.wall_offset -= 365 * 86_400 * S
    node.run(200)
    now = [window for window in node.windows if window.end_us < T0 + 86_400 * S]
    assert now[0].end_us == T0 + 29 * S
    assert now[1].start_us == T0 + 120 * S
    assert all(before.end_us <= after.start_us for before, after in pairwise(now))
    assert now[-1].end_us >= T0 + 5 * MINUTE
    assert [violation for window in node.windows for violation in violations(window)] == []


def test_a_suspended_machine_is_a_gap_that_nobody_observed() -> None:
    """Both clocks go on while it sleeps, so no clock was stepped: the time is there, and unobserved, on its holder."""
    node = Node()
    node.hold(Grant(A, ("GPU-0",)))
    node.run(90, 50)
    node.now += 3600
    node.run(90, 50)
    assert all(before.end_us == after.start_us for before, after in pairwise(node.windows))
    assert {(window.skipped_us, window.waited_us) for window in node.windows} == {(0, 0)}
    lines = [line for window in node.windows for device in window.devices for line in device.lines]
    assert abs(sum(line.unobserved_us for line in lines) - 3600 * S) <= 15 * S
    assert {line.key.owner for line in lines} == {A}


def test_steps_of_the_clock_that_undo_each_other_skip_nothing_and_the_wait_is_told() -> None:
    node = Node()
    node.hold()
    node.run(11)
    node.wall_offset -= 20 * S
    node.run(5)
    node.wall_offset += 20 * S
    node.run(11)
    node.stop()
    first, second = node.windows
    assert second.start_us - first.end_us == 6 * S
    assert (second.skipped_us, second.waited_us) == (0, 6 * S)
