"""/metrics of a collector: a new snapshot at every scrape."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gputally.collector.exposition.books import Books
from gputally.collector.exposition.budgets import burn_metrics
from gputally.collector.exposition.family import gauge
from gputally.collector.exposition.fleet import fleet_families
from gputally.collector.exposition.itself import Work, families_of_itself
from gputally.collector.exposition.month import month_families
from gputally.collector.exposition.queues import queue_metrics
from gputally.collector.exposition.waste import waste_metrics
from gputally.collector.month import Month

MonthNow = Callable[[], Month | None]


def no_month() -> None:
    """Of a collector that keeps no figures of the month: nothing is known of them."""


def make_registry(
    books: Callable[[], Books | None], work: Callable[[], Work], month: MonthNow = no_month
) -> CollectorRegistry:
    """A registry that takes a new snapshot at every scrape; `month` has to answer at once, None: it is not known."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fleet(books, work, month))
    return registry


def up_family(*, up: bool) -> Metric:
    """Whether there is a database to read of."""
    return gauge("database_up", "Whether the database can be read.", up)


class _Fleet(Collector):
    def __init__(self, books: Callable[[], Books | None], work: Callable[[], Work], month: MonthNow) -> None:
        self._books = books
        self._work = work
        self._month = month

    def collect(self) -> Iterator[Metric]:
        books = self._books()
        yield up_family(up=books is not None)
        # What is not known is absent: a database that is away does not make a fleet of 0 GPUs.
        if books is not None:
            yield from fleet_families(books)
        month = self._month()
        if month is not None:
            yield from month_families(month)
            yield from burn_metrics(month.burns)
            yield from queue_metrics(month.queues)
            yield from waste_metrics(month.waste, month.currency)
        yield from families_of_itself(self._work())
