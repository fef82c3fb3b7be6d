"""The nouns of a rate card.

A value is an exact integer of 10⁻⁹: of the card's currency per GPU-hour or kilowatt-hour, of the PUE, of a gram of CO₂e
per kilowatt-hour. A share of a device is a share of a GPU-hour: one slice of seven for an hour is 1/7 GPU-hour.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

NANO = 1_000_000_000

_SEPARATORS = re.compile(r"[^0-9a-z]+")
# What GPU Feature Discovery appends to a product name in a node label where a GPU is shared.
_SHARING = re.compile(r"-shared$|-mig-[0-9a-z-]+$")


class Quantity(StrEnum):
    """What a rule says a value of, by the name of its field in the card."""

    GPU_HOUR = "per_gpu_hour"
    KWH = "per_kwh"
    PUE = "pue"
    CARBON = "g_co2e_per_kwh"


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule asks of a use; None and an empty tuple ask nothing. `model` and `profile` are canonical names."""

    namespace: str | None = None
    team: str | None = None
    profile: str | None = None
    model: str | None = None
    node_labels: tuple[tuple[str, str], ...] = ()
    cluster: str | None = None

    @property
    def plain(self) -> tuple[tuple[str, str | None], ...]:
        """Every field but the labels, the one that weighs most first."""
        return (
            ("namespace", self.namespace),
            ("team", self.team),
            ("profile", self.profile),
            ("model", self.model),
            ("cluster", self.cluster),
        )

    def __str__(self) -> str:
        asked = [f"{name} {value}" for name, value in self.plain if value is not None]
        asked += [f"node label {name}={value}" for name, value in self.node_labels]
        return ", ".join(asked) or "everything"


@dataclass(frozen=True, slots=True)
class Rule:
    """One value and what it holds for, from a ledger hour on. `line` is where the card says it."""

    quantity: Quantity
    match: Match
    value: int
    valid_from_us: int
    valid_to_us: int | None
    line: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A whole rate card. `models` leads from the key of a name (`model_key`) to the card's own name of the model."""

    currency: str
    models: Mapping[str, str]
    rules: tuple[Rule, ...]

    def model(self, name: str) -> str:
        """The canonical name of a model, however it is spelt; its key where the card has no name for it."""
        key = model_key(name)
        return self.models.get(key, key)


@dataclass(frozen=True, slots=True)
class Use:
    """What a rate is asked for: a device or partition in a place, held by a namespace in an hour.

    `namespace` and `team` are None for the platform's time, and `team` where no team is known. `model` is NVML's name
    or any other spelling; `node_labels` are sorted.
    """

    cluster: str
    model: str
    profile: str = ""
    namespace: str | None = None
    team: str | None = None
    node_labels: tuple[tuple[str, str], ...] = ()


def model_key(name: str) -> str:
    """One key for the spellings of a product: NVML's name, its form in a node label, with or without the maker.

    `NVIDIA H100 80GB HBM3`, `NVIDIA-H100-80GB-HBM3` and `nvidia-h100-80gb-hbm3-SHARED` have one key.
    """
    key = _SEPARATORS.sub("-", name.casefold()).strip("-")
    return _SHARING.sub("", key).removeprefix("nvidia-") or key


def profile_key(name: str) -> str:
    """One key for the spellings of a MIG profile: `1g.10gb`, `MIG 1g.10gb` and `mig-1g.10gb`."""
    return name.casefold().strip().removeprefix("mig").lstrip(" -")


def exact(value: int) -> str:
    """A value as people write it: 2500000000 is 2.5."""
    whole, rest = divmod(value, NANO)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
