"""Who holds a device: the noun between placement, which decides it, and attribution, which charges by it."""

from dataclasses import dataclass
from fractions import Fraction

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.settlement import Contest


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

    def as_held(self, owner: Owner) -> Owner:
        """The owner under the name that it holds by: a pod's UID may be learned after its reservation."""
        if owner in self.listed:
            return owner
        return next((other for other in self.listed if _is_completed(other, owner)), owner)


@dataclass(frozen=True, slots=True)
class HeldInstance:
    """Who holds one MIG instance; `share` is the instance's part of its device."""

    uuid: str
    profile: str
    share: Fraction
    held: Held


NOBODY = Held()
UNKNOWN = Held(known=False)


def _is_completed(one: Owner, other: Owner) -> bool:
    """Whether both name the same container, one of them without its pod's UID."""
    names = [(o.kind, o.namespace, o.pod, o.container) for o in (one, other)]
    return names[0] == names[1] and "" in (one.pod_uid, other.pod_uid)
