"""Rules: those that say who owns a pod, and those that add what else its metadata tells."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gputally.collector.workloads.source import Reading, Source, first
from gputally.collector.workloads.view import View
from gputally.collector.workloads.workload import CLAIMS, NUMBERS, TEXTS, Claim

NOBODY = "nobody"  # in `above`: the pod has no owner
ANYTHING = "anything"  # in `above`: whoever owns it, also where all of that can be read
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Condition:
    """Something must be there; with `text` just that, with `pattern` one that it fits."""

    reading: Reading
    text: str | None = None
    pattern: re.Pattern[str] | None = None

    def holds(self, view: View) -> bool:
        """Whether it does."""
        found = self.reading.read(view)
        if found is None:
            return False
        if self.pattern is not None:
            return self.pattern.fullmatch(found) is not None
        return self.text is None or found == self.text


@dataclass(frozen=True, slots=True)
class Claimed:
    """When a pod's own metadata are believed about an owner that no reference names.

    `above`: the outermost owner that is known must be one of these kinds, and whether it has an owner cannot be read.
    """

    above: frozenset[str]
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class OwnerRule:
    """Says who owns a pod: an owner of one of the kinds in `owner`, or one that is claimed.

    `kind`: None means the owner's own. `names`: where the name of a claimed owner stands; that of another is known.
    """

    name: str
    platform: str | None
    kind: str | None
    owner: frozenset[str]
    conditions: tuple[Condition, ...]
    claimed: Claimed | None
    names: tuple[Source, ...]
    take: Mapping[str, tuple[Source, ...]]


@dataclass(frozen=True, slots=True)
class FactRule:
    """Adds to what another rule has found: fields that are still unknown."""

    name: str
    conditions: tuple[Condition, ...]
    take: Mapping[str, tuple[Source, ...]]


def holds(conditions: Iterable[Condition], view: View) -> bool:
    """Whether all of them do."""
    return all(condition.holds(view) for condition in conditions)


def taken(take: Mapping[str, tuple[Source, ...]], known: Mapping[str, Any], view: View) -> dict[str, Any]:
    """The fields that are not known yet and have a value now, each as the type that it has in a `Workload`."""
    return dict(_taken(take, known, view))


def _taken(
    take: Mapping[str, tuple[Source, ...]], known: Mapping[str, Any], view: View
) -> Iterator[tuple[str, str | int | Claim]]:
    for name, sources in take.items():
        found = None if name in known else first(sources, view)
        if found is None:
            continue
        text, reading = found
        if name in CLAIMS:
            yield name, Claim(text, str(reading))
        elif name in TEXTS:
            yield name, text
        elif name in NUMBERS and _NUMBER.fullmatch(text):
            yield name, int(text)
