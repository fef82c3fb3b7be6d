"""What the ledger knows of a node and a device, for a question about their rate; and the models of the fleet."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

from gputally.collector.database.schema import device, node
from gputally.collector.rates.pricing import Key


class NotFound(LookupError):
    """A node or device that the ledger does not know, or not uniquely; `mistakes` says which."""

    def __init__(self, mistakes: Collection[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class Question:
    """Which device where, held by whom (None: nobody, or a process of the host)."""

    node: str
    uuid: str
    cluster: str | None = None
    namespace: str | None = None
    profile: str = ""


def find_key(connection: Connection, question: Question) -> Key:
    """What a question is about, in the ledger's names; raises NotFound."""
    mistakes: list[str] = []
    clusters = connection.scalars(select(node.c.cluster).where(node.c.name == question.node)).all()
    if question.cluster is not None:
        clusters = [name for name in clusters if name == question.cluster]
    if len(clusters) > 1:
        mistakes.append(f"--node {question.node} is in several clusters: say which with --cluster {'|'.join(clusters)}")
    elif not clusters:
        place = f" in cluster {question.cluster}" if question.cluster else ""
        mistakes.append(f"--node {question.node}: the ledger knows no such node{place}")
    by_age = select(device.c.model).where(device.c.uuid == question.uuid).order_by(device.c.id.desc())
    model = connection.scalars(by_age).first()
    if model is None:
        mistakes.append(f"--gpu {question.uuid}: the ledger knows no such device")
    if mistakes or model is None:
        raise NotFound(mistakes)
    return Key(clusters[0], question.node, model, question.profile, question.namespace)


def fleet_models(connection: Connection) -> Collection[str]:
    """NVML's names of the models that the ledger has seen."""
    return connection.scalars(select(device.c.model).distinct().order_by(device.c.model)).all()
