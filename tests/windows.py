"""Windows as agents send them: builders of single ones, and strategies for whole histories that keep I1 to I3."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from hypothesis import strategies as st

from gputally.accounting.keys import PLATFORM_KEY, WHOLE_GPU, Holding, LineKey, Owner
from gputally.accounting.line import DeviceWindow, Line, Quality, Window
from gputally.accounting.states import Basis, OwnerKind, Reason, Source
from gputally.collector.ingest.admission import Received, Refusal
from gputally.collector.ingest.columns import Layouts
from gputally.proto import codec

MINUTE_US = 60_000_000
START_US = 1_782_864_000_000_000  # 2026-07-01T00:00:00Z
MODEL = "NVIDIA H100 80GB HBM3"

PROFILES = {"MIG-1": "1g.10gb", "MIG-3": "3g.40gb"}

_NAMESPACES = ["search", "vision", "训练"]
_LAYOUTS = Layouts(64)  # as at the collector's door: what windows have in common is one object
_MEASURED = [source for source in Source if source is not Source.NONE]


def pod(namespace: str = "search", name: str = "train-0", container: str = "main") -> Owner:
    """A container of a pod."""
    return Owner(OwnerKind.POD, namespace, name, container, pod_uid=f"uid-of-{name}")


def reserved(owner: Owner, used_us: int, idle_us: int, energy_mj: int | None = None, **rest: int) -> Line:
    """Time that an owner held the whole device."""
    key = LineKey(WHOLE_GPU, owner, Basis.RESERVATION)
    return Line(key, Source.DEVICE_SAMPLES, used_us, idle_us, energy_dynamic_mj=energy_mj, **rest)


def unallocated(us: int) -> Line:
    """Time that nobody held."""
    return Line(PLATFORM_KEY, Source.NONE, unallocated_us=us)


def device(*lines: Line, uuid: str = "GPU-0", model: str = MODEL) -> DeviceWindow:
    """A device's part of a window: its capacity and counter follow from the lines."""
    capacity = sum(line.capacity_us for line in lines)
    if any(line.energy_mj is None for line in lines):
        return DeviceWindow(uuid, model, capacity, lines, energy_breaks=1)
    energy = sum(line.energy_mj or 0 for line in lines)
    return DeviceWindow(uuid, model, capacity, lines, energy_start_mj=0, energy_end_mj=energy)


def window(
    *devices: DeviceWindow,
    node: str = "node-a",
    cluster: str = "east",
    start_us: int = START_US,
    length_us: int = MINUTE_US,
) -> Window:
    """A window; without devices, one device that a pod held and used for 45 s of its minute."""
    used = length_us * 3 // 4
    parts = devices or (device(reserved(pod(), used, length_us - used, energy_mj=9_000)),)
    return Window(cluster, node, start_us, start_us + length_us, parts)


def minutes(count: int, node: str = "node-a", first_us: int = START_US) -> list[Window]:
    """Windows of a node that follow each other."""
    return [window(node=node, start_us=first_us + at * MINUTE_US) for at in range(count)]


def received(content: Window, sequence: int = 1, refusal: Refusal | None = None) -> Received:
    """The window as it arrives from the node's agent; the same window and sequence have the same bytes."""
    agent_id = f"agent-of-{content.node}"
    message = codec.encode(content, agent_id, "boot-1", sequence)
    return Received(message, _LAYOUTS.read(message), agent_id, "boot-1", sequence, content.end_us + 1_000_000, refusal)


def all_received(windows: Sequence[Window]) -> list[Received]:
    """The windows as they arrive, numbered in order."""
    return [received(content, sequence) for sequence, content in enumerate(windows, start=1)]


def owners() -> st.SearchStrategy[Owner]:
    """Containers of a few pods, known by UID or by when they were first seen; host processes; nobody."""
    pods = st.builds(
        Owner,
        st.just(OwnerKind.POD),
        st.sampled_from(_NAMESPACES),
        st.sampled_from(["train-0", "serve-1"]),
        st.sampled_from(["main", "side"]),
    )
    named = st.one_of(
        st.builds(lambda owner, uid: _with(owner, pod_uid=uid), pods, st.sampled_from(["uid-1", "uid-2"])),
        st.builds(lambda owner, seen: _with(owner, first_seen_us=seen), pods, st.integers(1, 3)),
    )
    hosts = st.builds(Owner, st.just(OwnerKind.HOST), user=st.sampled_from(["root", "ann"]), unit=st.just("x.service"))
    return st.one_of(named, named, hosts)


@st.composite
def histories(draw: st.DrawFn, most: int = 12) -> list[Window]:
    """Windows of several nodes, none of which overlap on one node, in no order; short ones and gaps among them."""
    taken: dict[tuple[str, str], int] = {}
    windows = []
    for _ in range(draw(st.integers(1, most))):
        cluster, node = draw(st.sampled_from([("east", "a"), ("east", "b"), ("west", "a")]))
        start_us = taken.get((cluster, node), START_US) + draw(st.sampled_from([0, 1, 17])) * MINUTE_US
        length_us = draw(st.sampled_from([MINUTE_US, MINUTE_US, 1, 7_000_003]))
        if (start_us % MINUTE_US) + length_us > MINUTE_US:  # agents cut windows at their grid
            length_us = MINUTE_US - start_us % MINUTE_US
        taken[cluster, node] = start_us + length_us
        windows.append(draw(_windows(cluster, node, start_us, length_us)))
    return draw(st.permutations(windows))


@st.composite
def _windows(draw: st.DrawFn, cluster: str, node: str, start_us: int, length_us: int) -> Window:
    count = draw(st.integers(0, 2))
    devices = tuple(draw(_devices(f"GPU-{cluster}-{node}-{at}", length_us)) for at in range(count))
    return Window(cluster, node, start_us, start_us + length_us, devices, draw(st.sampled_from([0, 5])), 0)


@st.composite
def _devices(draw: st.DrawFn, uuid: str, length_us: int) -> DeviceWindow:
    """States that sum to the capacity, and energies that sum to the counter's difference where it is known."""
    energy = draw(st.sampled_from(["unknown", "dynamic", "both"]))
    holders = draw(st.lists(owners(), max_size=3, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, length_us), min_size=2 * len(holders), max_size=2 * len(holders))))
    pieces = [end - start for start, end in zip([0, *cuts], [*cuts, length_us], strict=True)]
    lines = [draw(_held(owner, *pieces[2 * at : 2 * at + 2], energy)) for at, owner in enumerate(holders)]
    reason = draw(st.sampled_from([Reason.NONE, Reason.NO_SAMPLE]))
    state = "unobserved_us" if reason is Reason.NO_SAMPLE else "unallocated_us"
    key = LineKey(WHOLE_GPU, PLATFORM_KEY.owner, Basis.NONE, reason)
    lines.append(Line(key, Source.NONE, **{state: pieces[-1]}, **draw(_energy(energy))))
    start_mj, total = draw(st.integers(0, 10**12)), sum(line.energy_mj or 0 for line in lines)
    known = energy != "unknown"
    counters = (start_mj, start_mj + total) if known else (None, None)
    model = draw(st.sampled_from([MODEL, "NVIDIA A100-SXM4-40GB"]))
    used = {line.key.partition for line in lines}
    profiles = {partition: profile for partition, profile in PROFILES.items() if partition in used}
    part = DeviceWindow(
        uuid, model, length_us, tuple(lines), *counters, energy_breaks=int(not known), profiles=profiles
    )
    edges = [draw(_edge(holders)) for _ in range(2)]
    return replace(part, start_holders=edges[0], end_holders=edges[1], unavailable_at_end=draw(st.booleans()))


@st.composite
def _edge(draw: st.DrawFn, holders: Sequence[Owner]) -> tuple[Holding, ...]:
    """Who held the device at an edge: some of those who held it in the window, in equal parts."""
    there = [owner for owner in holders if draw(st.booleans())]
    partition = WHOLE_GPU if len(there) == 1 else "replica"
    return tuple(Holding(owner, partition, Fraction(1, len(there))) for owner in there)


@st.composite
def _held(draw: st.DrawFn, owner: Owner, used_us: int, idle_us: int, energy: str) -> Line:
    basis = draw(st.sampled_from([Basis.RESERVATION, Basis.PROCESS]))
    memos = {name: draw(st.sampled_from([0, 3])) for name in ("burst_us", "intruder_us", "held_us")}
    memos["held_us"] = min(memos["held_us"], used_us + idle_us)
    source = draw(st.sampled_from(_MEASURED))
    key = LineKey(draw(st.sampled_from([WHOLE_GPU, "replica", *PROFILES])), owner, basis)
    more = {"memory_byte_s": draw(st.sampled_from([None, 0, 80 << 30])), "quality": None}
    if used_us and draw(st.booleans()):
        more["quality"] = Quality(used_us, *(draw(st.integers(0, used_us)) for _ in range(4)))
    return Line(key, source, used_us, idle_us, **memos, **draw(_energy(energy)), **more)


@st.composite
def _energy(draw: st.DrawFn, known: str) -> dict[str, int | None]:
    amounts = st.integers(0, 50_000)
    return {
        "energy_idle_mj": draw(amounts) if known == "both" else None,
        "energy_dynamic_mj": None if known == "unknown" else draw(amounts),
    }


def _with(owner: Owner, pod_uid: str = "", first_seen_us: int = 0) -> Owner:
    return Owner(owner.kind, owner.namespace, owner.pod, owner.container, pod_uid, first_seen_us)
