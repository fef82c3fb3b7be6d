"""What the ledger must say after the soak: the scenario's truth, exactly, but for what is honestly unobserved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, func, select
from tests.chaos.parts import HOST_PERCENT, TRAIN_PERCENT

from gputally.accounting.states import Basis, OwnerKind
from gputally.collector.schema import device, line, node, owner, posting, quarantine, window, window_device

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
    """Of all measured time exactly so much was used; a window's rounding may move less than a microsecond."""
    wrong = []
    for at, timeline in enumerate(timelines):
        held = at % 2 == 0  # the first GPU of each node is the pod's, the second nobody's
        percent = TRAIN_PERCENT if held else HOST_PERCENT
        used, rest = _measured(engine, timeline.uuid, held=held)
        error = abs(100 * used - percent * (used + rest))
        if not used or error > 100 * timeline.windows:
            wrong.append(f"{timeline.uuid}: {used} us used of {used + rest} us measured is not {percent} %")
    return wrong


def _measured(engine: Engine, uuid: str, *, held: bool) -> tuple[int, int]:
    """Used time of whoever has it, and the measured time besides: idle where it is held, unallocated where not."""
    kind, basis = (OwnerKind.POD, Basis.RESERVATION) if held else (OwnerKind.HOST, Basis.PROCESS)
    of_device = select(func.sum(line.c.used_us), func.sum(line.c.idle_us), func.sum(line.c.unallocated_us)).join(device)
    with engine.connect() as connection:
        used, idle, _ = connection.execute(
            of_device.join(owner)
            .where(device.c.uuid == uuid, owner.c.kind == kind.value, line.c.basis == basis.value)
            .where(line.c.used_us + line.c.idle_us > 0)
        ).one()
        free = connection.execute(of_device.where(device.c.uuid == uuid, line.c.reason == "")).one()[2]
    return int(used or 0), int((idle if held else free) or 0)


def _quarantined(engine: Engine) -> Sequence[tuple[str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(select(quarantine.c.node, quarantine.c.reason, quarantine.c.detail)).all()
    return [(name, f"{reason}: {detail}") for name, reason, detail in rows]
