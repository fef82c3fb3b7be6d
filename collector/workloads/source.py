"""Where a rule takes a value from: a label, an annotation, a variable, the name of an owner or of the pod, itself."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from gputally.collector.workloads.view import View


class Place(StrEnum):
    """What a value is read of, as rules write it before the key."""

    LABEL = "label"
    ANNOTATION = "annotation"
    VARIABLE = "variable"
    OWNER_LABEL = "owner label"  # the nearest owner's that has it
    OWNER_ANNOTATION = "owner annotation"
    OWNER_NAME = "owner name"  # of the outermost owner that is known
    POD_NAME = "pod name"
    SERVICE_ACCOUNT = "service account"
    TEXT = "text"  # the rule itself says it


KEYED = (Place.LABEL, Place.ANNOTATION, Place.VARIABLE, Place.OWNER_LABEL, Place.OWNER_ANNOTATION, Place.TEXT)


@dataclass(frozen=True, slots=True)
class Reading:
    """A place and its key; the key is empty where a place has none."""

    place: Place
    key: str = ""

    def __str__(self) -> str:
        return f"{self.place} {self.key}" if self.key else self.place.value

    def read(self, view: View) -> str | None:
        """The text that stands there, if it can be a name."""
        return view.accept(self._raw(view), self)

    def _raw(self, view: View) -> str | None:
        match self.place:
            case Place.LABEL:
                return view.pod.labels.get(self.key)
            case Place.ANNOTATION:
                return view.pod.annotations.get(self.key)
            case Place.VARIABLE:
                return view.pod.variables.get(self.key)
            case Place.TEXT:
                return self.key
            case Place.POD_NAME:
                return view.pod.name
            case Place.SERVICE_ACCOUNT:
                return view.pod.service_account
            case Place.OWNER_NAME:
                return None if view.chain.last is None else view.chain.last.name
            case Place.OWNER_LABEL | Place.OWNER_ANNOTATION:
                return self._of_owners(view)

    def _of_owners(self, view: View) -> str | None:
        for link in view.chain.links:
            if link.facts is not None:
                texts = link.facts.labels if self.place is Place.OWNER_LABEL else link.facts.annotations
                if self.key in texts:
                    return texts[self.key]
        return None


@dataclass(frozen=True, slots=True)
class Source:
    """A reading and what is taken of it: the pattern's group, or all of a text that the pattern fits.

    `without`: a text at the end, after a dash, that must be there and is cut off.
    """

    reading: Reading
    pattern: re.Pattern[str] | None = None
    without: Reading | None = None

    def take(self, view: View) -> str | None:
        """The value; None where there is none."""
        text = self.reading.read(view)
        if text is not None and self.without is not None:
            text = _cut(text, self.without.read(view))
        if text is None or self.pattern is None:
            return text
        found = self.pattern.fullmatch(text)
        return None if found is None else found.group(self.pattern.groups) or None


def first(sources: Iterable[Source], view: View) -> tuple[str, Reading] | None:
    """The first value that there is, and where it was read."""
    for source in sources:
        text = source.take(view)
        if text is not None:
            return text, source.reading
    return None


def _cut(text: str, end: str | None) -> str | None:
    rest = text.removesuffix(f"-{end}")
    return rest if end is not None and rest and rest != text else None
