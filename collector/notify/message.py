"""What is told: one message about one thing, in words and in figures, whatever it will be written in."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

NAME_MOST = 120  # characters of a name in a sentence; the figures have all of it


class Event(StrEnum):
    """What a message is about."""

    IDLE_SPELL = "idle-spell"
    BUDGET = "budget"
    DIGEST = "digest"
    TEST = "test"


class Level(StrEnum):
    """How urgent it is. RESOLVED: what was told before is over."""

    WARNING = "warning"
    CRITICAL = "critical"
    RESOLVED = "resolved"

    @property
    def rank(self) -> int:
        """Higher is told first."""
        return (Level.RESOLVED, Level.WARNING, Level.CRITICAL).index(self)


@dataclass(frozen=True, slots=True)
class Message:
    """`subject` is what it is about: a newer message of a subject replaces one that was not sent yet.

    `title` is one line that can stand alone; `lines` say more. `link` is None where the pages' address is not known.
    `details` are the figures, as JSON has them.
    """

    event: Event
    subject: str
    level: Level
    made_us: int
    title: str
    lines: tuple[str, ...] = ()
    link: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The same for each attempt to send it, so that a receiver can leave out what it has."""
        return hashlib.sha256(f"{self.subject}\n{self.level}\n{self.made_us}".encode()).hexdigest()[:32]

    def to_json(self) -> str:
        """As it waits in the database."""
        return json.dumps(asdict(self))

    @staticmethod
    def of_json(text: str) -> "Message":
        """What `to_json` wrote."""
        values = json.loads(text)
        named = {"event": Event(values["event"]), "level": Level(values["level"]), "lines": tuple(values["lines"])}
        return Message(**(values | named))


def printable(name: str) -> str:
    """A name that somebody else chose, with nothing in it that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


def clean(text: str, most: int = NAME_MOST) -> str:
    """A name that somebody else chose, as part of a sentence: one line, nothing invisible, not too long."""
    shown = printable(text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
