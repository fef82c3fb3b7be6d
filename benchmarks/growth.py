"""How answers grow with the fleet and with the months kept: a curve each, drawn as text.

Nodes: a day of fleets of 100, 1,000 and 10,000 nodes, and a minute of live ones, five minutes into their hour, whose
hours are settled. Months: the last month of a small fleet that keeps 1, 12 and 25.
CPU time is this process's and the database's. Data is made by one statement for each table.

    PYTHONPATH=. python benchmarks/growth.py [--nodes 100,1000,10000] [--months 1,12,25]
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import machine
from cpu import cost, middle
from disk import SERVER
from fleet import GPUS_PER_NODE, Size, book_month
from month import application, asking
from serving import postmaster
from settling import PODS, a_minute, analyse, live_fleet
from tests.databases import PostgresServer, running_postgres

from gputally.collector.database.engine import open_database

_BY = "/api/v1/allocation?window={}&aggregate="
_DAYS = 31  # of a month kept
_SMALL = 8  # nodes
_ROUNDS = 5
_LIVE_MINUTES, _LIVE_ROUNDS = 4, 3
_WIDTH = 40  # characters of the longest bar
_FLAT = 1.5  # times the first: what a machine that does other things makes of no growth at all


class Point(NamedTuple):
    """One size, how much larger than the first it is, and what an answer takes there, CPU milliseconds."""

    size: str
    grown: float
    postings: int
    ms: float


def of_nodes(server: PostgresServer, counts: Sequence[int]) -> Iterator[Point]:
    """Today by namespace: a day of each fleet."""
    for nodes in counts:
        size = Size(nodes * GPUS_PER_NODE, 1000, 1)
        yield _measured(server, f"{nodes:,} nodes", nodes / counts[0], size, "today")


def of_live(server: PostgresServer, counts: Sequence[int]) -> Iterator[Point]:
    """A minute of each fleet is settled."""
    for nodes in counts:
        with live_fleet(server, nodes, 1, _LIVE_MINUTES, 2) as (engine, database):
            a_minute(engine, database, nodes, _LIVE_MINUTES)
            analyse(engine)
            took = middle([a_minute(engine, database, nodes, _LIVE_MINUTES + 1 + at) for at in range(_LIVE_ROUNDS)])
        yield Point(f"{nodes:,} nodes", nodes / counts[0], nodes * PODS, took.cpu * 1000)


def of_months(server: PostgresServer, counts: Sequence[int]) -> Iterator[Point]:
    """This month by namespace, of a fleet that keeps so many."""
    for months in counts:
        size = Size(_SMALL * GPUS_PER_NODE, 40, months * _DAYS)
        yield _measured(server, f"{months} months", months / counts[0], size, "month")


def _measured(server: PostgresServer, name: str, grown: float, size: Size, window: str) -> Point:
    url = server.create(migrated=True)
    engine = open_database(url)
    postings, database = book_month(engine, size), postmaster(url)
    with application(engine) as app:
        question = asking(app, f"{_BY.format(window)}namespace")  # once before, so that all find the same warm cache
        took = middle([cost(question, database) for _ in range(_ROUNDS)])
    engine.dispose()
    server.drop(url)
    return Point(name, grown, postings, took.cpu * 1000)


def curve(title: str, points: Sequence[Point], most: Callable[[Point], float]) -> str:
    """A bar for each size; `most` is what it may be times the first."""
    longest = max(point.ms for point in points)
    lines = [title]
    for point in points:
        ratio = point.ms / points[0].ms
        verdict = "ok" if ratio <= most(point) else "WORSE"
        bar = "#" * max(1, round(_WIDTH * point.ms / longest))
        lines.append(
            f"{point.size:>14} {point.postings:>12,} {point.ms:9,.1f} CPU ms {ratio:7.2f} x  {verdict:<5} {bar}"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure both, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=_numbers, default=(100, 1_000, 10_000))
    parser.add_argument("--months", type=_numbers, default=(1, 12, 25))
    given = parser.parse_args()
    machine.on_few_cores()
    sys.stdout.write(f"{machine.heading()}\n")
    with running_postgres(SERVER) as server:
        months = list(of_months(server, given.months))
        sys.stdout.write(curve("this month by namespace, of months kept (flat)", months, lambda _: _FLAT) + "\n")
        nodes = list(of_nodes(server, given.nodes))
        live = list(of_live(server, given.nodes))
        most = lambda point: _FLAT * point.grown  # noqa: E731 - the first has hardly more than one batch
        sys.stdout.write(curve("a live minute settled, of nodes (linear at most)", live, most) + "\n")
        sys.stdout.write(curve("today by namespace, of nodes (linear at most)", nodes, lambda point: point.grown))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


if __name__ == "__main__":
    main()
