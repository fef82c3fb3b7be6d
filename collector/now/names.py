"""What a part of a device is called, and who has it."""

from fractions import Fraction

from gputally.accounting.keys import WHOLE_GPU
from gputally.accounting.states import OwnerKind
from gputally.collector.now.latest import Standing

_UNKNOWN_USER = "unknown"


def partition(one: Standing) -> str:
    """The part: a MIG profile, the whole GPU, a part or the rest of it, or what runs there without a reservation."""
    if one.kind is OwnerKind.HOST:
        return "no reservation"
    if one.part.partition != WHOLE_GPU:
        return one.profile or one.part.partition
    if one.share == 1:
        return "whole GPU"
    # A pod's part is what its containers share by a claim, or what it had for a part of the window.
    return "part of a GPU" if one.kind is OwnerKind.POD else "the rest"


def holder(one: Standing) -> str:
    """Whose it is: a namespace, nobody, or a user of the host."""
    if one.kind is OwnerKind.POD:
        return one.namespace
    return "nobody" if one.kind is OwnerKind.PLATFORM else f"host user {one.user or _UNKNOWN_USER}"


def count(gpus: Fraction) -> str:
    """GPUs and parts of them."""
    return str(gpus) if gpus.denominator == 1 else f"{float(gpus):.2f}"
