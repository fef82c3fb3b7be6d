"""When rates and teams become others within a period, and of what: so that sums are cut where they must be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Changes:
    """Instants strictly within a period: of anything, of all namespaces of a name, of all nodes of a name."""

    always: tuple[int, ...] = ()
    namespaces: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    nodes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def all(self) -> tuple[int, ...]:
        """Every instant, ascending."""
        found = set(self.always)
        for of_name in (*self.namespaces.values(), *self.nodes.values()):
            found.update(of_name)
        return tuple(sorted(found))


def by_name(found: Iterable[tuple[str, int]], besides: Iterable[int]) -> dict[str, tuple[int, ...]]:
    """Instants of each name, ascending, without those at which everything changes anyhow."""
    apart: dict[str, set[int]] = {}
    known = frozenset(besides)
    for name, us in found:
        if us not in known:
            apart.setdefault(name, set()).add(us)
    return {name: tuple(sorted(instants)) for name, instants in sorted(apart.items())}
