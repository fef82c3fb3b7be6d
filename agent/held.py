"""Who holds a device: the noun between placement, which decides it, and attribution, which charges by it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.settlement import Contest
from gputally.accounting.states import OwnerKind
from gputally.agent.sample import DeviceInfo


@dataclass(frozen=True, slots=True)
class Held:
    """Who holds a device, or one MIG instance (shares are then of the instance).

    Not `known`: nobody can say, so its time is unattributed. `instances`: the device is partitioned, each instance is
    held for itself, and the other fields say nothing. `unused_share`: held by claims that no pod uses. `monitors`:
    containers with admin access, which hold nothing and whose processes are no intruders.
    """

    holdings: tuple[Holding, ...] = ()
    contest: Contest | None = None
    known: bool = True
    instances: tuple["HeldInstance", ...] = ()
    unused_share: Fraction = Fraction(0)
    monitors: frozenset[Owner] = frozenset()

    @property
    def listed(self) -> tuple[Owner, ...]:
        """Whom the kubelet lists for the device, holders or not."""
        return (*(holding.owner for holding in self.holdings), *(self.contest.owners if self.contest else ()))

    @property
    def shared(self) -> bool:
        """Whether it is held, and not all of it by one owner."""
        if not self.holdings:
            return False
        first = self.holdings[0].owner
        return any(h.owner != first for h in self.holdings) or sum(h.share for h in self.holdings) < 1

    def part(self, instance: str) -> "Held":
        """Who holds the MIG device with this UUID; a device that is not partitioned is its own only part."""
        if not self.instances:
            return self
        return next((each.held for each in self.instances if each.uuid == instance), NOBODY)

    def lists(self, owner: Owner) -> bool:
        """Whether the owner is listed, under whatever name it holds by."""
        return self.as_held(owner) in self.listed

    def as_held(self, owner: Owner) -> Owner:
        """The owner under the name that it holds by.

        A pod's UID may be learned after its reservation. What a container does that holds nothing is its pod's only
        holder's; a pod holds a claim as one, so it is the holder whichever container it is.
        """
        listed = self.listed
        if owner in listed or owner in self.monitors or owner.kind is not OwnerKind.POD:
            return owner
        pod = dict.fromkeys(other for other in listed if _is_same_pod(other, owner))
        return next((other for other in pod if len(pod) == 1 or other.container in ("", owner.container)), owner)


@dataclass(frozen=True, slots=True)
class HeldInstance:
    """Who holds one MIG instance; `share` is the instance's part of its device."""

    uuid: str
    profile: str
    share: Fraction
    held: Held


Placement = Callable[[Sequence[DeviceInfo]], dict[str, Held]]  # who holds each of these devices, by UUID

NOBODY = Held()
UNKNOWN = Held(known=False)


def _is_same_pod(one: Owner, other: Owner) -> bool:
    names = [(o.kind, o.namespace, o.pod) for o in (one, other)]
    return names[0] == names[1] and ("" in (one.pod_uid, other.pod_uid) or one.pod_uid == other.pod_uid)
