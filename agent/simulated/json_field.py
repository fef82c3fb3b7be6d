"""A walk over a JSON document that notes every mistake with its place, so that all are told at once."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Field:
    """A value of the document, where it stands (`pods[1].name`), and the list to which mistakes are added.

    Each reader gives a harmless value of its type after a mistake, so that the walk goes on.
    """

    value: Any
    where: str
    mistakes: list[str]

    def wrong(self, what: str) -> None:
        """Note a mistake at this place."""
        self.mistakes.append(f"{self.where or 'the file'}: {what}")

    def object(self, required: Sequence[str] = (), optional: Sequence[str] = ()) -> "dict[str, Field]":
        """The fields of an object; unknown and missing names are mistakes."""
        fields = dict(self.entries())
        known = (*required, *optional)
        for name in fields.keys() - set(known):
            fields[name].wrong(f"there is no such field{_nearest(name, known)}")
        for name in required:
            if isinstance(self.value, Mapping) and name not in fields:
                self.wrong(f"`{name}` is missing")
        return {name: field for name, field in fields.items() if name in known}

    def entries(self) -> "Iterator[tuple[str, Field]]":
        """The (name, field) pairs of an object whose names are free."""
        if not isinstance(self.value, Mapping):
            self.wrong(f"should be an object, is {_kind(self.value)}")
            return
        for name, value in self.value.items():
            yield name, Field(value, f"{self.where}.{name}" if self.where else name, self.mistakes)

    def items(self) -> "list[Field]":
        """The fields of a list."""
        if not isinstance(self.value, list):
            self.wrong(f"should be a list, is {_kind(self.value)}")
            return []
        return [Field(value, f"{self.where}[{i}]", self.mistakes) for i, value in enumerate(self.value)]

    def text(self) -> str:
        """A text that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            self.wrong(f"should be a text, is {_kind(self.value)}")
            return "?"
        return self.value

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            self.wrong(f"should be true or false, is {_kind(self.value)}")
            return True
        return self.value

    def whole(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        if isinstance(self.value, float):
            self.wrong(f"should be a whole number, is {self.value}")
            return low
        return int(self.number(low, high))

    def number(self, low: float, high: float) -> float:
        """A number in [low, high]."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.wrong(f"should be a number, is {_kind(self.value)}")
            return low
        if not low <= self.value <= high:
            self.wrong(f"should be between {low:g} and {high:g}, is {self.value}")
            return low
        return self.value


def parse_json(text: str, mistakes: list[str]) -> Field:
    """The document as a Field; a text that is not JSON, and a name that stands twice in an object, are mistakes."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        mistakes.extend(f"the file: `{name}` stands twice in one object" for name in {*names} if names.count(name) > 1)
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except ValueError as error:
        mistakes.append(f"the file is not JSON: {error}")
        value = {}
    return Field(value, "", mistakes)


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean `{near[0]}`?" if near else f"; there are {', '.join(known)}"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "true or false", str: f"the text {value!r}", list: "a list", dict: "an object"}
    return names.get(type(value), f"the number {value}")
