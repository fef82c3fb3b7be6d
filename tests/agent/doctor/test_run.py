"""Checks are independent and bounded: one that hangs or breaks is a line of its own, and the others stay."""

import threading
from collections.abc import Iterator

from gputally.agent.doctor.finding import Finding, fail, ok
from gputally.agent.doctor.run import Check, run


def fine() -> Iterator[Finding]:
    yield ok("fine", "well")


def test_one_that_hangs_and_one_that_breaks_hide_none_of_the_others() -> None:
    over = threading.Event()

    def hang() -> Iterator[Finding]:
        over.wait(60)
        yield ok("hang", "late")

    def break_down() -> Iterator[Finding]:
        yield ok("break", "so far")
        raise KeyError("items")

    found = run([Check("hang", hang, 0.05), Check("break", break_down, 60), Check("fine", fine, 60)])
    over.set()
    assert found == (
        fail("hang", "no answer within 0.05 s", "what it waits for hangs: see dmesg"),
        fail("break", "the check itself failed: KeyError('items')", "report it, with this line"),
        ok("fine", "well"),
    )


def test_a_check_that_runs_into_a_timeout_of_its_own_is_not_taken_for_one_that_hangs() -> None:
    def time_out() -> Iterator[Finding]:
        raise TimeoutError("a socket")
        yield ok("never", "")

    ((found),) = run([Check("socket", time_out, 60)])
    assert found.found == "the check itself failed: TimeoutError('a socket')"


def test_lines_stand_in_the_order_of_the_checks() -> None:
    first = threading.Event()

    def slow() -> Iterator[Finding]:
        first.wait(60)
        yield ok("slow", "")

    def quick() -> Iterator[Finding]:
        first.set()
        yield ok("quick", "")

    assert [each.check for each in run([Check("slow", slow, 60), Check("quick", quick, 60)])] == ["slow", "quick"]
