"""What the API says of this node's DRA claims: which device is for monitoring only, and which claim no pod uses.

The kubelet names claims and their devices, but tells neither. The table is written by one thread and read by any.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gputally.agent.kube.slices import DRIVER, DraDevice

MAX_CLAIMS = 4096  # of one node; far more than its devices can be allocated to


@dataclass(frozen=True, slots=True)
class Allocated:
    """One device of a claim's allocation. `admin`: for monitoring; `partial`: a part of its capacity."""

    device: DraDevice
    admin: bool = False
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A ResourceClaim: the devices that were allocated to it, and whether it is reserved for anybody."""

    uid: str
    namespace: str
    name: str
    devices: tuple[Allocated, ...] = ()
    reserved: bool = False


def parse_claim(raw: Mapping[str, Any]) -> Claim:
    """The fields that placement needs, from v1, v1beta2 and v1beta1 alike. Raises KeyError without identity."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    results = ((status.get("allocation") or {}).get("devices") or {}).get("results") or ()
    return Claim(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        devices=tuple(_allocated(result) for result in results),
        reserved=bool(status.get("reservedFor")),
    )


def _allocated(result: Mapping[str, Any]) -> Allocated:
    device = DraDevice(result["driver"], result["pool"], result["device"])
    return Allocated(device, result.get("adminAccess") is True, bool(result.get("shareID")))


class ClaimTable:
    """The claims on GPUs of one node, whose pool bears its name; others are dropped at once, for memory's sake.

    One thread writes; any thread reads. `refused` counts claims beyond MAX_CLAIMS.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._claims: Mapping[str, Claim] = {}
        self._admin: frozenset[tuple[str, str, DraDevice]] = frozenset()
        self.refused = 0

    def replace(self, claims: Iterable[Claim], _now_us: int) -> None:
        """Take over a complete list."""
        kept: dict[str, Claim] = {}
        for claim in claims:
            self._keep(kept, claim)
        self._swap(kept)

    def put(self, claim: Claim, _now_us: int) -> None:
        """Take over a new or changed claim; one that is no more allocated here is forgotten."""
        if claim.uid not in self._claims and not self._concerns(claim):
            return  # the usual case: the watch tells of the claims of all nodes
        kept = {uid: known for uid, known in self._claims.items() if uid != claim.uid}
        self._keep(kept, claim)
        self._swap(kept)

    def delete(self, claim: Claim, _now_us: int) -> None:
        """Take over that a claim is gone."""
        self._swap({uid: known for uid, known in self._claims.items() if uid != claim.uid})

    def is_admin(self, namespace: str, name: str, device: DraDevice) -> bool:
        """Whether a claim has a device for monitoring only; no, where nothing is known of the claim."""
        return (namespace, name, device) in self._admin

    def unused(self) -> tuple[DraDevice, ...]:
        """The devices that are held by claims that no pod uses."""
        return tuple(
            one.device
            for claim in self._claims.values()
            if not claim.reserved
            for one in claim.devices
            if self._is_here(one) and not one.admin and not one.partial
        )

    def _keep(self, kept: dict[str, Claim], claim: Claim) -> None:
        if not self._concerns(claim):
            return
        if len(kept) < MAX_CLAIMS:
            kept[claim.uid] = claim
        else:
            self.refused += 1

    def _concerns(self, claim: Claim) -> bool:
        return any(self._is_here(one) for one in claim.devices)

    def _is_here(self, one: Allocated) -> bool:
        return (one.device.driver, one.device.pool) == (DRIVER, self._node)

    def _swap(self, claims: Mapping[str, Claim]) -> None:
        held = {(c.namespace, c.name, one.device) for c in claims.values() for one in c.devices if not one.admin}
        every = {(c.namespace, c.name, one.device) for c in claims.values() for one in c.devices}
        self._claims, self._admin = claims, frozenset(every - held)
