"""What remembers the owners of pods, so that the API is asked once for each, and seldom for what it does not tell.

An owner is known by its UID, and its labels and owners are taken to stay as they were when it was read.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from gputally.collector.cluster.watch import ClusterError, NotThere
from gputally.collector.workloads.pod import OwnerFacts, OwnerReference

MOST = 8192  # owners, some KiB each; the one that was not asked for the longest time goes
MOST_KINDS = 256
AGAIN_US = 600_000_000  # what was refused or not there is asked for again after this, by the monotonic clock

_LOG = logging.getLogger(__name__)
V = TypeVar("V")


class _Memory(Generic[V]):
    """Up to `most` answers; one of None counts until its time is over."""

    def __init__(self, most: int, monotonic_us: Callable[[], int]) -> None:
        self._most = most
        self._monotonic_us = monotonic_us
        self._known: OrderedDict[tuple[str, ...], tuple[V | None, int]] = OrderedDict()

    def get(self, key: tuple[str, ...], ask: Callable[[], V | None]) -> V | None:
        """What is remembered, else the answer; an error is not remembered."""
        found = self._known.get(key)
        if found is None or (found[0] is None and found[1] <= self._monotonic_us()):
            found = (ask(), self._monotonic_us() + AGAIN_US)
            self._known[key] = found
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return found[0]


class Plurals:
    """Remembers how the objects of a kind are called in URLs; `ask` raises ClusterError."""

    def __init__(self, ask: Callable[[str, str], str | None], monotonic_us: Callable[[], int]) -> None:
        self._ask = ask
        self._memory: _Memory[str] = _Memory(MOST_KINDS, monotonic_us)

    def __call__(self, api_version: str, kind: str) -> str | None:
        """None where the API has no such kind in namespaces, or does not tell."""
        return self._memory.get((api_version, kind), lambda: _or_none(lambda: self._ask(api_version, kind)))


class Owners:
    """A `Lookup` that asks `read` once for each owner and, where that fails, not again soon for any of its kind.

    A platform whose API is broken, or refuses, holds up the pods of no other.
    """

    def __init__(
        self, read: Callable[[str, OwnerReference], OwnerFacts | None], monotonic_us: Callable[[], int]
    ) -> None:
        self._read = read
        self._monotonic_us = monotonic_us
        self._memory: _Memory[OwnerFacts] = _Memory(MOST, monotonic_us)
        self._failed: OrderedDict[str, int] = OrderedDict()  # kinds, and when

    def __call__(self, namespace: str, reference: OwnerReference) -> OwnerFacts | None:
        """The owner that a reference names in a namespace; None where it is not there or cannot be read."""
        if self._failed.get(reference.key, -AGAIN_US) + AGAIN_US > self._monotonic_us():
            return None
        key = (namespace, reference.key, reference.name, reference.uid)
        try:
            found = self._memory.get(key, lambda: _or_none(lambda: self._read(namespace, reference)))
        except ClusterError as error:
            self._note(reference.key, error)
            return None
        self._failed.pop(reference.key, None)
        return found

    def _note(self, kind: str, error: ClusterError) -> None:
        if kind not in self._failed:
            _LOG.info("owners of the kind %s are not read, so labels are believed: %s", kind, error)
        self._failed[kind] = self._monotonic_us()
        self._failed.move_to_end(kind)
        if len(self._failed) > MOST_KINDS:
            self._failed.popitem(last=False)


def _or_none(ask: Callable[[], V | None]) -> V | None:
    try:
        return ask()
    except NotThere:
        return None
