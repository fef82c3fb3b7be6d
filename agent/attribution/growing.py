"""The stretch that is growing: what happened since the last change that decides who pays. Pure and exact."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from gputally.accounting.keys import Owner
from gputally.accounting.settlement import Coverage, Stretch
from gputally.accounting.states import Source
from gputally.accounting.stretch import InstanceStretch
from gputally.agent.attribution.busy import WHOLE, Piece
from gputally.agent.attribution.process_track import Amount, Tally
from gputally.agent.held import Held, HeldInstance

Clients = frozenset[Owner] | None


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What decides who pays for a device, or for one instance; `clients` as in `Stretch`."""

    coverage: Coverage
    clients: Clients = None


@dataclass(slots=True)
class GrowingPart:
    """A device, or one instance. Busy amounts are parts per million times microseconds."""

    held: Held
    facts: PartFacts
    busy: int = 0
    filled_us: int = 0
    source: Source = Source.NONE
    percent: dict[Owner, Amount] = field(default_factory=dict)
    memory: dict[Owner, Amount | None] | None = None
    _names: dict[Owner, Owner] = field(default_factory=dict)

    def add_piece(self, piece: Piece, duration_us: int) -> None:
        """Add so much of a piece."""
        self.busy += piece.ppm * duration_us
        if piece.source is not self.source:
            self.source = self.source.least_certain(piece.source)
        if piece.held:
            self.filled_us += duration_us

    def add_tally(self, tally: Tally, duration_us: int) -> None:
        """Add so much of what was known of processes."""
        for named, percent in tally.percent.items():
            owner = self._name(named)
            self.percent[owner] = self.percent.get(owner, 0) + percent * duration_us
        if tally.memory is None:
            return
        if self.memory is None:
            self.memory = {}
        for named, held in tally.memory.items():
            owner = self._name(named)
            before = self.memory.get(owner, 0)
            self.memory[owner] = None if held is None or before is None else before + held * duration_us

    def _name(self, named: Owner) -> Owner:
        name = self._names.get(named)
        if name is None:
            name = self._names[named] = self.held.as_held(named)
        return name

    def stretch(self, duration_us: int, *, available: bool) -> Stretch:
        """The part as settlement takes it."""
        return Stretch(
            duration_us=duration_us,
            holdings=self.held.holdings,
            contest=self.held.contest,
            coverage=self.facts.coverage,
            available=available,
            busy_us=Fraction(self.busy, WHOLE),
            process_busy_us={owner: Fraction(amount) / 100 for owner, amount in self.percent.items()},
            source=self.source,
            held_us=self.filled_us,
            clients=self.facts.clients,
            unused_share=self.held.unused_share,
            memory_byte_us=self.memory,
            monitors=self.held.monitors,
        )


@dataclass(slots=True)
class Growing:
    """The stretch of one device; `instances` stand in the order of `held.instances`, `ghosts` in byte microseconds."""

    start_us: int
    held: Held
    available: bool
    whole: GrowingPart
    instances: list[GrowingPart]
    ghosts: int = 0

    @classmethod
    def begin(
        cls, start_us: int, held: Held, whole: PartFacts, instances: Sequence[PartFacts], *, available: bool
    ) -> "Growing":
        """A stretch that begins with these facts."""
        parts = zip(held.instances, instances, strict=True)
        growing = [GrowingPart(instance.held, facts) for instance, facts in parts]
        return cls(start_us, held, available, GrowingPart(held, whole), growing)

    def continues(self, held: Held, whole: PartFacts, instances: Sequence[PartFacts], *, available: bool) -> bool:
        """Whether nothing of what decides who pays has changed."""
        return (
            self.available is available
            and self.whole.facts == whole
            and (self.held is held or self.held == held)
            and all(part.facts == facts for part, facts in zip(self.instances, instances, strict=True))
        )

    def stretch(self, end_us: int) -> Stretch:
        """What it has become, energy and quality aside: they are known later."""
        duration_us = end_us - self.start_us
        if not self.instances:
            return self.whole.stretch(duration_us, available=self.available)
        parts = [
            _instance(instance, part.stretch(duration_us, available=self.available))
            for instance, part in zip(self.held.instances, self.instances, strict=True)
        ]
        coverage = self.whole.facts.coverage
        return Stretch(duration_us, coverage=coverage, available=self.available, instances=tuple(parts))


def _instance(instance: HeldInstance, stretch: Stretch) -> InstanceStretch:
    return InstanceStretch(instance.uuid, instance.share, stretch, instance.profile)
