"""Rules from YAML: every mistake with its line, or all rules of the file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files

from gputally.collector.files.yaml_file import (
    Fields,
    FileMistakes,
    Items,
    Mistakes,
    Node,
    Scalar,
    as_fields,
    as_items,
    as_text,
    as_texts,
    check_version,
    parse_yaml,
    required,
)
from gputally.collector.workloads.parse_source import known_variable, read_pattern, read_sources
from gputally.collector.workloads.rule import ANYTHING, NOBODY, Claimed, Condition, FactRule, OwnerRule
from gputally.collector.workloads.rule_book import OUTERMOST, POD, RuleBook, Rules
from gputally.collector.workloads.source import Place, Reading, Source
from gputally.collector.workloads.workload import CLAIMS, NUMBERS, TEXTS

MOST_RULES = 500  # of one file
_SHIPPED, _OWN = ("version", "owners", "facts"), ("version", "before", "after", "facts")
_CONDITIONS = ("labels", "annotations", "variables")
_FACT = ("name", "note", *_CONDITIONS, "take")
_OWNER = ("name", "note", "platform", "kind", "owner", *_CONDITIONS, "claimed", "take")
_TAKEN = (*TEXTS, *NUMBERS, *CLAIMS)
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}", re.ASCII)
_KEY = re.compile(r"[A-Z][A-Za-z0-9]{0,62}(\.[a-z0-9][a-z0-9.-]{0,252})?", re.ASCII)


def shipped_book(own: bytes | None = None) -> RuleBook:
    """The rules that ship with the program and those of the user's file; raises FileMistakes for the latter."""
    shipped = parse_shipped(files("gputally.collector.workloads").joinpath("rules.yaml").read_bytes())
    if own is None:
        return RuleBook(shipped)
    taken = {rule.name for rule in shipped.owners} | {rule.name for rule in shipped.facts}
    return RuleBook(shipped, _parse(own, _OWN, taken | {OUTERMOST, POD}))


def parse_shipped(content: bytes) -> Rules:
    """The rules of the file that ships with the program; raises FileMistakes."""
    return _parse(content, _SHIPPED, {OUTERMOST, POD})


def _parse(content: bytes, known: Sequence[str], names: set[str]) -> Rules:
    mistakes = Mistakes()
    node = parse_yaml(content, mistakes)
    if node is None and not mistakes:
        mistakes.add(1, "the file is empty")
    top = as_fields(node, "a file of rules", known, mistakes)
    rules = None if top is None else _Reader(names, mistakes).rules(top)
    if rules is None or mistakes:
        raise FileMistakes(mistakes.all)
    return rules


class _Reader:
    """Reads the rules of one file; the names that it has seen are taken."""

    def __init__(self, names: set[str], mistakes: Mistakes) -> None:
        self._names = set(names)
        self._count = 0
        self._mistakes = mistakes

    def rules(self, top: Fields) -> Rules:
        check_version(top, self._mistakes)
        return Rules(
            self._owners(top, "before" if top.get("owners") is None else "owners"),
            tuple(rule for one in self._entries(top, "facts", _FACT) if (rule := self._fact(one)) is not None),
            self._owners(top, "after"),
        )

    def _owners(self, top: Fields, section: str) -> tuple[OwnerRule, ...]:
        return tuple(rule for one in self._entries(top, section, _OWNER) if (rule := self._owner(one)) is not None)

    def _entries(self, top: Fields, section: str, known: Sequence[str]) -> Iterator[Fields]:
        for item in as_items(top.get(section), section, self._mistakes):
            self._count += 1
            if self._count == MOST_RULES + 1:
                self._mistakes.add(item.line, f"more than {MOST_RULES} rules")
            fields = as_fields(item, f"a rule of {section}", known, self._mistakes)
            if fields is not None:
                yield fields

    def _fact(self, fields: Fields) -> FactRule | None:
        name = self._name(fields)
        conditions = self._conditions(fields)
        if not conditions:
            self._mistakes.add(fields.line, f"a condition is missing ({', '.join(_CONDITIONS)})")
        take = self._take(fields)
        if not take:
            self._mistakes.add(fields.line, "take is missing")
        return None if name is None else FactRule(name, conditions, take)

    def _owner(self, fields: Fields) -> OwnerRule | None:
        name = self._name(fields)
        platform, kind = (as_text(fields.get(key), key, self._mistakes) for key in ("platform", "kind"))
        owner = self._keys(fields.get("owner"), "owner")
        claimed = self._claimed(fields.get("claimed"))
        if not owner and claimed is None:
            self._mistakes.add(fields.line, "owner or claimed is missing")
        if claimed is not None and kind is None:
            self._mistakes.add(fields.line, "kind is missing: an owner that is claimed has none of its own")
        conditions, take, names = self._conditions(fields), self._take(fields), self._claimed_names(fields)
        if name is None:
            return None
        return OwnerRule(name, platform, kind, owner, conditions, claimed, names, take)

    def _name(self, fields: Fields) -> str | None:
        text = required(fields, "name", lambda node: as_text(node, "name", self._mistakes), self._mistakes)
        if text is None:
            return None
        if not _NAME.fullmatch(text):
            self._mistakes.add(fields.line, f"name {text}: expected small letters, digits, dots and dashes")
        elif text in self._names:
            self._mistakes.add(fields.line, f"name {text}: another rule has this name")
        self._names.add(text)
        return text

    def _keys(self, node: Node | None, what: str, words: Sequence[str] = ()) -> frozenset[str]:
        """Kinds with their groups; a single one need not be a list."""
        nodes = node.items if isinstance(node, Items) else (node,) if node is not None else ()
        found = [(one.line, text) for one in nodes if (text := as_text(one, what, self._mistakes)) is not None]
        for line, text in found:
            if text not in words and not _KEY.fullmatch(text):
                self._mistakes.add(line, f"{what} {text}: expected a kind and its API group, such as Job.batch")
        return frozenset(text for _, text in found)

    def _claimed(self, node: Node | None) -> Claimed | None:
        fields = as_fields(node, "claimed", ("above", "name", *_CONDITIONS), self._mistakes)
        if fields is None:
            return None
        above = required(fields, "above", lambda given: self._keys(given, "above", (NOBODY, ANYTHING)), self._mistakes)
        required(fields, "name", lambda given: given, self._mistakes)
        conditions = self._conditions(fields)
        return Claimed(above or frozenset(), conditions)

    def _claimed_names(self, fields: Fields) -> tuple[Source, ...]:
        claimed = fields.get("claimed")
        node = claimed.get("name") if isinstance(claimed, Fields) else None
        return () if node is None else read_sources(node, "name", self._mistakes)

    def _conditions(self, fields: Fields) -> tuple[Condition, ...]:
        return (
            *self._texts(fields.get("labels"), Place.LABEL),
            *self._texts(fields.get("annotations"), Place.ANNOTATION),
            *self._variables(fields.get("variables")),
        )

    def _texts(self, node: Node | None, place: Place) -> Iterator[Condition]:
        if node is None:
            return
        if not isinstance(node, Fields):
            self._mistakes.add(node.line, f"{place}s: expected keys and their texts (nothing: any text)")
            return
        for key, value in node.fields:
            reading = Reading(place, key.text)
            if isinstance(value, Scalar):
                yield Condition(reading, None if value.null else as_text(value, key.text, self._mistakes))
            else:
                yield Condition(reading, pattern=self._pattern(value, key.text))

    def _pattern(self, node: Node, what: str) -> re.Pattern[str] | None:
        fields = as_fields(node, what, ("pattern",), self._mistakes)
        if fields is None:
            return None
        return required(fields, "pattern", lambda given: read_pattern(given, self._mistakes), self._mistakes)

    def _variables(self, node: Node | None) -> Iterator[Condition]:
        for name in as_texts(node, "variables", self._mistakes):
            if node is not None and known_variable(name, node.line, self._mistakes):
                yield Condition(Reading(Place.VARIABLE, name))

    def _take(self, fields: Fields) -> Mapping[str, tuple[Source, ...]]:
        given = as_fields(fields.get("take"), "take", _TAKEN, self._mistakes)
        if given is None:
            return {}
        return {key.text: read_sources(node, key.text, self._mistakes) for key, node in given.fields}
