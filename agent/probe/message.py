"""What the probe and its parent say to each other: nouns of their own, because the child runs as `__main__`."""

from dataclasses import dataclass

from gputally.agent.sample import Sample

FLUSH = "flush"  # the request for one full sample, now


@dataclass(frozen=True, slots=True)
class Failure:
    """The driver cannot be used right now: one line for people. `fatal`: this child ends, a new one may work."""

    message: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """The pod UIDs of this node, downwards: they tell nested pods from the billable one."""

    uids: frozenset[str]


@dataclass(frozen=True, slots=True)
class TakeUp:
    """A GPU that was left out is well again, downwards: it is touched from now on."""

    index: int


Message = Sample | Failure
