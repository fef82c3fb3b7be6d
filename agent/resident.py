"""Whose memory is on a device at one instant, and how much of it belongs to nobody who may be there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gputally.accounting.keys import Owner
from gputally.agent.attribution.process_track import Owners, is_overhead
from gputally.agent.held import UNKNOWN, Held
from gputally.agent.sample import GpuProcess, ProcessReading


@dataclass(frozen=True, slots=True)
class Resident:
    """Bytes by owner, an owner's None where the driver did not say; a holder without a process holds 0.

    `intruder_bytes`: of processes that hold no reservation of what they run on while others do, monitors left out; None
    where that is not known.
    """

    by_owner: Mapping[Owner, int | None] = field(default_factory=dict)
    intruder_bytes: int | None = None


def resident(reading: ProcessReading, held: Held, owners: Owners) -> Resident:
    """Who the processes of a reading are, by who holds the device now."""
    if reading.processes is None:
        return Resident()
    by_owner: dict[Owner, int | None] = {}
    intruders: list[int | None] = []
    all_named = held.known
    for process in reading.processes:
        if process.process is None:
            continue
        part = held.part(process.instance) if held.known else UNKNOWN
        found = owners(process, part)
        if is_overhead(process, found, part):
            continue
        found = found or _sole_holder(process, part)
        all_named &= bool(found)
        for owner in found:
            bytes_each = None if process.memory_bytes is None else process.memory_bytes // len(found)
            name = owner if owner.container else part.as_held(owner)
            by_owner[name] = _sum(by_owner.get(name, 0), bytes_each)
            if _is_intruder(owner, part):
                intruders.append(bytes_each)
    if all_named:
        by_owner = {owner: by_owner.get(owner, 0) for owner in (*_holders(held), *by_owner)}
    return Resident(by_owner, _total(intruders) if all_named else None)


def _sole_holder(process: GpuProcess, part: Held) -> tuple[Owner, ...]:
    """A pod's process that cannot be named, on what one owner wholly holds, is taken for that owner's."""
    in_pod = process.process is not None and process.process.container is not None
    alone = len(part.holdings) == 1 and part.holdings[0].share == 1
    return (part.holdings[0].owner,) if in_pod and alone else ()


def _is_intruder(owner: Owner, part: Held) -> bool:
    return bool(part.listed) and not (part.lists(owner) or owner in part.monitors)


def _holders(held: Held) -> list[Owner]:
    parts = [instance.held for instance in held.instances] or [held]
    holdings = [holding for part in parts for holding in part.holdings]
    return [owner for holding in holdings for owner in holding.containers or (holding.owner,)]


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _total(parts: list[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
