"""Which message goes next, so that no more than so many go in an hour; what is beyond is told together in the last."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gputally.collector.notify.figures import Frame
from gputally.collector.notify.message import Event, Level, Message
from gputally.collector.web import links

_NAMED = 10  # messages that a digest names; the others it counts


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that waits to be sent, as short as choosing needs it."""

    id: str
    level: Level
    made_us: int
    title: str


def next_of(waiting: Sequence[Waiting], allowed: int) -> Sequence[Waiting]:
    """What goes next where so many may still go: one, or where it is the last, all that wait; none where none may."""
    ordered = sorted(waiting, key=lambda one: (-one.level.rank, one.made_us, one.id))
    if allowed <= 0:
        return []
    return ordered if allowed == 1 else ordered[:1]


def digest(together: Sequence[Waiting], left_out: int, frame: Frame) -> Message:
    """Several messages as one, the same of the same ones; `left_out` counts those that were not even kept."""
    count = len(together) + left_out
    levels = Counter(one.level for one in together)
    told = ", ".join(f"{levels[level]} {level.value}" for level in reversed(Level) if levels[level])
    return Message(
        Event.DIGEST,
        f"digest {together[0].id}",
        max((one.level for one in together), key=lambda level: level.rank),
        max(one.made_us for one in together),
        f"{count} more messages than may be sent in an hour: {told}",
        tuple(_lines(together, left_out)),
        frame.link(links.IDLE),
        {"count": count, "left_out": left_out, "by_level": {level.value: levels[level] for level in Level}},
    )


def _lines(together: Sequence[Waiting], left_out: int) -> Iterator[str]:
    yield from (one.title for one in together[:_NAMED])
    if len(together) > _NAMED:
        yield f"and {len(together) - _NAMED} more"
    if left_out:
        yield f"and {left_out} of which nothing was kept"
