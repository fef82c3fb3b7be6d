"""Sources of values as rules write them: `label ray.io/cluster`, or that with a pattern, or several to try in turn."""

import re

from gputally.collector.files.yaml_file import Fields, Items, Mistakes, Node, as_fields, as_text, required
from gputally.collector.workloads.pattern import BadPattern, compile_pattern
from gputally.collector.workloads.pod import LONGEST, VARIABLES
from gputally.collector.workloads.source import KEYED, Place, Reading, Source

_FORM = ("from", "pattern", "without")
_MOST_KEY = 2 * LONGEST  # a prefix, a slash and a name


def read_sources(node: Node, what: str, mistakes: Mistakes) -> tuple[Source, ...]:
    """One source or a list of them, of which the first that has a value counts."""
    nodes = node.items if isinstance(node, Items) else (node,)
    found = tuple(source for one in nodes if (source := _source(one, what, mistakes)) is not None)
    if not nodes:
        mistakes.add(node.line, f"{what}: expected where it is taken from, such as label team")
    return found


def read_pattern(node: Node, mistakes: Mistakes) -> re.Pattern[str] | None:
    """A pattern that cannot take long."""
    text = as_text(node, "pattern", mistakes)
    if text is None:
        return None
    try:
        return compile_pattern(text)
    except BadPattern as error:
        mistakes.add(node.line, f"pattern {text}: {error}")
        return None


def known_variable(name: str, line: int, mistakes: Mistakes) -> bool:
    """Whether it is on the list of variables that are looked at."""
    if name not in VARIABLES:
        mistakes.add(line, f"variable {name}: looked at are only {', '.join(VARIABLES)}")
    return name in VARIABLES


def _source(node: Node, what: str, mistakes: Mistakes) -> Source | None:
    if not isinstance(node, Fields):
        reading = _reading(node, what, mistakes)
        return None if reading is None else Source(reading)
    fields = as_fields(node, what, _FORM, mistakes)
    if fields is None:
        return None
    reading = required(fields, "from", lambda given: _reading(given, what, mistakes), mistakes)
    pattern, without = fields.get("pattern"), fields.get("without")
    if reading is None:
        return None
    return Source(
        reading,
        None if pattern is None else read_pattern(pattern, mistakes),
        None if without is None else _reading(without, "without", mistakes),
    )


def _reading(node: Node, what: str, mistakes: Mistakes) -> Reading | None:
    text = as_text(node, what, mistakes)
    if text is None:
        return None
    place, key = _split(text)
    if place is None or len(key) > _MOST_KEY:
        words = ", ".join(f"{one} KEY" if one in KEYED else one for one in Place)
        mistakes.add(node.line, f"{what}: {text} says not where it is taken from; known are {words}")
        return None
    if place is Place.VARIABLE and not known_variable(key, node.line, mistakes):
        return None
    return Reading(place, key)


def _split(text: str) -> tuple[Place | None, str]:
    for place in Place:
        if place not in KEYED and text == place:
            return place, ""
        key = text.removeprefix(f"{place} ")
        if place in KEYED and key != text and key.strip():
            return place, key.strip()
    return None, ""
