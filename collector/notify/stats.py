"""What this process told, since it started."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NotifyStats:
    """`failed` counts attempts by reason; `suppressed` messages by why they were not sent on their own."""

    sent: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    suppressed: Mapping[str, int] = field(default_factory=dict)
