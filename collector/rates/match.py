"""Which rule holds for a use at an instant: the most specific that matches and is in force.

Specificity compares, in this order, whether a rule names a namespace, a team, a partition profile, a model, how many
node labels it names, and whether it names a cluster: what was negotiated with somebody beats what a thing costs, which
beats where it stands. Two different rules that match one use and are equal in all of it name different node labels;
that is a tie, which `check` reports and `apply` refuses, so the order is total on every card that was applied.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from gputally.collector.files.effective import Series
from gputally.collector.rates.card import Card, Match, Quantity, Rule, Use, profile_key

Specificity = tuple[bool, bool, bool, bool, int, bool]
_MOST_CACHED = 100_000  # uses that a card tells apart; a fleet has far fewer


def specificity(match: Match) -> Specificity:
    """Greater is more specific."""
    return (
        match.namespace is not None,
        match.team is not None,
        match.profile is not None,
        match.model is not None,
        len(match.node_labels),
        match.cluster is not None,
    )


def mismatches(match: Match, use: Use) -> list[str]:
    """What keeps a rule from a use (in the card's names, see `Book.named`), for people; empty where it matches."""
    found = []
    for name, asked in match.plain:
        given = getattr(use, name)
        if asked is not None and asked != given:
            found.append(f"{name} is {given or ('none' if name == 'profile' else 'unknown')}, not {asked}")
    labels = dict(use.node_labels)
    for name, asked in match.node_labels:
        if labels.get(name) != asked:
            found.append(f"node label {name} is {labels.get(name, 'absent')}, not {asked}")
    return found


def matches(match: Match, use: Use) -> bool:
    """Whether a rule matches a use (in the card's names, see `Book.named`)."""
    if any(asked is not None and asked != getattr(use, name) for name, asked in match.plain):
        return False
    return not match.node_labels or set(match.node_labels) <= set(use.node_labels)


@dataclass(frozen=True)
class Shelf:
    """The rules of one quantity that have one match, over time."""

    match: Match
    series: Series[Rule]

    @cached_property
    def order(self) -> tuple[Specificity, tuple[tuple[str, str], ...]]:
        """By specificity; the labels make the order the same everywhere even on a card that has ties."""
        return specificity(self.match), self.match.node_labels


class Book:
    """A card, ready to be asked. Answers are kept for each use that the card tells apart."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self._shelves = {quantity: _shelves(card.rules, quantity) for quantity in Quantity}
        self._namespaces = {rule.match.namespace for rule in card.rules}
        self._teams = {rule.match.team for rule in card.rules}
        self._asks = frozenset(name for rule in card.rules for name, asked in rule.match.plain if asked is not None)
        self._labels = {name for rule in card.rules for name, _ in rule.match.node_labels}
        self._found: dict[tuple[Quantity, Use], tuple[Shelf, ...]] = {}
        self._named: dict[tuple[str, str], tuple[str, str]] = {}

    @property
    def asks(self) -> frozenset[str]:
        """The plain fields of a match that any rule names."""
        return self._asks

    @property
    def asks_namespaces(self) -> bool:
        """Whether any rule names a namespace."""
        return bool(self._namespaces - {None})

    @property
    def asks_teams(self) -> bool:
        """Whether any rule names a team."""
        return bool(self._teams - {None})

    @property
    def asks_labels(self) -> bool:
        """Whether any rule names a node label."""
        return bool(self._labels)

    def asked_labels(self, pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Of a node's labels, those that some rule names."""
        return tuple(pair for pair in pairs if pair[0] in self._labels)

    def at(self, quantity: Quantity, use: Use, us: int) -> Rule | None:
        """The rule that holds; None: there is no price, which is not a price of 0."""
        return self.of_reduced(quantity, self.reduced(use), us)

    def of_reduced(self, quantity: Quantity, use: Use, us: int) -> Rule | None:
        """The rule that holds for a use as `reduced` made it."""
        for shelf in self._matching(quantity, use):
            rule = shelf.series.at(us)
            if rule is not None:
                return rule
        return None

    def reduced(self, use: Use) -> Use:
        """The use in the card's own names, without what no rule of it asks for."""
        return Use(
            use.cluster,
            *self._names(use.model, use.profile),
            use.namespace if use.namespace in self._namespaces else None,
            use.team if use.team in self._teams else None,
            self.asked_labels(use.node_labels),
        )

    def named(self, use: Use) -> Use:
        """The use with the card's own names of its model and profile."""
        model, profile = self._names(use.model, use.profile)
        return replace(use, model=model, profile=profile)

    def _names(self, model: str, profile: str) -> tuple[str, str]:
        found = self._named.get((model, profile))
        if found is None:
            if len(self._named) >= _MOST_CACHED:
                self._named.clear()
            found = self._named[model, profile] = (self.card.model(model), profile_key(profile))
        return found

    def shelves(self, quantity: Quantity) -> Sequence[Shelf]:
        """All rules of a quantity by their match, the most specific first."""
        return self._shelves[quantity]

    def breakpoints(self, quantities: Iterable[Quantity]) -> list[int]:
        """The instants at which any rule of the quantities begins or ends, ascending."""
        edges: set[int] = set()
        for quantity in quantities:
            edges.update(*(shelf.series.breakpoints for shelf in self._shelves[quantity]))
        return sorted(edges)

    def _matching(self, quantity: Quantity, use: Use) -> tuple[Shelf, ...]:
        found = self._found.get((quantity, use))
        if found is None:
            if len(self._found) >= _MOST_CACHED:
                self._found.clear()
            found = tuple(shelf for shelf in self._shelves[quantity] if matches(shelf.match, use))
            self._found[quantity, use] = found
        return found


def _shelves(rules: Iterable[Rule], quantity: Quantity) -> tuple[Shelf, ...]:
    by_match: dict[Match, list[Rule]] = defaultdict(list)
    for rule in rules:
        if rule.quantity is quantity:
            by_match[rule.match].append(rule)
    shelves = (Shelf(match, Series(found)) for match, found in by_match.items())
    return tuple(sorted(shelves, key=lambda shelf: shelf.order, reverse=True))
