"""A rate card from YAML: every mistake with its line, or the whole card."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo

from gputally.collector.files.effective import read_validity
from gputally.collector.files.yaml_file import (
    Fields,
    FileMistakes,
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
from gputally.collector.rates.card import NANO, Card, Match, Quantity, Rule, model_key, profile_key

_TOP = ("version", "currency", "models", "prices", "energy", "carbon")
_MATCH = ("namespace", "team", "profile", "model", "node_labels", "cluster")
_SECTIONS: dict[str, tuple[Quantity, ...]] = {
    "prices": (Quantity.GPU_HOUR,),
    "energy": (Quantity.KWH, Quantity.PUE),
    "carbon": (Quantity.CARBON,),
}
# Digits after the point: a price per kWh times a PUE is still an exact integer of 10⁻⁹.
_DECIMALS = {Quantity.GPU_HOUR: 9, Quantity.KWH: 6, Quantity.PUE: 3, Quantity.CARBON: 6}
_LEAST = {Quantity.PUE: Decimal(1)}
_MOST = {Quantity.PUE: Decimal(10)}
_MOST_VALUE = Decimal(1_000_000_000)
_NUMBER = re.compile(r"\d{1,10}(\.\d{1,18})?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


def parse_card(content: bytes, zone: ZoneInfo) -> Card:
    """The card of a file; raises FileMistakes with everything that is wrong in the way it is written.

    What its rules say together is `check`'s to judge.
    """
    mistakes = Mistakes()
    card = read_card(content, zone, mistakes)
    if card is None or mistakes:
        raise FileMistakes(mistakes.all)
    return card


def read_card(content: bytes, zone: ZoneInfo, mistakes: Mistakes) -> Card | None:
    """What can be read of a card, so that a check can go on; None where nothing can."""
    node = parse_yaml(content, mistakes)
    if node is None and not mistakes:
        mistakes.add(1, "the file is empty")
    top = as_fields(node, "a rate card", _TOP, mistakes)
    if top is None:
        return None
    check_version(top, mistakes)
    models = _models(top.get("models"), mistakes)
    rules = [rule for section in _SECTIONS for rule in _rules(top, section, models, zone, mistakes)]
    currency = required(top, "currency", lambda given: _currency(given, mistakes), mistakes)
    return Card(currency or "", models, tuple(rules))


def _currency(node: Node, mistakes: Mistakes) -> str | None:
    text = as_text(node, "currency", mistakes)
    if text is not None and not _CURRENCY.fullmatch(text):
        mistakes.add(node.line, f"currency {text}: expected three capital letters of ISO 4217, such as EUR")
    return text


def _models(node: Node | None, mistakes: Mistakes) -> dict[str, str]:
    """Key -> canonical name; a model's own name is one of its spellings."""
    if node is not None and not isinstance(node, Fields):
        mistakes.add(node.line, "models: expected a name and its other spellings, such as h100: [NVIDIA H100 PCIe]")
        return {}
    found: dict[str, str] = {}
    for name, spellings in node.fields if node else ():
        texts = as_texts(spellings, f"models: {name.text}", mistakes)
        for key in dict.fromkeys(map(model_key, (name.text, *texts))):
            other = found.setdefault(key, name.text)
            if other != name.text:
                mistakes.add(name.line, f"models: {name.text} and {other} share the spelling {key}")
    return found


def _rules(top: Fields, section: str, models: dict[str, str], zone: ZoneInfo, mistakes: Mistakes) -> Iterator[Rule]:
    quantities = _SECTIONS[section]
    known = ("match", "valid_from", "valid_to", "note", *quantities)
    for item in as_items(top.get(section), section, mistakes):
        fields = as_fields(item, f"an entry of {section}", known, mistakes)
        if fields is None:
            if isinstance(item, Scalar) and item.null:
                mistakes.add(item.line, f"an entry of {section} is empty")
            continue
        yield from _entry(fields, quantities, models, zone, mistakes)


def _entry(
    fields: Fields, quantities: Sequence[Quantity], models: dict[str, str], zone: ZoneInfo, mistakes: Mistakes
) -> Iterator[Rule]:
    match = _match(fields.get("match"), models, mistakes)
    validity = read_validity(fields, zone, mistakes)
    note = as_text(fields.get("note"), "note", mistakes) or ""
    given = [(quantity, node) for quantity in quantities if (node := fields.get(quantity)) is not None]
    if not given:
        mistakes.add(fields.line, f"{' or '.join(quantities)} is missing")
    for quantity, node in given:
        value = _value(node, quantity, mistakes)
        if match is not None and validity is not None and value is not None:
            yield Rule(quantity, match, value, *validity, fields.line, note)


def _match(node: Node | None, models: dict[str, str], mistakes: Mistakes) -> Match | None:
    if node is None:
        return Match()
    fields = as_fields(node, "match", _MATCH, mistakes)
    if fields is None:
        return None
    texts = {name: as_text(fields.get(name), name, mistakes) for name in _MATCH if name != "node_labels"}
    if texts["model"] is not None:
        key = model_key(texts["model"])
        texts["model"] = models.get(key, key)
    if texts["profile"] is not None:
        texts["profile"] = profile_key(texts["profile"])
    return Match(**texts, node_labels=_labels(fields.get("node_labels"), mistakes))


def _labels(node: Node | None, mistakes: Mistakes) -> tuple[tuple[str, str], ...]:
    if node is None:
        return ()
    if not isinstance(node, Fields):
        mistakes.add(node.line, "node_labels: expected labels and their values")
        return ()
    # A label's value may be empty, as it often is in Kubernetes; then it must be written as "".
    for name, value in node.fields:
        if not isinstance(value, Scalar) or value.null:
            mistakes.add(name.line, f'node_labels: {name.text}: expected a text ("" for an empty one)')
    return tuple(sorted((name.text, value.text) for name, value in node.fields if isinstance(value, Scalar)))


def _value(node: Node, quantity: Quantity, mistakes: Mistakes) -> int | None:
    """The exact value of what was written; None where it is none."""
    text = as_text(node, quantity, mistakes)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        mistakes.add(node.line, f"{quantity} {text}: expected a number such as 2.50, not negative, without a unit")
        return None
    value, decimals = Decimal(text), _DECIMALS[quantity]
    least, most = _LEAST.get(quantity, Decimal(0)), _MOST.get(quantity, _MOST_VALUE)
    if not least <= value <= most:
        mistakes.add(node.line, f"{quantity} {text}: expected {least} to {most}")
        return None
    if value % Decimal(1).scaleb(-decimals):
        mistakes.add(node.line, f"{quantity} {text}: at most {decimals} digits after the point")
        return None
    return int(value * NANO)
