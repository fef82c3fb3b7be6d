"""What was known and what held at a day: the rate card's rules, and the labels and teams of namespaces and nodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from gputally.collector.allocation.query import Scope
from gputally.collector.cluster.labels import read_namespaces
from gputally.collector.database.schema_billing import namespace_history
from gputally.collector.files.applied import Applied, Kind, current
from gputally.collector.rates.card import Quantity, Rule
from gputally.collector.rates.match import Book
from gputally.collector.rates.parse import parse_card
from gputally.collector.teams import Assignment, read_teams


@dataclass(frozen=True, slots=True)
class RatesAt:
    """A version of the rate card and those of its rules that hold at an instant."""

    applied: Applied
    currency: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class NamespaceAt:
    """A namespace as it was."""

    cluster: str
    name: str
    uid: str
    labels: tuple[tuple[str, str], ...]
    assignment: Assignment


def rates_at(connection: Connection, zone: ZoneInfo, at_us: int, known_us: int | None, scope: Scope) -> RatesAt | None:
    """The rules that hold at `at_us` by the card that was known at `known_us`; None where no card was.

    What was negotiated with others is left out for whoever may not see them.
    """
    applied = current(connection, Kind.RATES, known_us)
    if applied is None:
        return None
    book = Book(parse_card(applied.content, zone))
    holding = (shelf.series.at(at_us) for quantity in Quantity for shelf in book.shelves(quantity))
    rules = tuple(rule for rule in holding if rule is not None and _may_see(rule, scope))
    return RatesAt(applied, book.card.currency, rules)


def namespaces_at(
    connection: Connection, zone: ZoneInfo, at_us: int, known_us: int | None, scope: Scope
) -> Sequence[NamespaceAt]:
    """The namespaces whose labels are known at `at_us`, with their teams, by what was known at `known_us`."""
    labels, teams = read_namespaces(connection, zone, known_us), read_teams(connection, zone, known_us)
    names = select(namespace_history.c.cluster, namespace_history.c.name).distinct().order_by("cluster", "name")
    found = []
    for cluster, name in connection.execute(names):
        known = labels.at(cluster, name, at_us)
        if known is not None and _in_scope(cluster, name, scope):
            found.append(NamespaceAt(cluster, name, known.uid, known.pairs, teams.at(cluster, name, at_us)))
    return found


def _may_see(rule: Rule, scope: Scope) -> bool:
    if scope.clusters is not None and rule.match.cluster not in (None, *scope.clusters):
        return False
    if scope.namespaces is None:
        return True
    return rule.match.team is None and (rule.match.namespace is None or rule.match.namespace in scope.namespaces)


def _in_scope(cluster: str, name: str, scope: Scope) -> bool:
    return (scope.clusters is None or cluster in scope.clusters) and (
        scope.namespaces is None or name in scope.namespaces
    )
