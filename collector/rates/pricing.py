"""The rate of any posting: the card, the labels of nodes and the teams of namespaces put together, hour by hour.

Two ways to use it. Streaming: ask `at` for each row; the last answers are kept. Aggregating: ask
`changes` for the instants of a period at which anything changes a rate or a team, let the database sum between them,
and ask `at` once for each sum.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gputally.collector.cluster.labels import LabelHistory, Labels, read_nodes
from gputally.collector.files.applied import Applied, Kind, current
from gputally.collector.files.effective import FOREVER_US
from gputally.collector.rates.card import Quantity, Rule, Use
from gputally.collector.rates.changes import Changes, by_name
from gputally.collector.rates.match import Book
from gputally.collector.rates.parse import parse_card
from gputally.collector.teams import Assignment, TeamBook, TeamMapping, read_teams

PRICES = (Quantity.GPU_HOUR, Quantity.KWH, Quantity.PUE)  # carbon may change every hour, which money does not

_MOST_CACHED = 100_000  # postings' keys whose answers are kept
_STRETCHES = 4  # of each key: sums of a month come piece by piece in any order


class Key(NamedTuple):
    """What a posting's rate depends on besides its hour. A namespace of None: the platform, or a process of a host."""

    cluster: str
    node: str
    model: str
    profile: str
    namespace: str | None


@dataclass(frozen=True, slots=True)
class Rate:
    """The rules that hold for a posting; None where the card has none, which is unpriced and not 0."""

    gpu_hour: Rule | None = None
    kwh: Rule | None = None
    pue: Rule | None = None
    carbon: Rule | None = None

    @property
    def price(self) -> int | None:
        """10⁻⁹ of the currency per GPU-hour; None: unpriced."""
        return None if self.gpu_hour is None else self.gpu_hour.value


_NO_RATE = Rate()


@dataclass(frozen=True, slots=True)
class Priced:
    """The rate and the team of a key, over [from_us, to_us)."""

    from_us: int
    to_us: int
    rate: Rate
    team: Assignment


class Pricer:
    """Rates and teams of one card version (None: no card), for the quantities that are asked for."""

    def __init__(
        self,
        card: Applied | None,
        book: Book | None,
        nodes: LabelHistory,
        teams: TeamBook,
        quantities: Sequence[Quantity] = tuple(Quantity),
    ) -> None:
        self.card = card
        self.book = book
        self._nodes = nodes
        self._teams = teams
        self._quantities = frozenset(quantities)
        self._edges = book.breakpoints(quantities) if book else []
        self._known: dict[Key, list[Priced]] = {}
        self._rates: dict[tuple[object, ...], Rate] = {}
        self._assigned: dict[tuple[object, ...], str | None] = {}

    @property
    def currency(self) -> str | None:
        """The card's currency; None without a card."""
        return self.book.card.currency if self.book else None

    @property
    def asks_labels(self) -> bool:
        """Whether a price may depend on which node it is."""
        return self.book is not None and self.book.asks_labels

    @property
    def asks_whose(self) -> bool:
        """Whether a price may depend on whose namespace or team it is."""
        return self.book is not None and (self.book.asks_namespaces or self.book.asks_teams)

    def asks(self, name: str) -> bool:
        """Whether a price may depend on a field of a key, by its name."""
        return self.book is not None and name in self.book.asks

    def has(self, quantity: Quantity) -> bool:
        """Whether the card has any rule of a quantity."""
        return self.book is not None and bool(self.book.shelves(quantity))

    def at(self, key: Key, hour_us: int) -> Priced:
        """What holds for a key in the ledger hour that begins at `hour_us`."""
        for known in self._known.get(key, ()):
            if known.from_us <= hour_us < known.to_us:
                return known
        found = self._priced(key, hour_us)
        self._keep(key, found)
        return found

    def rate(self, key: Key, hour_us: int) -> Rate:
        """The rate that holds for a key: one answer for all keys that the card does not tell apart."""
        if self.book is None:
            return _NO_RATE
        namespace = key.namespace if self.book.asks_namespaces else None
        team = self.team(key, hour_us) if self.book.asks_teams else None
        asked = (key.cluster, key.node, key.model, key.profile, namespace, team, hour_us)
        found = self._rates.get(asked)
        if found is None:
            labels = self.labels(key, hour_us)
            use = Use(key.cluster, key.model, key.profile, namespace, team, labels.pairs if labels else ())
            found = self._rate(use, hour_us)
            if len(self._rates) >= _MOST_CACHED:
                self._rates.clear()
            self._rates[asked] = found
        return found

    def team(self, key: Key, hour_us: int) -> str | None:
        """The team that a key belongs to; None: none is known."""
        asked = (key.cluster, key.namespace, hour_us)
        if asked not in self._assigned:
            if len(self._assigned) >= _MOST_CACHED:
                self._assigned.clear()
            namespace = key.namespace
            self._assigned[asked] = None if namespace is None else self._teams.team(key.cluster, namespace, hour_us)
        return self._assigned[asked]

    def use(self, key: Key, hour_us: int) -> Use:
        """The use that a rate is looked up for."""
        return self._use(key, hour_us, self._team(key, hour_us))

    def over(self, key: Key, start_us: int, end_us: int) -> Iterator[Priced]:
        """What holds for a key over [start_us, end_us), in stretches of which each differs from the one before."""
        for (rate, team), stretches in groupby(self._stretches(key, start_us, end_us), lambda it: (it.rate, it.team)):
            of_rate = list(stretches)
            yield Priced(of_rate[0].from_us, of_rate[-1].to_us, rate, team)

    def _stretches(self, key: Key, start_us: int, end_us: int) -> Iterator[Priced]:
        at = start_us
        while at < end_us:
            found = self.at(key, at)
            yield Priced(at, min(found.to_us, end_us), found.rate, found.team)
            at = found.to_us

    def changes(self, start_us: int, end_us: int, *, of_teams: bool = True) -> Changes:
        """When rates and teams become others within a period: at such an instant sums of time must be cut.

        It may tell more than there are: prices of what nobody used change, too. `of_teams` False: teams matter only
        where a price depends on them.
        """
        always = tuple(us for us in self._edges if start_us < us < end_us)
        teams = of_teams or (self.book is not None and self.book.asks_teams)
        namespaces = self._teams.changes(start_us, end_us) if teams else ()
        return Changes(always, by_name(namespaces, always), by_name(self._relabelled(start_us, end_us), always))

    def classes(self, nodes: Iterable[tuple[str, str]], start_us: int, end_us: int) -> dict[tuple[str, str], str]:
        """Nodes (cluster and name) with the name of one in their cluster that costs the same all through a period."""
        found: dict[tuple[str, object], str] = {}
        return {
            (cluster, name): found.setdefault((cluster, self._course(cluster, name, start_us, end_us)), name)
            for cluster, name in nodes
        }

    def _course(self, cluster: str, name: str, start_us: int, end_us: int) -> tuple[object, ...]:
        """What a node's prices depend on, from the start of a period to its end."""
        instants = [us for us in self._nodes.breakpoints(cluster, name) if start_us < us < end_us]
        labels = ((us, self._asked(cluster, name, us)) for us in (start_us, *instants))
        return tuple(next(same) for _, same in groupby(labels, itemgetter(1)))

    def _relabelled(self, start_us: int, end_us: int) -> Iterator[tuple[str, int]]:
        if self.asks_labels:
            for (cluster, name), us in self._nodes.changes(start_us, end_us):
                if self._asked(cluster, name, us - 1) != self._asked(cluster, name, us):
                    yield name, us

    def _asked(self, cluster: str, name: str, us: int) -> tuple[tuple[str, str], ...]:
        labels = self._nodes.at(cluster, name, us)
        return () if self.book is None or labels is None else self.book.asked_labels(labels.pairs)

    def _keep(self, key: Key, found: Priced) -> None:
        if len(self._known) >= _MOST_CACHED:
            self._known.clear()
        stretches = self._known.setdefault(key, [])
        stretches.insert(0, found)
        del stretches[_STRETCHES:]

    def _priced(self, key: Key, us: int) -> Priced:
        edges: list[Sequence[int]] = [self._edges, self._nodes.breakpoints(key.cluster, key.node)]
        if key.namespace is not None:
            edges.append(self._teams.breakpoints(key.cluster, key.namespace))
        before, after = zip(*(_around(of_kind, us) for of_kind in edges), strict=True)
        team = self._team(key, us)
        return Priced(max(before), min(after), self._rate(self._use(key, us, team), us), team)

    def labels(self, key: Key, hour_us: int) -> Labels | None:
        """The labels of the key's node in an hour; None where they are not known."""
        return self._nodes.at(key.cluster, key.node, hour_us)

    def _use(self, key: Key, hour_us: int, team: Assignment) -> Use:
        labels = self.labels(key, hour_us)
        return Use(key.cluster, key.model, key.profile, key.namespace, team.team, labels.pairs if labels else ())

    def _rate(self, use: Use, us: int) -> Rate:
        if self.book is None:
            return _NO_RATE
        reduced = self.book.reduced(use)
        rules = [
            self.book.of_reduced(quantity, reduced, us) if quantity in self._quantities else None
            for quantity in (Quantity.GPU_HOUR, Quantity.KWH, Quantity.PUE, Quantity.CARBON)
        ]
        return Rate(*rules)

    def _team(self, key: Key, us: int) -> Assignment:
        return Assignment() if key.namespace is None else self._teams.at(key.cluster, key.namespace, us)


def read_pricer(
    connection: Connection,
    zone: ZoneInfo,
    as_of_us: int | None = None,
    quantities: Sequence[Quantity] = tuple(Quantity),
) -> Pricer:
    """Rates and teams by the newest card, mapping and labels, or by those that were known at `as_of_us`."""
    applied = current(connection, Kind.RATES, as_of_us)
    book = None if applied is None else _book(applied.content, zone)
    nodes, teams = read_nodes(connection, zone, as_of_us), read_teams(connection, zone, as_of_us)
    return Pricer(applied, book, nodes, teams, quantities)


def read_prices(
    connection: Connection,
    zone: ZoneInfo,
    as_of_us: int | None = None,
    quantities: Sequence[Quantity] = tuple(Quantity),
    *,
    of_teams: bool,
) -> Pricer:
    """The same for rates alone, and `of_teams` for teams: labels and teams that no rule asks for are not read."""
    applied = current(connection, Kind.RATES, as_of_us)
    book = None if applied is None else _book(applied.content, zone)
    nodes = read_nodes(connection, zone, as_of_us) if book and book.asks_labels else LabelHistory({})
    asks_teams = of_teams or (book is not None and book.asks_teams)
    teams = read_teams(connection, zone, as_of_us) if asks_teams else TeamBook(TeamMapping(), LabelHistory({}))
    return Pricer(applied, book, nodes, teams, quantities)


@lru_cache(maxsize=4)
def _book(content: bytes, zone: ZoneInfo) -> Book:
    """A card that was applied, ready to be asked: it is the same for one question after the other."""
    return Book(parse_card(content, zone))


def _around(edges: Sequence[int], us: int) -> tuple[int, int]:
    """The last edge at or before an instant, and the first after it."""
    index = bisect_right(edges, us)
    return edges[index - 1] if index else -FOREVER_US, edges[index] if index < len(edges) else FOREVER_US
