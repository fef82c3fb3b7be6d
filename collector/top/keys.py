"""What keys do: bytes of a terminal become keys, and a key changes what is shown."""

import re
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum, auto

from gputally.collector.top.draw import Frame, Shown
from gputally.collector.top.rows import By, Sort

HELP = ("q quit", "j/k scroll", "p parts", "sort: c spell", "h cost/h", "s since", "b busy", "m memory", "n name")
SORTS = dict(zip("chsbmn", Sort, strict=True))


class Key(Enum):
    """What a key stands for."""

    QUIT = auto()
    UP = auto()
    DOWN = auto()
    PAGE_UP = auto()
    PAGE_DOWN = auto()
    HOME = auto()
    END = auto()
    BY = auto()


_KEYS: dict[str, Key | Sort] = {
    **dict.fromkeys(("q", "Q"), Key.QUIT),
    **dict.fromkeys(("k", "\x1b[A", "\x1bOA"), Key.UP),
    **dict.fromkeys(("j", "\x1b[B", "\x1bOB"), Key.DOWN),
    **dict.fromkeys(("\x1b[5~", "\x02"), Key.PAGE_UP),
    **dict.fromkeys(("\x1b[6~", "\x06", " "), Key.PAGE_DOWN),
    **dict.fromkeys(("g", "\x1b[H", "\x1b[1~", "\x1bOH"), Key.HOME),
    **dict.fromkeys(("G", "\x1b[F", "\x1b[4~", "\x1bOF"), Key.END),
    "p": Key.BY,
    **SORTS,
}
# An escape sequence is one key, known or not; anything else is a character.
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[@-~]|\x1bO.|.", re.DOTALL)


def keys(typed: bytes) -> Iterator[Key | Sort]:
    """The keys in what was typed; those that mean nothing are left out."""
    for text in _SEQUENCE.findall(typed.decode(errors="replace")):
        if text in _KEYS:
            yield _KEYS[text]


def after(key: Key | Sort, shown: Shown, last: Frame) -> Shown:
    """What is shown after a key, with the frame that was shown before it."""
    if isinstance(key, Sort):
        return replace(shown, sort=key, reverse=key is shown.sort and not shown.reverse, first=0)
    if key is Key.BY:
        return replace(shown, by=By.CONTAINER if shown.by is By.PARTITION else By.PARTITION, first=0)
    page = max(1, last.body or 0)
    moves = {
        Key.UP: -1,
        Key.DOWN: 1,
        Key.PAGE_UP: -page,
        Key.PAGE_DOWN: page,
        Key.HOME: -last.count,
        Key.END: last.count,
    }
    return kept(replace(shown, first=shown.first + moves.get(key, 0)), last)


def kept(shown: Shown, last: Frame) -> Shown:
    """The same without a view past the end."""
    furthest = max(0, last.count - (last.body or 0))
    return replace(shown, first=min(max(0, shown.first), furthest))
