"""The MIG profiles of models, each compared with NVIDIA's MIG user guide, chapter "Supported MIG Profiles".

The guide has a table for each of these: A30; A100 of 40 GB, and the names at 80 GB; H100 of 80 GB; H100 of 94 GB, which
is H100 NVL; H100 of 96 GB, which is the GPU of GH200; H200 of 141 GB; B200 of 180 GB. The example configuration of
NVIDIA's mig-parted names most of the same profiles for the device ids of these boards. Of profiles with media engines
(`+me`) and of those that are a whole GPU nothing is said. A model that is not in here has none that anybody is advised
to use.
"""

import re
from dataclasses import dataclass

GIGABYTE = 10**9  # a profile's name says gigabytes; none of them has fewer than four fifths of that


@dataclass(frozen=True, slots=True)
class Profile:
    """A GPU instance: compute slices, and memory by its name in gigabytes."""

    name: str
    slices: int
    gigabytes: int


@dataclass(frozen=True, slots=True)
class Board:
    """What a model can be divided into; `slices` are the compute slices of the whole GPU."""

    slices: int
    profiles: tuple[Profile, ...]


def _board(slices: int, *names: str) -> Board:
    """The smallest profile first."""
    found = []
    for name in names:
        compute, _, memory = name.removesuffix("gb").partition("g.")
        found.append(Profile(name, int(compute), int(memory)))
    return Board(slices, tuple(sorted(found, key=lambda one: (one.slices, one.gigabytes))))


_80GB = _board(7, "1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb")
# By the product names that NVML gives.
_BOARDS: tuple[tuple[re.Pattern[str], Board], ...] = tuple(
    (re.compile(pattern), board)
    for pattern, board in (
        (r"NVIDIA A30", _board(4, "1g.6gb", "2g.12gb")),
        (
            r"(?:NVIDIA )?A100-(?:SXM4|PCIE)-40GB",
            _board(7, "1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb"),
        ),
        (r"(?:NVIDIA )?A100(?:-SXM4-80GB| 80GB PCIe)", _80GB),
        (r"NVIDIA H100 (?:80GB HBM3|80GB HBM2e|PCIe)", _80GB),
        (r"NVIDIA H100 NVL", _board(7, "1g.12gb", "1g.24gb", "2g.24gb", "3g.47gb", "4g.47gb")),
        (r"NVIDIA GH200 480GB", _board(7, "1g.12gb", "1g.24gb", "2g.24gb", "3g.48gb", "4g.48gb")),
        (r"NVIDIA H200(?: NVL)?", _board(7, "1g.18gb", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb")),
        (r"NVIDIA B200", _board(7, "1g.23gb", "1g.45gb", "2g.45gb", "3g.90gb", "4g.90gb")),
    )
)


def board_of(model: str) -> Board | None:
    """What a model can be divided into; None: nothing, or nobody told us."""
    return next((board for pattern, board in _BOARDS if pattern.fullmatch(model)), None)
