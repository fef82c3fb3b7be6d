"""What is fuzzed: a door of the product, what good input for it looks like, and how it must refuse the rest."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings
from tests.fuzz.mutation import mutated

Feed = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Target:
    """`opened` gives the door: it takes an input, and answers whether it was accepted or refused in words.

    Anything that it raises is a crash, as is an assertion that something was written all the same.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    opened: Callable[[], AbstractContextManager[Feed]]


@dataclass(slots=True)
class Figures:
    """What became of the inputs."""

    accepted: int = 0
    refused: int = 0

    @property
    def tried(self) -> int:
        """All of them."""
        return self.accepted + self.refused


def fuzz(target: Target, examples: int) -> Figures:
    """Try that many inputs; raises with the smallest one found where the door crashes."""
    figures = Figures()
    seeds = target.seeds()
    with target.opened() as feed:

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(mutated(seeds))
        def try_one(data: bytes) -> None:
            if feed(data):
                figures.accepted += 1
            else:
                figures.refused += 1

        for seed in seeds:
            assert feed(seed), f"{target.name}: a seed is refused, so nothing behind the first check is tried"
        try_one()
    return figures
