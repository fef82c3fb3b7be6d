"""Which nodes cost the same all through a period: sums need not tell them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, case, literal_column, select
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.allocation.period import Period
from gputally.collector.database.schema import node
from gputally.collector.rates.pricing import Pricer


@dataclass(frozen=True, slots=True)
class Nodes:
    """Ids of nodes by the cluster and name of one that costs the same; without any, all nodes do."""

    alike: Mapping[tuple[str, str], Sequence[int]] = field(default_factory=dict, hash=False)

    @property
    def representatives(self) -> list[str]:
        """What stands for each class of nodes, by its number; -1 is the last, and empty."""
        return [*(name for _, name in self.alike), ""]

    def number(self, node_id: ColumnElement[int]) -> ColumnElement[int]:
        """The number of a node's class, as SQL; -1 where there are no classes."""
        nobody = _number(-1)
        found = {_number(at): node_id.in_([_number(one) for one in ids]) for at, ids in enumerate(self.alike.values())}
        return case(*((among, number) for number, among in found.items()), else_=nobody) if found else nobody


def _number(number: int) -> ColumnElement[int]:
    """Our own integer, written out, as the edges of pieces are."""
    return literal_column(str(number))


def read_nodes_alike(connection: Connection, pricer: Pricer, period: Period) -> Nodes:
    """The nodes that the ledger knows, by what they cost; nothing where no price asks for a node's labels."""
    if not pricer.asks_labels:
        return Nodes()
    rows = connection.execute(select(node.c.id, node.c.cluster, node.c.name).order_by(node.c.id)).all()
    names = pricer.classes([(cluster, name) for _, cluster, name in rows], period.start_us, period.end_us)
    alike: dict[tuple[str, str], list[int]] = {}
    for node_id, cluster, name in rows:
        alike.setdefault((cluster, names[cluster, name]), []).append(node_id)
    return Nodes(alike)
