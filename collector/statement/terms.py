"""The terms of any posting: its prices, its team, and which namespace of that name it was, hour by hour."""

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gputally.collector.allocation.period import Period
from gputally.collector.cluster.labels import LabelHistory, read_namespaces
from gputally.collector.files.effective import FOREVER_US
from gputally.collector.rates.changes import Changes, by_name
from gputally.collector.rates.cost import overhead_price
from gputally.collector.rates.pricing import PRICES, Key, Pricer, read_pricer
from gputally.collector.statement.line import Terms

_MOST_CACHED = 100_000  # places whose present terms are kept


class TermsBook:
    """Looks terms up; the answer for a place is kept for as long as it holds."""

    def __init__(self, pricer: Pricer, namespaces: LabelHistory) -> None:
        self.pricer = pricer
        self._namespaces = namespaces
        self._latest: dict[Key, tuple[int, int, Terms]] = {}
        self._version = pricer.card.version if pricer.card else None

    def at(self, place: Key, hour_us: int) -> Terms:
        """What holds in the ledger hour that begins at `hour_us`."""
        return self.span(place, hour_us)[2]

    def span(self, place: Key, hour_us: int) -> tuple[int, int, Terms]:
        """The same, with the instants from which and up to which it holds."""
        latest = self._latest.get(place)
        if latest is not None and latest[0] <= hour_us < latest[1]:
            return latest
        if len(self._latest) >= _MOST_CACHED:
            self._latest.clear()
        found = self._latest[place] = self._find(place, hour_us)
        return found

    def changes(self, period: Period) -> Changes:
        """When prices, teams or namespaces become others within a period."""
        found = self.pricer.changes(period.start_us, period.end_us)
        named = [(name, us) for name, instants in found.namespaces.items() for us in instants]
        return replace(found, namespaces=by_name((*named, *self._renewed(period)), found.always))

    def _renewed(self, period: Period) -> Iterable[tuple[str, int]]:
        """When another namespace of a name takes over."""
        for (cluster, name), us in self._namespaces.changes(period.start_us, period.end_us):
            before, after = self._namespaces.at(cluster, name, us - 1), self._namespaces.at(cluster, name, us)
            if before is None or after is None or before.uid != after.uid:
                yield name, us

    def _find(self, place: Key, hour_us: int) -> tuple[int, int, Terms]:
        priced = self.pricer.at(place, hour_us)
        public = self.pricer.at(place._replace(namespace=None), hour_us)
        from_us, to_us = max(priced.from_us, public.from_us), min(priced.to_us, public.to_us)
        rate = priced.rate
        kwh = None if rate.kwh is None else rate.kwh.value
        pue = None if rate.pue is None else rate.pue.value
        terms = Terms(
            team=priced.team.team,
            cost_center=priced.team.cost_center,
            price=rate.price,
            list_price=rate.price if public.rate.price is None else public.rate.price,
            kwh_price=kwh,
            overhead_price=overhead_price(kwh, pue),
            rate_version=self._version,
        )
        if place.namespace is None:
            return from_us, to_us, terms
        before, after = _around(self._namespaces.breakpoints(place.cluster, place.namespace), hour_us)
        labels = self._namespaces.at(place.cluster, place.namespace, hour_us)
        if labels is not None:
            tags = json.dumps(dict(labels.pairs), ensure_ascii=False, separators=(",", ":"))
            terms = terms._replace(namespace_uid=labels.uid, tags=tags)
        return max(from_us, before), min(to_us, after), terms


def read_terms(connection: Connection, zone: ZoneInfo, as_of_us: int | None = None) -> TermsBook:
    """Terms by the newest rate card, mapping and labels, or by those that were known at `as_of_us`."""
    pricer = read_pricer(connection, zone, as_of_us, PRICES)
    return TermsBook(pricer, read_namespaces(connection, zone, as_of_us))


def _around(edges: Sequence[int], us: int) -> tuple[int, int]:
    """The last edge at or before an instant, and the first after it."""
    index = bisect_right(edges, us)
    return edges[index - 1] if index else -FOREVER_US, edges[index] if index < len(edges) else FOREVER_US
