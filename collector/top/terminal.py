"""The terminal's keyboard, key by key; whatever ends the program, the terminal is as it was."""

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

_AT_ONCE = 1024


class Keyboard:
    """What is typed on standard input; without a terminal there, nothing ever is."""

    def __init__(self, file: int | None) -> None:
        self._file = file

    @property
    def there(self) -> bool:
        """Whether anybody can type."""
        return self._file is not None

    def wait(self, seconds: float) -> bytes:
        """What was typed, as soon as there is something; empty after so long without."""
        files = [] if self._file is None else [self._file]
        ready, _, _ = select.select(files, [], [], seconds)
        if not ready:
            return b""
        typed = os.read(ready[0], _AT_ONCE)
        if not typed:
            self._file = None  # its end; from now on only the time passes
        return typed


@contextmanager
def keyboard() -> Iterator[Keyboard]:
    """The keyboard for as long as the block lasts: keys come at once and unseen, Ctrl-C still interrupts.

    Ctrl-Z does nothing: it would leave the shell with the view still on the screen.
    """
    if not sys.stdin.isatty():
        yield Keyboard(None)
        return
    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    try:
        tty.setcbreak(file)
        mode = termios.tcgetattr(file)
        mode[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(file, termios.TCSANOW, mode)
        yield Keyboard(file)
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)
