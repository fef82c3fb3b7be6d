"""Who holds which device: the kubelet's list of device ids becomes holdings with shares.

Whole GPUs and time-sliced replicas are understood. An id that cannot be placed makes the devices that it may mean
unattributable, which is honest, where calling them free would not be.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from gputally.accounting.keys import REPLICA, WHOLE_GPU, Holding, Owner
from gputally.accounting.settlement import Contest
from gputally.agent.held import NOBODY, UNKNOWN, Held
from gputally.agent.sample import DeviceInfo

_GKE = re.compile(r"nvidia(\d+)")
_GPU = re.compile(r"GPU-")  # names one device for certain; one that the driver does not show is none of those it shows


@dataclass(frozen=True, slots=True)
class Grant:
    """One container's device ids, as the kubelet lists them, with its owner and the pod's API start (None unknown)."""

    owner: Owner
    device_ids: tuple[str, ...]
    started_us: int | None = None
    first_seen_us: int = 0


@dataclass(slots=True)
class _Claims:
    """The ids of one device, sorted out."""

    whole: list[Grant] = field(default_factory=list)
    replicas: list[tuple[Grant, str]] = field(default_factory=list)


def place(
    devices: Sequence[DeviceInfo], grants: Iterable[Grant], allocatable: Iterable[str], *, unclear: bool = False
) -> dict[str, Held]:
    """Who holds each device, by UUID. `allocatable`: all ids that the plugin offers, which tell how many replicas.

    `unclear`: the kubelet also lists holdings that cannot be read yet, which may be of any device that seems free.
    """
    claims = {device.uuid: _Claims() for device in devices}
    minors = {device.minor: device.uuid for device in devices if device.minor is not None}
    partitioned, anywhere = unclear, unclear
    for grant in grants:
        for device_id in grant.device_ids:
            if not _place(device_id, grant, claims, minors) and not _GPU.match(device_id):
                partitioned = True
                anywhere |= not device_id.startswith("MIG-")
    replicas = _replicas(allocatable)
    held = {uuid: _held(claim, replicas.get(uuid, 0)) for uuid, claim in claims.items()}
    if partitioned:
        held |= {d.uuid: UNKNOWN for d in devices if d.mig_enabled or (anywhere and held[d.uuid] == NOBODY)}
    return held


def _place(device_id: str, grant: Grant, claims: Mapping[str, _Claims], minors: Mapping[int, str]) -> bool:
    gke = _GKE.fullmatch(device_id)
    uuid, _, replica = (minors.get(int(gke[1]), ""), "", "") if gke else device_id.partition("::")
    if uuid not in claims:
        return False
    if replica:
        claims[uuid].replicas.append((grant, replica))
    else:
        claims[uuid].whole.append(grant)
    return True


def _replicas(allocatable: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for device_id in allocatable:
        uuid, separator, _ = device_id.partition("::")
        if separator:
            counts[uuid] = counts.get(uuid, 0) + 1
    return counts


def _held(claims: _Claims, replicas: int) -> Held:
    if claims.whole:
        return _exclusive(claims.whole, WHOLE_GPU, Fraction(1))
    if not claims.replicas:
        return NOBODY
    if replicas < len({replica for _, replica in claims.replicas}):
        return UNKNOWN  # how many replicas there are is not known (yet), so neither are the shares
    return _shared(claims.replicas, replicas)


def _shared(replicas: list[tuple[Grant, str]], count: int) -> Held:
    shares: dict[Owner, Fraction] = {}
    contested: set[Owner] = set()
    contested_share = Fraction(0)
    for replica in sorted({name for _, name in replicas}):
        held = _exclusive([grant for grant, name in replicas if name == replica], REPLICA, Fraction(1, count))
        for holding in held.holdings:
            shares[holding.owner] = shares.get(holding.owner, Fraction(0)) + holding.share
        if held.contest:
            contested |= held.contest.owners
            contested_share += held.contest.share
    holdings = tuple(Holding(owner, REPLICA, shares[owner]) for owner in sorted(shares, key=lambda o: o.text))
    return Held(holdings, Contest(frozenset(contested), contested_share) if contested_share else None)


def _exclusive(grants: list[Grant], partition: str, share: Fraction) -> Held:
    """One id listed for several pods: the later start wins, else the one first seen later, else nobody does."""
    if len({grant.owner for grant in grants}) == 1:
        return Held((Holding(grants[0].owner, partition, share),))
    starts = [grant.started_us for grant in grants if grant.started_us is not None]
    latest = {g.owner for g in grants if g.started_us == max(starts)} if len(starts) == len(grants) else set()
    if len(latest) != 1:
        latest = {g.owner for g in grants if g.first_seen_us == max(grant.first_seen_us for grant in grants)}
    if len(latest) == 1:
        return Held((Holding(latest.pop(), partition, share),))
    return Held((), Contest(frozenset(grant.owner for grant in grants), share))
