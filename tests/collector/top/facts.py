"""Facts of a fleet in a minute, made by hand."""

from collections.abc import Sequence
from itertools import count
from zoneinfo import ZoneInfo

from gputally.accounting.keys import WHOLE_GPU
from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.now.latest import Part, Standing
from gputally.collector.now.pods import PodSpells, known
from gputally.collector.now.spells import Spell
from gputally.collector.rates.cost import SCALE
from gputally.collector.top.facts import Facts, Where

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
NOON_US = 1_782_907_200_000_000  # 2026-07-01T12:00:00Z: the end of every window here
_ids = count(1)


def standing(
    pod: str = "train-0",
    *,
    used: int = 0,
    idle: int = 0,
    unobserved: int = 0,
    free: int = 0,
    namespace: str = "vision",
    container: str = "main",
    node: str = "gpu-1",
    cluster: str = "east",
    uuid: str = "GPU-11b1c7a0-3d4e-4f8a-9c61-0e2f7d8a4b11",
    partition: str = WHOLE_GPU,
    profile: str = "",
    kind: OwnerKind = OwnerKind.POD,
    user: str = "",
    memory_gib: int | None = 1,
    end_us: int = NOON_US,
) -> Standing:
    """A part of a device in a window of a minute; times are seconds."""
    amounts = Amounts(*(s * 1_000_000 for s in (used, idle, free, 0, unobserved)))
    memory = None if memory_gib is None else (memory_gib << 30) * 60
    named = (namespace, pod, container) if kind is OwnerKind.POD else ("", "", "")
    return Standing(
        Part(1, next(_ids), partition, next(_ids)),
        *(cluster, node, uuid, "NVIDIA H100", profile),
        *(kind, *named, user),
        *(end_us - MINUTE_US, end_us),
        amounts,
        memory,
    )


def spell(one: Standing, hours: int, cost: int | None = 1, *, before: bool = False) -> Spell:
    """What is idle, for so long, and has cost so much of the currency."""
    since_us = one.end_us - hours * HOUR_US
    return Spell(one, since_us, before, hours * HOUR_US, None if cost is None else cost * SCALE, 0 if cost else 1)


def facts(
    standings: Sequence[Standing],
    spells: Sequence[Spell] = (),
    *,
    price: int | None = 2,
    now_us: int = NOON_US + 42_000_000,
    where: Where | None = None,
) -> Facts:
    """Facts of these; each GPU costs `price` an hour."""
    rates = {one.part: None if price is None else int(one.share * price * SCALE) for one in standings}
    pods = []
    for one in spells:
        held = one.standing
        cost = known([one.cost])
        pods.append(PodSpells(held.cluster, held.namespace, held.pod, "", (one,), cost, rates[held.part]))
    found = {one.standing.part: one for one in spells}
    return Facts(where or Where(), ZoneInfo("UTC"), now_us, standings, found, pods, rates, "EUR")
