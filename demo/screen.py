"""What the demo shows: how far the back-fill is, and the namespace table, again and again."""

from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gputally.demo.fill import Progress

_PLAIN_EVERY = 5  # without a terminal a refresh cannot replace the last one, so it comes more rarely


class Screen:
    """Draws in place on a terminal; elsewhere it prints, the first time at once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        self._shown = 0

    def say(self, text: str) -> None:
        """Text that stays above the table, as it is: addresses are copied from it."""
        self._console.print(Text(text), soft_wrap=True)

    def show(self, progress: Progress, table: Callable[[int | None], str]) -> None:
        """The table as it is now; `table` draws it for a width."""
        self._shown += 1
        if self._live:
            self._live.start()
            self._live.update(self._page(progress, table(self._console.width)), refresh=True)
        elif self._shown % _PLAIN_EVERY == 1:
            self._console.print(Text(table(None) + _words(progress)), soft_wrap=True)

    def close(self) -> None:
        """Leave the last table on the terminal."""
        if self._live:
            self._live.stop()

    def _page(self, progress: Progress, table: str) -> RenderableType:
        bar = Table.grid(padding=(0, 1))
        if progress.total:
            bar.add_row(ProgressBar(progress.total, progress.done, width=16), Text(_words(progress)))
        return Group(Text(table.rstrip()), bar)


def _words(progress: Progress) -> str:
    if progress.error:
        return progress.error
    if progress.done >= progress.total:
        return "the month so far is complete; the nodes go on live"
    return f"back-filling, newest day first: {progress.done:,} of {progress.total:,} node-minutes"
