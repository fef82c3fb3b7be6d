"""What the rules of a card say together: ties and overlaps are errors; gaps, and models without a price, warnings."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from zoneinfo import ZoneInfo

from gputally.collector.allocation.period import instant
from gputally.collector.files.effective import gaps, note_overlaps
from gputally.collector.files.yaml_file import Mistake, Mistakes
from gputally.collector.rates.card import Card, Match, Quantity, Rule, Use
from gputally.collector.rates.match import Book, Shelf, specificity
from gputally.collector.rates.parse import read_card
from gputally.collector.settings import nearest


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found. A card with errors cannot be applied; `card` is None where nothing could be read.

    Warnings say what would be unpriced; notes what may well be meant, such as a model that is still to come.
    """

    card: Card | None
    errors: tuple[Mistake, ...]
    warnings: tuple[Mistake, ...]
    notes: tuple[Mistake, ...]


def check(content: bytes, zone: ZoneInfo, fleet: Collection[str] | None, now_us: int) -> Findings:
    """Everything there is to say about a card; `fleet` are NVML's names of the models seen, None: not known."""
    errors, warnings, notes = Mistakes(), Mistakes(), Mistakes()
    card = read_card(content, zone, errors)
    if card is not None:
        book = Book(card)
        for quantity in Quantity:
            _check_quantity(book, quantity, zone, errors, warnings)
        if fleet is not None:
            _check_fleet(book, fleet, now_us, warnings, notes)
    return Findings(card, errors.all, warnings.all, notes.all)


def _check_quantity(book: Book, quantity: Quantity, zone: ZoneInfo, errors: Mistakes, warnings: Mistakes) -> None:
    by_match: dict[Match, list[Rule]] = defaultdict(list)
    for rule in book.card.rules:
        if rule.quantity is quantity:
            by_match[rule.match].append(rule)
    for match, rules in by_match.items():
        note_overlaps(rules, f"{quantity} of {match}", errors)
    for shelf in book.shelves(quantity):
        for before, after in gaps(shelf.series):
            stretch = f"{instant(before.to_us, zone)} to {instant(after.from_us, zone)}"
            warnings.add(after.entry.line, f"{quantity} of {shelf.match}: no rule of its own from {stretch}")
    for tie in ties(book.shelves(quantity)):
        errors.add(
            tie.second.line,
            f"{quantity}: as specific as line {tie.first.line}, and both match a node that has all their labels "
            f"(from {instant(tie.from_us, zone)}): name the labels of both in one more rule",
        )


# Ties


@dataclass(frozen=True, slots=True)
class Tie:
    """Two rules of which neither is more specific, that both match some use at `from_us`."""

    first: Rule
    second: Rule
    from_us: int


def ties(shelves: Sequence[Shelf]) -> Iterator[Tie]:
    """Every pair of shelves that ties somewhere, at the first instant where it does.

    Equally specific matches that can meet have the same plain fields, so only labels tell them apart; a third rule that
    names the labels of both decides between them.
    """
    groups: dict[tuple[object, ...], list[Shelf]] = defaultdict(list)
    for shelf in shelves:
        if shelf.match.node_labels:
            groups[specificity(shelf.match), shelf.match.plain].append(shelf)
    for group in groups.values():
        for one, other in combinations(group, 2):
            if _compatible(one.match, other.match):
                yield from _tie(one, other, shelves)


def _compatible(one: Match, other: Match) -> bool:
    """Whether one node can have the labels of both."""
    labels = dict(one.node_labels)
    return all(labels.get(name, value) == value for name, value in other.node_labels)


def _tie(one: Shelf, other: Shelf, shelves: Sequence[Shelf]) -> Iterator[Tie]:
    """The first instant at which both have a rule in force and nothing decides, if there is one."""
    deciding = [shelf.series for shelf in shelves if _decides(shelf.match, one.match, other.match)]
    edges = one.series.breakpoints.union(other.series.breakpoints, *(series.breakpoints for series in deciding))
    for us in sorted(edges):
        first, second = one.series.at(us), other.series.at(us)
        if first is not None and second is not None and not any(series.at(us) for series in deciding):
            first, second = sorted((first, second), key=lambda rule: rule.line)
            yield Tie(first, second, us)
            return


def _decides(match: Match, one: Match, other: Match) -> bool:
    """Whether a rule wins wherever both match: it asks no more than the two together, and is more specific."""
    asks = {pair for pair in match.plain if pair[1] is not None} | set(match.node_labels)
    known = {pair for pair in one.plain if pair[1] is not None} | set(one.node_labels) | set(other.node_labels)
    return specificity(match) > specificity(one) and asks <= known


# The fleet


def _check_fleet(book: Book, fleet: Collection[str], now_us: int, warnings: Mistakes, notes: Mistakes) -> None:
    card = book.card
    seen = {card.model(name): name for name in sorted(fleet)}
    for rule in card.rules:
        if rule.match.model is not None and rule.match.model not in seen:
            named = rule.match.model in card.models.values()
            hint = "" if named else nearest(rule.match.model, list(seen))
            notes.add(rule.line, f"model {rule.match.model}: not seen in this fleet{hint}")
    asked = {rule.match.model for rule in card.rules if rule.quantity is Quantity.GPU_HOUR}
    for model, name in seen.items():
        if model not in asked and book.at(Quantity.GPU_HOUR, Use("", name), now_us) is None:
            warnings.add(1, f"no rule for {name}, which is in this fleet: its time would be unpriced")
