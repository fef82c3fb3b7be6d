"""What the demo shows: in place on a terminal; printed at once, and then rarely, elsewhere."""

import io

from rich.console import Console

from gputally.demo.fill import Progress
from gputally.demo.screen import Screen

HALF = Progress(1_500, 3_000)


class Terminal:
    """A screen on a terminal of 100 columns, or on something else, and all that was written to it."""

    def __init__(self, *, terminal: bool) -> None:
        self._written = io.StringIO()
        console = Console(file=self._written, force_terminal=terminal, width=100, legacy_windows=False)
        self.screen = Screen(console)
        self.asked: list[int | None] = []

    @property
    def text(self) -> str:
        return self._written.getvalue()

    def table(self, width: int | None) -> str:
        self.asked.append(width)
        return f"table {len(self.asked)}\n"


def test_elsewhere_the_first_table_is_printed_at_once_and_later_ones_rarely() -> None:
    """A log does not fill with the same table every two seconds."""
    out = Terminal(terminal=False)
    out.screen.show(HALF, out.table)
    assert out.text == "table 1\nback-filling, newest day first: 1,500 of 3,000 node-minutes\n"
    for _ in range(10):
        out.screen.show(HALF, out.table)
    assert out.text.count("table") == 3
    assert out.asked == [None] * 3, "as wide as it needs to be"


def test_a_terminal_has_every_table_in_its_width_with_a_bar() -> None:
    out = Terminal(terminal=True)
    for _ in range(3):
        out.screen.show(HALF, out.table)
    out.screen.close()
    assert out.asked == [100] * 3
    for shown in ("table 3", "1,500 of 3,000", "━"):
        assert shown in out.text


def test_a_line_stays_as_it_is_however_long() -> None:
    """Addresses are copied from it: they are neither wrapped nor read as markup."""
    line = "metrics: http://127.0.0.1:9857/metrics [bold]" + "x" * 100
    for terminal in (True, False):
        out = Terminal(terminal=terminal)
        out.screen.say(line)
        assert line in out.text


def test_a_complete_month_is_said_to_be_complete() -> None:
    for progress in (Progress(3_000, 3_000), Progress(0, 0)):
        out = Terminal(terminal=False)
        out.screen.show(progress, out.table)
        assert "the month so far is complete" in out.text


def test_a_back_fill_that_failed_says_why() -> None:
    """Whatever it had done before: an error is never shown as progress."""
    out = Terminal(terminal=False)
    out.screen.show(Progress(3_000, 3_000, "the back-fill ended: disk full"), out.table)
    assert "the back-fill ended: disk full" in out.text
    assert "complete" not in out.text


def test_closing_what_never_showed_anything_is_harmless() -> None:
    for terminal in (True, False):
        out = Terminal(terminal=terminal)
        out.screen.close()
        assert "table" not in out.text
