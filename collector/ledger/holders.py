"""Who held a device at a window's edge, as `window_device` keeps it."""

import json
from collections.abc import Mapping
from typing import TypeAlias

Held: TypeAlias = tuple[int, str, str, int, int]  # owner_id, partition, profile, numerator and denominator of the share


def read_holders(text: str | None) -> list[Held]:
    """The holders of a column; NULL is nobody."""
    return [(*row,) for row in json.loads(text)] if text else []


def profiles_of(text: str | None) -> Mapping[str, str]:
    """The profile of each held partition."""
    return {partition: profile for _, partition, profile, *_ in read_holders(text)}
