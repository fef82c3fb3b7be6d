"""The view that goes on: new facts, keys and the terminal's size make a new frame."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.console import Console
from rich.live import Live

from gputally.collector.top.draw import Frame, Shown, Size, frame, listed
from gputally.collector.top.facts import Facts
from gputally.collector.top.keys import HELP, Key, after, kept, keys
from gputally.collector.top.poll import News, Poll
from gputally.collector.top.rows import Row
from gputally.collector.top.terminal import Keyboard

_SECOND_US = 1_000_000
_TICK_S = 0.25  # how soon new facts or a new size are seen


class View:
    """What is on the screen: the newest facts, as keys have asked for them."""

    def __init__(self, poll: Poll, shown: Shown, now_us: Callable[[], int], *, typing: bool) -> None:
        self._poll = poll
        self._shown = shown
        self._now_us = now_us
        self._keys = HELP if typing else ("Ctrl-C quits",)
        self._last = Frame((), 0, 0)
        self._rows: tuple[object, Sequence[Row]] = (None, ())

    def state(self, size: Size) -> tuple[object, ...]:
        """What the frame depends on: while this is the same, so is the frame."""
        return (size, self._shown, self._poll.news.turns, self._now_us() // _SECOND_US)

    def frame(self, size: Size) -> Frame:
        """The frame for a terminal's size; nothing is drawn past the last row."""
        news = self._poll.news
        problem = "" if news.turns else "reading the database"
        facts = news.facts.as_of(self._now_us()) if news.facts and news.problem else news.facts
        for _ in range(2):  # a shorter list is drawn again from where it ends
            shown = replace(self._shown, problem=news.problem or problem)
            self._last = frame(facts, self._now_us(), shown, size, self._keys, self._listed(news, facts))
            fitting = kept(self._shown, self._last)
            if fitting == self._shown:
                break
            self._shown = fitting
        return self._last

    def _listed(self, news: News, facts: Facts | None) -> Sequence[Row]:
        """The rows; made anew only where there is news, or where they are to be shown in another way."""
        key = (news.turns, self._shown.by, self._shown.sort, self._shown.reverse)
        if facts is not None and key != self._rows[0]:
            self._rows = key, listed(facts, self._shown)
        return self._rows[1]

    def typed(self, text: bytes) -> bool:
        """What keys change; False when one of them quits."""
        for key in keys(text):
            if key is Key.QUIT:
                return False
            self._shown = after(key, self._shown, self._last)
        return True


def show(console: Console, poll: Poll, view: View, keyboard: Keyboard) -> None:
    """Draw until somebody quits; raises what reading raised, and KeyboardInterrupt."""
    stop = threading.Event()
    thread = threading.Thread(target=poll.run, args=(stop,), name="poll", daemon=True)
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            thread.start()
            going, drawn = True, None
            while going:
                poll.check()
                size = size_of(console)
                if drawn != (drawn := view.state(size)):
                    live.update(view.frame(size).drawn, refresh=True)
                going = view.typed(keyboard.wait(_TICK_S))
    finally:
        stop.set()


def size_of(console: Console) -> Size:
    """The terminal's size now."""
    return Size(console.width, console.height, console.options.ascii_only)
