"""A pod's life, as far as kinds of waste depend on it: when it used anything, what it never used, whether it ended."""

from dataclasses import dataclass

ENDED_AFTER_US = 15 * 60_000_000  # a node that goes on so long without a pod says that the pod has ended


@dataclass(frozen=True, slots=True)
class Life:
    """A partition in the life of its pod.

    `used_from_us` and `used_until_us` are of the pod on all of its partitions, from the start of the first window with
    any use to the end of the last one (None: none yet); `part_used` is whether it ever used this one.
    """

    used_from_us: int | None
    used_until_us: int | None
    part_used: bool
    ended: bool


def has_ended(held_until_us: int, node_until_us: int | None, gone_after_us: int, *, known: bool) -> bool:
    """Whether a pod has ended: the API said so (`known`), or its node has gone on without it, or all is silence.

    `held_until_us` is the end of its last window, `node_until_us` that of its node's (None: none is kept).
    `gone_after_us` is before which silent nodes count as gone.
    """
    if known or held_until_us < gone_after_us:
        return True
    return node_until_us is not None and node_until_us > held_until_us + ENDED_AFTER_US
