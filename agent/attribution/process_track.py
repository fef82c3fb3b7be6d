"""Whose processes were on a device: process lists become intervals, each with what every owner did and held in it.

Utilisation is an average since the query before and is spread evenly over it. Memory is held from its list to the
next. Who was on either of two lists was there between them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from gputally.accounting.keys import PLATFORM, Owner
from gputally.agent.held import Held
from gputally.agent.sample import GpuProcess, ProcessKind, ProcessReading

Owners = Callable[[GpuProcess, Held], Sequence[Owner]]
Amount = int | Fraction


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known of one partition's processes: utilisation in percent, memory in bytes, who runs there.

    `memory` is None where no list was ever read, an owner's None where the driver did not say. `mps`: the driver
    cannot tell the clients apart.
    """

    percent: Mapping[Owner, Amount] = field(default_factory=dict)
    memory: Mapping[Owner, Amount | None] | None = None
    live: frozenset[Owner] = frozenset()
    mps: bool = False


NOTHING = Tally()


@dataclass(frozen=True, slots=True)
class ProcessInterval:
    """The time up to `end_us`, from the interval before; `parts` by MIG device ("" on an unpartitioned device).

    `ghost_bytes`: memory of processes that no longer exist. `listed`: whether a list was ever read.
    """

    end_us: int
    parts: Mapping[str, Tally]
    ghost_bytes: int = 0
    listed: bool = True

    def tally(self, part: str) -> Tally:
        """A partition's; on one without a process everybody is known to hold nothing."""
        return self.parts.get(part) or (_EMPTY if self.listed else NOTHING)


_EMPTY = Tally(memory={})


@dataclass(frozen=True, slots=True)
class _List:
    """One reading of the process lists, with the owners of every process."""

    owners: Mapping[int, Sequence[Owner]] = field(default_factory=dict)
    processes: Sequence[GpuProcess] = ()
    parts: Mapping[int, str] = field(default_factory=dict)
    read: bool = False


class ProcessTrack:
    """One device's processes, known up to `known_us`; `extend` and `give_up` move that forward."""

    def __init__(self, start_us: int, owners: Owners, held: Held, first: ProcessReading | None) -> None:
        self.known_us = start_us
        self._owners = owners
        self._last = _List()
        self._standing: dict[str, Tally] = {}  # the last list's: memory and who runs, without utilisation
        self._ghost_bytes = 0
        if first is not None and first.processes is not None:
            self._stand(self._read(first.processes, held))

    def extend(self, now_us: int, since_us: int | None, detail: ProcessReading, held: Held) -> list[ProcessInterval]:
        """Take a reading; `since_us`: a new probe's utilisation begins there, nobody was asked before."""
        intervals = self.give_up(min(now_us, since_us)) if since_us is not None else []
        listed = self._read(detail.processes, held) if detail.processes is not None else self._last
        if now_us > self.known_us:
            self.known_us = now_us
            parts = self._joined(self._tallies(detail, listed), listed)
            intervals.append(ProcessInterval(now_us, parts, self._ghost_bytes, self._last.read))
        self._stand(listed)
        return intervals

    def give_up(self, until_us: int) -> list[ProcessInterval]:
        """No more can be learned of the time up to `until_us`: the last list stands, utilisation is not known."""
        if until_us <= self.known_us:
            return []
        self.known_us = until_us
        return [ProcessInterval(until_us, self._standing, self._ghost_bytes, self._last.read)]

    def _read(self, processes: Sequence[GpuProcess], held: Held) -> _List:
        owners, parts = {}, {}
        for process in processes:
            part = process.instance if held.instances else ""
            parts[process.pid] = part
            owners[process.pid] = self._owners_of(process, held.part(part))
        return _List(owners, processes, parts, read=True)

    def _owners_of(self, process: GpuProcess, held: Held) -> Sequence[Owner]:
        owners = self._owners(process, held)
        return (PLATFORM,) if is_overhead(process, owners, held) else owners

    def _tallies(self, detail: ProcessReading, listed: _List) -> dict[str, dict[Owner, Amount]]:
        """Utilisation by partition and owner; the server's is its clients', so it is nobody's for certain."""
        named = dict(self._last.owners)
        named |= {
            p.pid: listed.owners[p.pid] for p in listed.processes if p.process or p.pid not in named
        }  # may be ending
        parts = {**self._last.parts, **listed.parts}
        percent: dict[str, dict[Owner, Amount]] = {}
        for entry in detail.busy or ():
            found = named.get(entry.pid, ())
            for owner in found:
                if owner != PLATFORM:
                    of_part = percent.setdefault(parts[entry.pid], {})
                    of_part[owner] = of_part.get(owner, 0) + _even(entry.percent, len(found))
        return percent

    def _joined(self, percent: dict[str, dict[Owner, Amount]], listed: _List) -> dict[str, Tally]:
        """What stood since the last list, with the utilisation, and who came meanwhile."""
        if not percent and listed.processes == self._last.processes:
            return self._standing
        live, mps = _running(listed)
        parts = {}
        for part in {*self._standing, *percent, *live}:
            tally = self._standing.get(part, _EMPTY if self._last.read else NOTHING)
            here = tally.live | live.get(part, frozenset())
            parts[part] = Tally(percent.get(part, {}), tally.memory, here, tally.mps or part in mps)
        return parts

    def _stand(self, listed: _List) -> None:
        last = self._last
        if (listed.processes, listed.owners, listed.parts, listed.read) == (
            last.processes,
            last.owners,
            last.parts,
            last.read,
        ):
            return
        live, mps = _running(listed)
        memory = _memory(listed)
        self._standing = {p: Tally({}, memory.get(p, {}), live.get(p, frozenset()), p in mps) for p in {*live, *memory}}
        self._ghost_bytes = sum(p.memory_bytes or 0 for p in listed.processes if p.process is None)
        self._last = listed


def is_overhead(process: GpuProcess, owners: Sequence[Owner], held: Held) -> bool:
    """Whether this is an MPS server, which is the platform's.

    One that a holder runs is not, nor one that a user runs outside pods: it serves nobody but him, and whoever has a
    process may call it so.
    """
    return process.server and not (_is_users(process) or any(held.lists(owner) for owner in owners))


def _is_users(process: GpuProcess) -> bool:
    """Whether a user of the machine runs it, and not root."""
    found = process.process
    in_pod = found is not None and found.container is not None and found.container.kind == "pod"
    return found is not None and not in_pod and found.user not in ("", "root", "0")


def _running(listed: _List) -> tuple[dict[str, frozenset[Owner]], frozenset[str]]:
    """Who runs on each partition, and where MPS does."""
    live: dict[str, set[Owner]] = {}
    mps = set()
    for process in listed.processes:
        part = listed.parts[process.pid]
        live.setdefault(part, set()).update(owner for owner in listed.owners[process.pid] if owner != PLATFORM)
        if PLATFORM in listed.owners[process.pid] or process.kind is ProcessKind.MPS:
            mps.add(part)
    return {part: frozenset(owners) for part, owners in live.items()}, frozenset(mps)


def _memory(listed: _List) -> dict[str, dict[Owner, Amount | None]]:
    """Bytes by partition and owner, of processes that exist; unknown is not 0."""
    memory: dict[str, dict[Owner, Amount | None]] = {}
    for process in listed.processes:
        of_part = memory.setdefault(listed.parts[process.pid], {})
        owners = listed.owners[process.pid] if process.process else ()
        for owner in owners:
            known, more = of_part.get(owner, 0), process.memory_bytes
            of_part[owner] = None if known is None or more is None else known + _even(more, len(owners))
    return memory


def _even(whole: int, count: int) -> Amount:
    return whole if count == 1 else Fraction(whole, count)
