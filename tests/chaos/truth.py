"""What the ledger must say after the soak: the scenario's truth, exactly, but for what is honestly unobserved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, Engine, func, select
from tests.chaos.parts import HOST_PERCENT, TRAIN_PERCENT

from gputally.accounting.states import Basis, OwnerKind, Reason
from gputally.collector.database.schema import device, line, node, owner, posting, quarantine, window, window_device

_STATES = ("used", "idle", "unallocated", "unavailable", "unobserved")


@dataclass(frozen=True, slots=True)
class Timeline:
    """A device's time by its windows: from its first to its last, without what a stepped clock skipped."""

    node: str
    uuid: str
    total_us: int
    windows: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found; `wrong` is empty where the ledger is the truth."""

    lost_us: int  # time of devices that stands nowhere
    counted_us: int
    unobserved_us: int
    windows: int
    wrong: tuple[str, ...]


def judge(engine: Engine, allowed_s: Mapping[str, float]) -> Verdict:
    """Compare the ledger with the truth; `allowed_s` is what the faults may have left unobserved, by node."""
    timelines = _timelines(engine)
    wrong: list[str] = []
    lost = counted = unobserved = 0
    for timeline in timelines:
        states = _states(engine, timeline)
        lost += abs(timeline.total_us - sum(states.values()))
        counted += sum(states.values())
        unobserved += states["unobserved"]
        if sum(states.values()) != timeline.total_us:
            wrong.append(f"{timeline.node} {timeline.uuid}: {states} do not sum to {timeline.total_us} us")
        if states["unobserved"] > allowed_s.get(timeline.node, 0) * 1e6:
            allowed = allowed_s.get(timeline.node, 0)
            wrong.append(
                f"{timeline.node} {timeline.uuid}: {states['unobserved']} us unobserved, faults allow {allowed} s"
            )
    wrong += _work(engine, timelines)
    wrong += [f"quarantined: {reason} of {name}" for name, reason in _quarantined(engine)]
    windows = sum(timeline.windows for timeline in timelines)
    return Verdict(lost, counted, unobserved, windows, tuple(wrong))


def _timelines(engine: Engine) -> Sequence[Timeline]:
    """Skipped wall time never existed: it is taken off, once for each window that says so after the device's first."""
    first, last = func.min(window.c.start_us), func.max(window.c.end_us)
    statement = (
        select(node.c.id, node.c.name, device.c.id, device.c.uuid, first, last, func.count())
        .select_from(window_device)
        .join(window, window.c.id == window_device.c.window_id)
        .join(node, node.c.id == window.c.node_id)
        .join(device, device.c.id == window_device.c.device_id)
        .group_by(node.c.id, node.c.name, device.c.id, device.c.uuid)
        .order_by(node.c.name, device.c.uuid)
    )
    with engine.connect() as connection:
        found = connection.execute(statement).all()
        skipped = [
            connection.execute(
                select(func.coalesce(func.sum(window.c.skipped_us), 0)).where(
                    window.c.node_id == node_id, window.c.start_us > start_us
                )
            ).scalar_one()
            for node_id, _, _, _, start_us, _, _ in found
        ]
    return [
        Timeline(name, uuid, end_us - start_us - int(gone), count)
        for (_, name, _, uuid, start_us, end_us, count), gone in zip(found, skipped, strict=True)
    ]


def _states(engine: Engine, timeline: Timeline) -> dict[str, int]:
    sums = [func.sum(posting.c[f"{state}_us"]) for state in _STATES]
    statement = select(*sums).join(device).where(device.c.uuid == timeline.uuid)
    with engine.connect() as connection:
        return dict(zip(_STATES, map(int, connection.execute(statement).one()), strict=True))


def _work(engine: Engine, timelines: Sequence[Timeline]) -> list[str]:
    """Of all measured time exactly so much was busy; a window's rounding may move less than a microsecond."""
    wrong = []
    for at, timeline in enumerate(timelines):
        held = at % 2 == 0  # the first GPU of each node is the pod's, the second nobody's
        percent = TRAIN_PERCENT if held else HOST_PERCENT
        busy, measured = _held(engine, timeline.uuid) if held else _free(engine, timeline.uuid)
        error = abs(100 * busy - percent * measured)
        if not busy or error > 100 * timeline.windows:
            wrong.append(f"{timeline.uuid}: {busy} us busy of {measured} us measured is not {percent} %")
    return wrong


def _held(engine: Engine, uuid: str) -> tuple[int, int]:
    """Busy and all measured time of the pod's GPU."""
    of_pod = (owner.c.kind == OwnerKind.POD.value, line.c.basis == Basis.RESERVATION.value)
    used, idle = _sums(engine, uuid, (line.c.used_us, line.c.idle_us), *of_pod)
    return used, used + idle


def _free(engine: Engine, uuid: str) -> tuple[int, int]:
    """Busy and all measured time of the GPU that nobody holds; just after a probe's start nobody knows whose it is."""
    [used] = _sums(engine, uuid, (line.c.used_us,), owner.c.kind == OwnerKind.HOST.value)
    [unattributed] = _sums(engine, uuid, (line.c.unobserved_us,), line.c.reason == Reason.UNATTRIBUTED.value)
    [free] = _sums(engine, uuid, (line.c.unallocated_us,))
    return used + unattributed, used + unattributed + free


def _sums(engine: Engine, uuid: str, columns: Sequence[Column[int]], *where: ColumnElement[bool]) -> list[int]:
    statement = select(*(func.coalesce(func.sum(column), 0) for column in columns)).select_from(line)
    with engine.connect() as connection:
        of_device = statement.join(device).join(owner).where(device.c.uuid == uuid, *where)
        return [int(value) for value in connection.execute(of_device).one()]


def _quarantined(engine: Engine) -> Sequence[tuple[str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(select(quarantine.c.node, quarantine.c.reason, quarantine.c.detail)).all()
    return [(name, f"{reason}: {detail}") for name, reason, detail in rows]
