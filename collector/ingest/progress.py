"""What one stream may be told: which of its windows have an outcome, and up to where all of them have."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gputally.collector.ingest.admission import Refusal, RefusalReason
from gputally.proto import telemetry_pb2 as pb

_REASONS: Mapping[RefusalReason, pb.Refusal.Reason] = {
    RefusalReason.INVALID: pb.Refusal.REFUSAL_INVALID,
    RefusalReason.CONFLICT: pb.Refusal.REFUSAL_CONFLICT,
    RefusalReason.CLOCK: pb.Refusal.REFUSAL_CLOCK,
    RefusalReason.TOO_OLD: pb.Refusal.REFUSAL_TOO_OLD,
    RefusalReason.IDENTITY: pb.Refusal.REFUSAL_IDENTITY,
}


@dataclass(slots=True)
class Progress:
    """What one stream may be told: which of its windows have an outcome."""

    _pending: Counter[int] = field(default_factory=Counter)
    _settled: set[int] = field(default_factory=set)
    _refusals: list[pb.Refusal] = field(default_factory=list)
    _committed_through: int = 0
    _told_through: int = 0

    @property
    def waiting(self) -> bool:
        """Whether windows were received that have no outcome yet."""
        return bool(self._pending)

    def received(self, sequence: int) -> None:
        """A window came in; the same sequence may come again."""
        self._pending[sequence] += 1

    def settled(self, sequence: int, refusal: Refusal | None) -> None:
        """A window that was received has its outcome."""
        self._pending[sequence] -= 1
        if not self._pending[sequence]:
            del self._pending[sequence]
            self._settled.add(sequence)
        if refusal:
            self._refusals.append(pb.Refusal(sequence=sequence, reason=_REASONS[refusal.reason], detail=refusal.detail))

    def news(self) -> pb.Ack | None:
        """The acknowledgement that is due, once; None where nothing changed since the last."""
        self._advance()
        if self._committed_through == self._told_through and not self._refusals:
            return None
        ack = pb.Ack(committed_through=self._committed_through, refusals=self._refusals)
        self._told_through = self._committed_through
        self._refusals = []
        return ack

    def _advance(self) -> None:
        """Up to the highest sequence below which nothing that was received waits."""
        if not self._settled:
            return
        first = min(self._pending, default=None)
        done = {sequence for sequence in self._settled if first is None or sequence < first}
        self._settled -= done
        self._committed_through = max(done | {self._committed_through})
