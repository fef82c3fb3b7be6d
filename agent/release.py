"""Whether somebody needs the driver for himself: for its upgrade, or for a change of MIG partitions.

A signal asks for it (SIGUSR1, taken back by SIGUSR2), or an annotation on the node. While either stands, nothing here
has the driver open, and the GPUs' time is unobserved.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

ANNOTATION = "gputally.io/release"
_BY_ANNOTATION = f'the node is annotated {ANNOTATION}: "true"; remove that'
_BY_SIGNAL = "SIGUSR1 asked for it; send SIGUSR2"


class Release:
    """Who asks for the driver. Any thread may read it; the node's watch and the signal handlers write it.

    `tell` is called after each change, by whoever made it.
    """

    def __init__(self, tell: Callable[[], object] = lambda: None) -> None:
        self.by_signal = False
        self._by_node = False
        self._tell = tell

    @property
    def reason(self) -> str:
        """Why the driver is to be let go, and how to end that; empty when nobody asks."""
        if self._by_node:
            return _BY_ANNOTATION
        return _BY_SIGNAL if self.by_signal else ""

    def ask(self) -> None:
        """The signal for it came."""
        self.by_signal = True
        self._tell()

    def withdraw(self) -> None:
        """The signal against it came. An annotation stands all the same."""
        self.by_signal = False
        self._tell()

    # What follows is what a watch of this one node writes to.

    def replace(self, asks: Iterable[bool], _now_us: int, /) -> None:
        """Take over the list of nodes, which has this one or none."""
        self._by_node = any(asks)
        self._tell()

    def put(self, asks: bool, _now_us: int, /) -> None:
        """The node is new, or changed."""
        self._by_node = asks
        self._tell()

    def delete(self, _asks: bool, _now_us: int, /) -> None:
        """The node is gone, and its annotation with it."""
        self._by_node = False
        self._tell()


def asks_for_release(node: Mapping[str, Any]) -> bool:
    """Whether a Node object of the API asks for the driver. Any other value than true asks for nothing."""
    annotations = node["metadata"].get("annotations") or {}
    return str(annotations.get(ANNOTATION, "")).lower() == "true"
