"""Pods that hold GPUs idle, as small as a test of what is told needs them."""

from dataclasses import replace
from fractions import Fraction

from gputally.collector.notify.idle_pod import IdlePart, IdlePod, PodKey
from gputally.collector.rates.cost import SCALE

MINUTE_US = 60_000_000
START_US = 1_794_994_620_000_000  # 2026-11-18T09:37:00Z
AFTER_US = 30 * MINUTE_US
KEY = PodKey("prod", "research", "pretrain-0")


def part(number: int = 0, length: int = 30, since: int = 0, price: int | None = 2, held: int = 600) -> IdlePart:
    """A GPU that is idle for `length` minutes since the minute `since`; `price` in whole units of currency an hour."""
    idle_us = length * MINUTE_US
    cost = None if price is None else SCALE * price * length // 60
    since_us = START_US + since * MINUTE_US
    return IdlePart(
        f"GPU-{number}",
        "gpu",
        Fraction(1),
        since_us,
        since_us + idle_us,
        held * MINUTE_US,
        False,
        idle_us,
        cost,
        0 if price is not None else idle_us,
    )


def pod(*parts: IdlePart, key: PodKey = KEY, held: int = 8) -> IdlePod:
    """A pod that holds so many GPUs, of which these are idle."""
    return IdlePod(
        key, "language", ("gpu-2",), ("NVIDIA H100 80GB HBM3",), held, parts, len(parts) * 2 * SCALE, 62 << 30, "EUR"
    )


def shared(one: IdlePart, gpus: Fraction) -> IdlePart:
    """The same as a part of a GPU."""
    return replace(one, gpus=gpus, partition="MIG-1")
