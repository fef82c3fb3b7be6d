"""What labels a namespace or a node had in a ledger hour, read from the histories that `cluster` writes.

An hour has one set of labels: those in force when it begins; where the object is younger than that, its first. What was
deleted keeps its last labels until another of its name exists, because its time may be booked a little later.
"""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Table, select

from gputally.accounting.ledger_hour import hour_start
from gputally.collector.database.schema_billing import namespace_history, node_history

Key = tuple[str, str]  # cluster and name


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels (and of a namespace annotations) of the object with this UID."""

    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    pairs: tuple[tuple[str, str], ...]  # the labels, sorted


@dataclass(frozen=True, slots=True)
class _Steps:
    """What held from each instant on, ascending."""

    starts: tuple[int, ...]
    labels: tuple[Labels, ...]


_NOTHING = _Steps((), ())


class LabelHistory:
    """The labels of every object of one kind, by cluster and name."""

    def __init__(self, steps: Mapping[Key, _Steps]) -> None:
        self._steps = steps

    def at(self, cluster: str, name: str, hour_us: int) -> Labels | None:
        """The labels in the ledger hour that begins at `hour_us`; None where they are not known."""
        steps = self._steps.get((cluster, name), _NOTHING)
        index = bisect_right(steps.starts, hour_us) - 1
        return steps.labels[index] if index >= 0 else None

    @property
    def names(self) -> list[Key]:
        """Cluster and name of every object that was ever seen; sorted."""
        return sorted(self._steps)

    def changes(self, start_us: int, end_us: int) -> Iterator[tuple[Key, int]]:
        """Objects with the instants strictly within a period from which other labels hold."""
        for key, steps in self._steps.items():
            if steps.starts[-1] > start_us:
                yield from ((key, us) for us in steps.starts if start_us < us < end_us)

    def breakpoints(self, cluster: str, name: str) -> tuple[int, ...]:
        """The instants from which other labels hold, ascending."""
        return self._steps.get((cluster, name), _NOTHING).starts


def read_namespaces(connection: Connection, zone: ZoneInfo, as_of_us: int | None = None) -> LabelHistory:
    """The labels and annotations of namespaces; with `as_of_us` as far as they had been learnt by then."""
    return _read(connection, namespace_history, zone, as_of_us)


def read_nodes(connection: Connection, zone: ZoneInfo, as_of_us: int | None = None) -> LabelHistory:
    """The labels of nodes; with `as_of_us` as far as they had been learnt by then."""
    return _read(connection, node_history, zone, as_of_us)


@dataclass(frozen=True, slots=True)
class _Row:
    from_us: int
    to_us: int | None
    labels: Labels


def _read(connection: Connection, table: Table, zone: ZoneInfo, as_of_us: int | None) -> LabelHistory:
    query = select(table).order_by(table.c.cluster, table.c.name, table.c.valid_from_us, table.c.recorded_us)
    if as_of_us is not None:
        query = query.where(table.c.recorded_us <= as_of_us)
    rows: dict[Key, list[_Row]] = defaultdict(list)
    texts: dict[str, dict[str, str]] = {}  # most nodes' labels are like their neighbour's: one copy
    for found in connection.execute(query).mappings():
        labels = texts.setdefault(found["labels"], json.loads(found["labels"]))
        annotations = json.loads(found.get("annotations", "{}"))
        row = _Row(
            found["valid_from_us"],
            found["valid_to_us"],
            Labels(found["uid"], labels, annotations, tuple(sorted(labels.items()))),
        )
        rows[found["cluster"], found["name"]].append(row)
    return LabelHistory({key: _steps(of_name, zone) for key, of_name in rows.items()})


def _steps(rows: Iterable[_Row], zone: ZoneInfo) -> _Steps:
    starts: list[int] = []
    labels: list[Labels] = []
    covered_us = 0  # until when there is one of this name; 0: from the start there is none
    for row in rows:
        hour_us = hour_start(row.from_us, zone)
        # Nobody of this name was there when the hour began: the hour is this one's from its beginning.
        from_us = hour_us if covered_us <= hour_us else row.from_us
        starts.append(from_us)
        labels.append(row.labels)
        covered_us = 2**63 if row.to_us is None else max(covered_us, row.to_us)
    return _Steps(tuple(starts), tuple(labels))
