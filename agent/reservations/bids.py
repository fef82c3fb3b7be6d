"""Two holders of one thing: of several ways in which a partition is listed as held, which one counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.settlement import Contest
from gputally.agent.held import Held


@dataclass(frozen=True, slots=True)
class Bid:
    """One way in which a partition is held: by a container, by the pods of a claim, or by all holders of replicas.

    `started_us` is the latest start of its pods by the API (None: not known of all), `first_seen_us` when the last of
    them was first seen; both in microseconds since the epoch.
    """

    held: Held
    started_us: int | None
    first_seen_us: int


def decide(bids: Sequence[Bid], share: Fraction) -> Held:
    """The later start wins, else the one first seen later, else nobody does. One pod is not two holders.

    `share`: of the device or instance, the part that is bid for. Raises ValueError when nobody bids.
    """
    if all(bid.held == bids[0].held for bid in bids):
        return bids[0].held
    holders = [holding for bid in bids for holding in bid.held.holdings]
    if all(bid.held.known and not bid.held.instances for bid in bids) and len({_pod(h.owner) for h in holders}) == 1:
        return Held((_merged(holders),))
    latest = _latest(bids)
    return latest.held if latest else Held((), Contest(_owners(bids), share))


def latest_us(starts: Sequence[int | None]) -> int | None:
    """The latest of some starts; None where one of them is not known, or there are none."""
    known = [start for start in starts if start is not None]
    return max(known) if known and len(known) == len(starts) else None


def _latest(bids: Sequence[Bid]) -> Bid | None:
    """The one bid that came last; None where that cannot be told."""
    last_us = latest_us([bid.started_us for bid in bids])
    latest = [bid for bid in bids if last_us is not None and bid.started_us == last_us]
    if len(latest) != 1:
        last_us = max(bid.first_seen_us for bid in bids)
        latest = [bid for bid in bids if bid.first_seen_us == last_us]
    return latest[0] if len(latest) == 1 else None


def _pod(owner: Owner) -> tuple[str, str, str, int]:
    return (owner.namespace, owner.pod, owner.pod_uid, 0 if owner.pod_uid else owner.first_seen_us)


def _merged(holders: Sequence[Holding]) -> Holding:
    """One pod that is listed in several ways: it holds once, for all containers that were listed."""
    containers = {owner for holding in holders for owner in holding.containers or (holding.owner,)}
    if len(containers) == 1:
        return replace(holders[0], owner=containers.pop(), containers=())
    pod = replace(holders[0].owner, container="")
    return replace(holders[0], owner=pod, containers=tuple(sorted(containers, key=lambda owner: owner.text)))


def _owners(bids: Sequence[Bid]) -> frozenset[Owner]:
    """The containers that are listed, whoever bids for them: none of them is an intruder."""
    found: set[Owner] = set()
    for held in (part for bid in bids for part in (bid.held, *(each.held for each in bid.held.instances))):
        found |= {owner for holding in held.holdings for owner in holding.containers or (holding.owner,)}
        found |= held.contest.owners if held.contest else set()
    return frozenset(found)
