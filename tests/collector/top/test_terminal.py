"""The keyboard: keys at once and unseen, and a terminal that is as it was afterwards, whatever happened."""

import os
import pty
import sys
import termios
from collections.abc import Iterator

import pytest

from gputally.collector.top.terminal import Keyboard, keyboard


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """A terminal: the end that somebody types at, and the one that is standard input."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r", closefd=False) as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_keys_come_one_by_one_and_unseen(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    with keyboard() as typing:
        assert typing.there
        os.write(ours, b"j")
        assert typing.wait(60) == b"j"
        lines = termios.tcgetattr(theirs)
        assert not lines[3] & termios.ECHO
        assert lines[3] & termios.ISIG, "Ctrl-C still interrupts"
        assert lines[6][termios.VSUSP] == b"\x00", "Ctrl-Z would leave the view on the shell's screen"
        assert typing.wait(0) == b""


def test_the_terminal_is_as_it_was_whatever_happened(terminal: tuple[int, int]) -> None:
    before = termios.tcgetattr(terminal[1])
    with pytest.raises(SystemExit), keyboard():
        sys.exit(130)
    assert termios.tcgetattr(terminal[1]) == before


def test_without_a_terminal_nobody_types(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stdin", nothing)
        with keyboard() as typing:
            assert not typing.there
            assert typing.wait(0) == b""


def test_an_input_that_ends_is_not_asked_again() -> None:
    ours, theirs = os.pipe()
    os.close(theirs)
    typing = Keyboard(ours)
    assert typing.wait(60) == b""
    assert not typing.there
    os.close(ours)
