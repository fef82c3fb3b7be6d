"""The vocabulary that both sides share: states, reasons, bases, sources, owner kinds.

The strings are what travels on the wire and stands in the database; `docs/accounting.md` gives their meaning.
"""

from enum import StrEnum


class State(StrEnum):
    """The five states. Every microsecond of every device is in exactly one; the order here breaks rounding ties."""

    USED = "used"
    IDLE = "idle"
    UNALLOCATED = "unallocated"
    UNAVAILABLE = "unavailable"
    UNOBSERVED = "unobserved"


class Reason(StrEnum):
    """Why time is unobserved or unallocated; plain time has the empty reason."""

    NONE = ""
    NO_SAMPLE = "no-sample"
    NO_UTILISATION = "no-utilisation"
    INVALID_READING = "invalid-reading"
    UNATTRIBUTED = "unattributed"
    TWO_HOLDERS = "two-holders"
    MIG_REMAINDER = "mig-remainder"
    CLAIM_UNUSED = "claim-unused"


class Basis(StrEnum):
    """Why an owner is charged. The platform is charged for no reason of its own: the empty basis."""

    NONE = ""
    RESERVATION = "reservation"
    PROCESS = "process"


class OwnerKind(StrEnum):
    """Who time is charged to: a container of a pod, a process outside pods, or nobody.

    On a machine without Kubernetes a user's Slurm job or systemd unit is what a pod is elsewhere.
    """

    POD = "pod"
    HOST = "host"
    PLATFORM = "platform"


class Source(StrEnum):
    """How a line's busy time was measured, from the most certain to the least; `none` = not measured at all."""

    DEVICE_SAMPLES = "device-samples"
    DEVICE_RATE = "device-rate"
    PROCESS_SAMPLES = "process-samples"
    GPM = "gpm"
    ESTIMATED_SHARE = "estimated-share"
    NONE = "none"

    def least_certain(self, other: "Source") -> "Source":
        """The source of a line made of two parts: the less certain of those that measured anything."""
        if Source.NONE in (self, other):
            return other if self is Source.NONE else self
        return max(self, other, key=_CERTAINTY.__getitem__)


_CERTAINTY = {source: rank for rank, source in enumerate(Source)}
