"""A YAML file that people write by hand, read so that every mistake can name its line.

Scalars stay the text that was written: a price of 2.50 never becomes a float, a date never a time of the reader's zone.
Size, depth and number of values are bounded; anchors, aliases, tags and duplicate keys are refused. Nothing is
constructed from the file but the three nodes here.
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

MOST_BYTES = 1 << 20
MOST_DEPTH = 8
MOST_VALUES = 200_000
MOST_MISTAKES = 100  # of one file: nobody reads more at once

_NULLS = ("", "~", "null", "Null", "NULL")
# libyaml's parser where PyYAML was built with it: ten times faster on a file of the largest size.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """What is wrong at a line (counted from 1)."""

    line: int
    text: str


class Mistakes:
    """The mistakes of one file, in the order of its lines; bounded, and it says how many more there were."""

    def __init__(self) -> None:
        self._found: list[Mistake] = []
        self._more = 0

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, line: int, text: str) -> None:
        """Note a mistake."""
        if len(self._found) < MOST_MISTAKES:
            self._found.append(Mistake(line, text))
        else:
            self._more += 1

    @property
    def all(self) -> tuple[Mistake, ...]:
        """Every mistake once, by line; a last one that counts what was left out."""
        found = tuple(sorted(set(self._found)))
        return (*found, Mistake(found[-1].line, f"and {self._more} more mistakes")) if self._more else found


class FileMistakes(ValueError):
    """A file that cannot be used; `mistakes` names everything that is wrong with it."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("; ".join(f"line {mistake.line}: {mistake.text}" for mistake in mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text as it was written; `null` where nothing was."""

    line: int
    text: str
    null: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence."""

    line: int
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping; no key comes twice."""

    line: int
    fields: tuple[tuple[Scalar, "Node"], ...]

    def get(self, name: str) -> "Node | None":
        """The value of a key; None where it is missing or null."""
        for key, value in self.fields:
            if key.text == name:
                return None if isinstance(value, Scalar) and value.null else value
        return None


Node = Scalar | Items | Fields
Value = TypeVar("Value")


def parse_yaml(content: bytes, mistakes: Mistakes) -> Node | None:
    """The one document of a file; None where it cannot be read, and then `mistakes` says why."""
    if len(content) > MOST_BYTES:
        mistakes.add(1, f"the file has {len(content)} bytes; accepted are at most {MOST_BYTES}")
        return None
    try:
        return _Builder(yaml.parse(content.decode(), Loader=_LOADER)).document()
    except UnicodeDecodeError as error:
        mistakes.add(content.count(b"\n", 0, error.start) + 1, "the file is not UTF-8")
    except _Refused as refused:
        mistakes.add(refused.line, str(refused))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        last = content.rstrip(b"\n").count(b"\n") + 1  # the parser may find the end missing a line later
        mistakes.add(min(mark.line + 1, last) if mark else 1, f"not YAML: {error.problem or error.context}")
    except yaml.YAMLError as error:  # the reader's, at a character that YAML does not allow
        mistakes.add(1, f"not YAML: {str(error).partition(chr(10))[0]}")
    return None


class _Refused(ValueError):
    """Something YAML allows and we do not."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class _Builder:
    """Nodes from the parser's events, which it makes one by one: the bounds hold before anything is built."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._values = 0

    def document(self) -> Node | None:
        """The first document; None for an empty file. Another one after it is refused."""
        found: Node | None = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                if found is not None:
                    raise _Refused(_line(event), "a second document: one file is one document")
                found = self._node(next(self._events), 0)
        return found

    def _node(self, event: Event, depth: int) -> Node:
        line = _line(event)
        self._values += 1
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
            raise _Refused(line, "anchors and aliases (& and *) are not accepted: write the value out")
        if self._values > MOST_VALUES:
            raise _Refused(line, f"the file has more than {MOST_VALUES} values")
        if depth > MOST_DEPTH:
            raise _Refused(line, f"nested more than {MOST_DEPTH} deep")
        tag = getattr(event, "tag", None)  # None without one; an alias has none either
        if tag:
            raise _Refused(line, f"tags are not accepted: {tag}")
        if isinstance(event, MappingStartEvent):
            return Fields(line, tuple(self._pairs(depth)))
        if isinstance(event, SequenceStartEvent):
            return Items(line, tuple(self._items(depth)))
        assert isinstance(event, ScalarEvent)  # noqa: S101 - narrows the type: no other event begins a node
        return Scalar(line, event.value, null=not event.style and event.value in _NULLS)

    def _items(self, depth: int) -> Iterator[Node]:
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                return
            yield self._node(event, depth + 1)

    def _pairs(self, depth: int) -> Iterator[tuple[Scalar, Node]]:
        seen: set[str] = set()
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                return
            key = self._node(event, depth + 1)
            if not isinstance(key, Scalar):
                raise _Refused(key.line, "a key must be a plain text")
            if key.text in seen:
                raise _Refused(key.line, f"{key.text}: this key is there already")
            seen.add(key.text)
            yield key, self._node(next(self._events), depth + 1)


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark else 1


# What readers of a file ask of its nodes; each notes what is wrong and goes on.


def as_fields(node: Node | None, what: str, known: Sequence[str], mistakes: Mistakes) -> Fields | None:
    """A mapping with none but the known keys; None where it is none."""
    if not isinstance(node, Fields):
        if node is not None:
            mistakes.add(node.line, f"{what}: expected fields ({', '.join(known)})")
        return None
    for key, _ in node.fields:
        if key.text not in known:
            near = difflib.get_close_matches(key.text, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            mistakes.add(key.line, f"unknown field {key.text}: {hint}")
    return node


def as_items(node: Node | None, what: str, mistakes: Mistakes) -> tuple[Node, ...]:
    """The items of a list; none where it is missing or no list."""
    if isinstance(node, Items):
        return node.items
    if node is not None:
        mistakes.add(node.line, f"{what}: expected a list")
    return ()


def as_text(node: Node | None, what: str, mistakes: Mistakes) -> str | None:
    """A text of one line that is not empty; None where it is missing or something else."""
    if node is None:
        return None
    text = node.text.strip() if isinstance(node, Scalar) and not node.null else ""
    if text and text.isprintable():
        return text
    mistakes.add(node.line, f"{what}: expected a text" + (" of one line" if text else ""))
    return None


def as_texts(node: Node | None, what: str, mistakes: Mistakes) -> tuple[str, ...]:
    """The texts of a list."""
    found = (as_text(item, what, mistakes) for item in as_items(node, what, mistakes))
    return tuple(text for text in found if text is not None)


def required(fields: Fields, name: str, read: Callable[[Node], Value | None], mistakes: Mistakes) -> Value | None:
    """What `read` makes of a field that must be there."""
    node = fields.get(name)
    if node is None:
        mistakes.add(fields.line, f"{name} is missing")
        return None
    return read(node)


def check_version(top: Fields, mistakes: Mistakes) -> None:
    """Every file says in which form it is written, so that a later form can be told from this one."""
    version = required(top, "version", lambda node: as_text(node, "version", mistakes), mistakes)
    if version not in (None, "1"):
        mistakes.add(top.line, f"version {version}: this program reads version 1")
