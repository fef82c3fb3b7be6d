"""Who holds which device: what the kubelet lists becomes holdings with shares.

Whole GPUs, MIG devices, replicas of both, and DRA claims on both. A name that cannot be placed makes what seems free on
the devices that it may mean unattributable, which is honest, where calling them free would not be.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from gputally.accounting.keys import REPLICA, WHOLE_GPU, Holding, Owner
from gputally.accounting.settlement import Contest
from gputally.agent.held import NOBODY, UNKNOWN, Held, HeldInstance
from gputally.agent.reservations.bids import Bid, decide, latest_us
from gputally.agent.reservations.device_id import DeviceName, Place, locate, parse_id
from gputally.agent.sample import DeviceInfo

_ALL = Fraction(1)


@dataclass(frozen=True, slots=True)
class Grant:
    """One container's device ids, as the kubelet lists them, with its owner and the pod's API start (None unknown)."""

    owner: Owner
    device_ids: tuple[str, ...]
    started_us: int | None = None
    first_seen_us: int = 0


@dataclass(frozen=True, slots=True)
class ClaimingPod:
    """A pod that uses a claim. `owner` is the pod, without a container; `containers` are those that list the claim."""

    owner: Owner
    containers: tuple[Owner, ...]
    started_us: int | None = None
    first_seen_us: int = 0


@dataclass(frozen=True, slots=True)
class ClaimGrant:
    """A DRA claim on one device, with the pods that use it: none where it is allocated and not used.

    `device` is None where the name means nothing. `admin`: for monitoring, it holds nothing. `partial`: it holds a
    capacity of the device that nobody here knows.
    """

    device: DeviceName | None
    pods: tuple[ClaimingPod, ...] = ()
    admin: bool = False
    partial: bool = False


@dataclass(slots=True)
class _Listed:
    """What is listed for one place, sorted out. `offered`: the replicas that it is divided into."""

    whole: list[Bid] = field(default_factory=list)
    replicas: list[tuple[str, Grant]] = field(default_factory=list)
    offered: set[str] = field(default_factory=set)
    monitors: set[Owner] = field(default_factory=set)
    unused: bool = False


class _Book:
    """Places everything that is listed on the devices that the driver shows."""

    def __init__(self, devices: Sequence[DeviceInfo]) -> None:
        self._devices = devices
        self._listed: dict[Place, _Listed] = {}
        self.suspects: set[str] = set()

    def at(self, place: Place) -> _Listed:
        return self._listed.setdefault(place, _Listed())

    def find(self, name: DeviceName | None) -> tuple[Place, ...]:
        """Where a listed name points; what it may mean besides becomes suspect."""
        located = locate(name, self._devices)
        self.suspects |= located.suspects
        return located.places

    def offer(self, device_id: str) -> None:
        name = parse_id(device_id)
        if name and name.replica:
            for place in locate(name, self._devices).places:
                self.at(place).offered.add(name.replica)

    def grant(self, grant: Grant) -> None:
        for device_id in grant.device_ids:
            name = parse_id(device_id)
            for place in self.find(name):
                if name and name.replica:
                    self.at(place).replicas.append((name.replica, grant))
                else:
                    self.at(place).whole.append(_bid(grant, _partition(place), _ALL))

    def claim(self, claim: ClaimGrant) -> None:
        for place in self.find(claim.device):
            listed = self.at(place)
            if claim.admin:
                listed.monitors.update(owner for pod in claim.pods for owner in pod.containers)
            elif claim.pods:
                listed.whole.append(_claim_bid(claim, _partition(place)))
            else:
                listed.unused = True


def place(
    devices: Sequence[DeviceInfo],
    grants: Iterable[Grant],
    allocatable: Iterable[str],
    claims: Iterable[ClaimGrant] = (),
) -> dict[str, Held]:
    """Who holds each device, by UUID. `allocatable`: all ids that the plugin offers, which tell how many replicas."""
    book = _Book(devices)
    for device_id in allocatable:
        book.offer(device_id)
    for grant in grants:
        book.grant(grant)
    for claim in claims:
        book.claim(claim)
    return {device.uuid: _of_device(device, book) for device in devices}


def _of_device(device: DeviceInfo, book: _Book) -> Held:
    """A device is held as a whole, or by its instances; where both are listed, whoever came later counts."""
    suspect = device.uuid in book.suspects
    listed = book.at(Place(device.uuid))
    if not device.instances:
        return _of_place(listed, WHOLE_GPU, suspect=suspect)
    of_instances = {one.uuid: book.at(Place(device.uuid, one.uuid)) for one in device.instances}
    divided = _divided(device, of_instances, listed.monitors, suspect=suspect)
    whole = _bids(listed, WHOLE_GPU)
    inside = [bid for uuid, instance in of_instances.items() for bid in _bids(instance, uuid)]
    if not whole:
        return divided
    if not inside:
        return decide(whole, _ALL)
    return decide([*whole, _together(divided, inside)], _ALL)


def _divided(device: DeviceInfo, listed: Mapping[str, _Listed], monitors: set[Owner], *, suspect: bool) -> Held:
    """A partitioned device; not known where the driver does not say how large its parts are.

    Who monitors all of it monitors each of its parts.
    """
    slices = [one.slices for one in device.instances if one.slices]
    if not device.slices or len(slices) < len(device.instances) or sum(slices) > device.slices:
        return UNKNOWN
    parts = []
    for one, own in zip(device.instances, slices, strict=True):
        held = _of_place(listed[one.uuid], one.uuid, suspect=suspect)
        held = replace(held, monitors=held.monitors | monitors)
        parts.append(HeldInstance(one.uuid, one.profile, Fraction(own, device.slices), held))
    return Held(instances=tuple(parts))


def _of_place(listed: _Listed, partition: str, *, suspect: bool) -> Held:
    bids = _bids(listed, partition)
    held = decide(bids, _ALL) if bids else _free(unused=listed.unused, suspect=suspect)
    return replace(held, monitors=frozenset(listed.monitors)) if listed.monitors else held


def _free(*, unused: bool, suspect: bool) -> Held:
    if unused:
        return Held(unused_share=_ALL)
    return UNKNOWN if suspect else NOBODY


def _bids(listed: _Listed, partition: str) -> list[Bid]:
    """The ways in which a place is held; those who hold its replicas hold it together."""
    if not listed.replicas:
        return listed.whole
    shared = [_bid(grant, partition, _ALL) for _, grant in listed.replicas]
    return [*listed.whole, _together(_shared(listed), shared)]


def _together(held: Held, bids: Sequence[Bid]) -> Bid:
    return Bid(held, latest_us([bid.started_us for bid in bids]), max(bid.first_seen_us for bid in bids))


def _shared(listed: _Listed) -> Held:
    """Replicas: n of R each. How many there are may not be known (yet), and neither are the shares then."""
    names = sorted({name for name, _ in listed.replicas})
    if len(listed.offered) < len(names):
        return UNKNOWN
    one = Fraction(1, len(listed.offered))
    parts = [decide([_bid(grant, REPLICA, one) for at, grant in listed.replicas if at == name], one) for name in names]
    merged: dict[Owner, Holding] = {}
    for holding in (holding for part in parts for holding in part.holdings):
        before = merged.get(holding.owner)
        merged[holding.owner] = replace(holding, share=holding.share + before.share) if before else holding
    contests = [part.contest for part in parts if part.contest]
    contested = frozenset(owner for contest in contests for owner in contest.owners)
    holdings = tuple(sorted(merged.values(), key=lambda holding: holding.owner.text))
    return Held(holdings, Contest(contested, one * len(contests)) if contests else None)


def _bid(grant: Grant, partition: str, share: Fraction) -> Bid:
    return Bid(Held((Holding(grant.owner, partition, share),)), grant.started_us, grant.first_seen_us)


def _claim_bid(claim: ClaimGrant, partition: str) -> Bid:
    """A claim of one pod holds the whole; several pods share it as if each had one replica of it."""
    pods = sorted(claim.pods, key=lambda pod: pod.owner.text)
    if claim.partial:
        held = UNKNOWN
    elif len(pods) == 1:
        held = Held((_claimed(pods[0], partition, _ALL),))
    else:
        held = Held(tuple(_claimed(pod, REPLICA, Fraction(1, len(pods))) for pod in pods))
    return Bid(held, latest_us([pod.started_us for pod in pods]), max(pod.first_seen_us for pod in pods))


def _claimed(pod: ClaimingPod, partition: str, share: Fraction) -> Holding:
    """The pod settles as one holder; a single container that lists the claim is the holder itself."""
    if len(pod.containers) == 1:
        return Holding(pod.containers[0], partition, share)
    return Holding(pod.owner, partition, share, pod.containers)


def _partition(place: Place) -> str:
    return place.instance or WHOLE_GPU
