"""Whole GPUs whose use over a week would fit a MIG profile: by the memory that was held, and by how long they ran."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Subquery, and_, case, func, literal_column, select

from gputally.accounting.keys import WHOLE_GPU
from gputally.accounting.states import Basis, State
from gputally.collector.advice.advice import Advice, Fit, Kind, Spent
from gputally.collector.advice.asked import DAY_US, Asked, rows_of
from gputally.collector.advice.held import PodKey, read_together, spent
from gputally.collector.advice.mig import GIGABYTE, board_of
from gputally.collector.allocation import whose
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.sources import POSTINGS
from gputally.collector.database.schema import device, node, owner, posting
from gputally.collector.database.schema_waste import UNBOUNDED, memory_peak
from gputally.collector.database.schema_workload import pod_workload

AT_LEAST_US = DAY_US  # GPU-time that was measured: less than a day tells nothing of a week
FILLED = 80  # percent of a profile's memory and of its share of the GPU's time: the rest is margin
UNOBSERVED = 10  # percent of the time at most
_HELD = (State.USED, State.IDLE, State.UNOBSERVED)


@dataclass(frozen=True, slots=True)
class Use:
    """What a whole GPU of a model was used for; several are one with the sums of their time and the largest of the
    rest. `peak_bytes` None: not known of all of the time."""

    used_us: int
    idle_us: int
    unobserved_us: int
    busiest_permille: int
    peak_bytes: int | None

    def plus(self, other: "Use") -> "Use":
        """Both together."""
        peaks = (self.peak_bytes, other.peak_bytes)
        return Use(
            self.used_us + other.used_us,
            self.idle_us + other.idle_us,
            self.unobserved_us + other.unobserved_us,
            max(self.busiest_permille, other.busiest_permille),
            None if None in peaks else max(peak for peak in peaks if peak is not None),
        )

    @property
    def measured_us(self) -> int:
        """The time of which `used_us` is the busy part."""
        return self.used_us + self.idle_us

    @property
    def held_us(self) -> int:
        """All of the time."""
        return self.measured_us + self.unobserved_us


def fit(model: str, use: Use) -> Fit | None:
    """The smallest profile that the use would fit; None where there is none, or where too little is known."""
    board, peak_bytes = board_of(model), use.peak_bytes
    if board is None or peak_bytes is None or not _known(use):
        return None
    for profile in board.profiles:
        size = profile.gigabytes * GIGABYTE
        fits_memory = peak_bytes * 100 <= size * FILLED
        if fits_memory and use.busiest_permille * board.slices * 100 <= 1000 * profile.slices * FILLED:
            busy = use.used_us * 1000 // use.measured_us
            sizes = (profile.slices, board.slices, size)
            return Fit(model, profile.name, *sizes, peak_bytes, busy, use.busiest_permille, use.held_us)
    return None


def _known(use: Use) -> bool:
    """A GPU that was never used is another fact than one that was used little."""
    enough = use.used_us > 0 and use.measured_us >= AT_LEAST_US
    return enough and use.unobserved_us * 100 <= use.held_us * UNOBSERVED


class _Of(NamedTuple):
    cluster: str
    namespace: str
    workload: str
    model: str


def read_fits(connection: Connection, asked: Asked) -> list[Advice]:
    """Of workloads whose pods held one whole GPU each; raises QueryError."""
    found: dict[_Of, dict[PodKey, Use]] = defaultdict(dict)
    for pod, (of, use) in _of_one_gpu(_uses(connection, asked)).items():
        found[of][pod] = use
    fits = {
        of: details for of, pods in found.items() if (details := fit(of.model, _together(pods.values()))) is not None
    }
    costs: dict[_Of, Spent] = defaultdict(Spent)
    wanted = {(*of, pod.uid) for of in fits for pod in found[of]}
    for row in read_together(connection, asked, wanted, WHOLE_GPU, tuple(map(By, _Of._fields))) if wanted else ():
        of = _Of(*row.keys)
        costs[of] = costs[of].plus(spent(row.amounts, row.money, _HELD))
    return [_advice(asked, of, details, [pod.pod for pod in found[of]], costs[of]) for of, details in fits.items()]


def _advice(asked: Asked, of: _Of, details: Fit, pods: Sequence[str], whole: Spent) -> Advice:
    """The time in question is the share of the GPU that the profile leaves."""
    subject = asked.subject(of.cluster, of.namespace, of.workload, pods)
    return Advice(Kind.MIG, subject, whole.part(details.of - details.slices, details.of), details)


def _together(uses: Iterable[Use]) -> Use:
    first, *rest = uses
    for use in rest:
        first = first.plus(use)
    return first


def _of_one_gpu(uses: Mapping[PodKey, Mapping[str, tuple[_Of, Use]]]) -> Mapping[PodKey, tuple[_Of, Use]]:
    """Pods with several GPUs need what MIG instances have not: a way from one to the other."""
    return {pod: next(iter(devices.values())) for pod, devices in uses.items() if len(devices) == 1}


def _uses(connection: Connection, asked: Asked) -> Mapping[PodKey, Mapping[str, tuple[_Of, Use]]]:
    """By pod and device."""
    models = [model for (model,) in connection.execute(select(device.c.model).distinct()) if board_of(model)]
    found: dict[PodKey, dict[str, tuple[_Of, Use]]] = defaultdict(dict)
    if not models:
        return found
    peaks = {tuple(place): most for *place, most in rows_of(connection, _peaks(asked)) if most < UNBOUNDED}
    for *place, cluster, namespace, pod, uid, label, model, uuid, used, idle, unobserved, busiest, unknown in rows_of(
        connection, _statement(asked, models)
    ):
        peak_bytes = None if unknown else peaks.get(tuple(place))
        use = Use(int(used), int(idle), int(unobserved), int(busiest), peak_bytes)
        devices = found[PodKey(cluster, namespace, pod, uid)]
        so_far = devices.get(uuid)
        of = _Of(cluster, namespace, label, model)
        devices[uuid] = of, use if so_far is None else _of_containers(so_far[1], use)
    return found


def _of_containers(one: Use, other: Use) -> Use:
    """Two containers on one device: what they hold adds up."""
    whole = one.plus(other)
    if one.peak_bytes is None or other.peak_bytes is None:
        return whole
    peak_bytes = one.peak_bytes + other.peak_bytes
    return Use(whole.used_us, whole.idle_us, whole.unobserved_us, whole.busiest_permille, peak_bytes)


def _statement(asked: Asked, models: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """Each container's time on each device; ranks of a gang, which talk to each other, are left out."""
    sums = _sums(asked, models)
    label = whose.name(owner, pod_workload).label("label")
    names = (node.c.cluster, owner.c.namespace, owner.c.pod, owner.c.pod_uid, label, device.c.model, device.c.uuid)
    return (
        select(*(sums.c[name] for name in _PLACE), *names, *(sums.c[name] for name in (*_TIMES, "unknown")))
        .join_from(sums, node, node.c.id == sums.c.node_id)
        .join(owner, owner.c.id == sums.c.owner_id)
        .join(device, device.c.id == sums.c.device_id)
        .outerjoin(pod_workload, whose.learnt(node, owner, pod_workload))
        .where(asked.visible(), pod_workload.c.rank.is_(None))
    )


_PLACE = ("owner_id", "node_id", "device_id")
_STATES = ("used_us", "idle_us", "unobserved_us")
_TIMES = (*_STATES, "busiest_permille")


def _sums(asked: Asked, models: Sequence[str]) -> Subquery:
    """`busiest_permille` is of the busiest hour, `unknown` is 1 where some hour's memory is not known.

    What a holder used and held idle in an hour is one posting: time with a reason stands on others.
    """
    week, row = asked.week, posting.c
    place = [row[name] for name in _PLACE]
    within = and_(row.hour_us >= week.start_us, row.hour_us < week.end_us, POSTINGS.visible(asked.scope))
    whole = and_(row.partition == WHOLE_GPU, row.basis == Basis.RESERVATION.value)
    capable = row.device_id.in_(select(device.c.id).where(device.c.model.in_(models)))
    measured = row.used_us + row.idle_us
    permille = case((measured > 0, (row.used_us * 1000 + measured - 1) // measured), else_=literal_column("0"))
    veiled = case((and_(measured > 0, row.memory_byte_s.is_(None)), literal_column("1")), else_=literal_column("0"))
    return (
        select(*place, *(func.sum(row[name]).label(name) for name in _STATES))
        .add_columns(func.max(permille).label("busiest_permille"), func.max(veiled).label("unknown"))
        .where(within, whole, capable)
        .group_by(*place)
        .subquery("sums")
    )


def _peaks(asked: Asked) -> Select[*tuple[Any, ...]]:
    """The most memory of each container on each whole GPU, since the day in which the week begins; UNBOUNDED where some
    window of it is not known."""
    row, start_us = memory_peak.c, asked.week.start_us
    place = [row[name] for name in _PLACE]
    within = and_(row.day_us >= start_us - start_us % DAY_US, row.partition == WHOLE_GPU)
    return (
        select(*place, func.max(row.bytes))
        .join_from(memory_peak, node, node.c.id == row.node_id)
        .join(owner, owner.c.id == row.owner_id)
        .where(within, asked.visible())
        .group_by(*place)
    )
