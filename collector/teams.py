"""Which team and cost centre a namespace belongs to, in each hour: the mapping file first, then labels, annotations.

The file says which labels to look at, and may map namespaces itself, from a ledger hour on. An entry for a cluster
beats one for all clusters; what an entry leaves open is looked up in the labels. Any label beats any annotation.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gputally.collector.cluster.labels import LabelHistory, Labels, read_namespaces
from gputally.collector.files.applied import Kind, current
from gputally.collector.files.effective import Series, note_overlaps, read_validity
from gputally.collector.files.yaml_file import (
    Fields,
    FileMistakes,
    Mistakes,
    as_fields,
    as_items,
    as_text,
    as_texts,
    check_version,
    parse_yaml,
    required,
)

TEAM_KEYS = ("gputally.io/team", "team")
COST_CENTER_KEYS = ("gputally.io/cost-center", "cost-center")

_TOP = ("version", "team_keys", "cost_center_keys", "namespaces")
_ENTRY = ("namespace", "cluster", "team", "cost_center", "valid_from", "valid_to", "note")


@dataclass(frozen=True, slots=True)
class Assignment:
    """The team and cost centre of a namespace; None: not known. `source` says where each was found, for people."""

    team: str | None = None
    cost_center: str | None = None
    source: str = "nothing says"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the file says of a namespace, from a ledger hour on; a cluster of None means every one."""

    namespace: str
    cluster: str | None
    team: str | None
    cost_center: str | None
    valid_from_us: int
    valid_to_us: int | None
    line: int


@dataclass(frozen=True)
class TeamMapping:
    """A whole mapping file."""

    team_keys: tuple[str, ...] = TEAM_KEYS
    cost_center_keys: tuple[str, ...] = COST_CENTER_KEYS
    entries: tuple[Entry, ...] = ()

    @cached_property
    def series(self) -> Mapping[tuple[str | None, str], Series[Entry]]:
        """The entries by cluster and namespace."""
        return {key: Series(entries) for key, entries in _by_key(self.entries).items()}


def parse_mapping(content: bytes, zone: ZoneInfo) -> TeamMapping:
    """The mapping of a file; raises FileMistakes with everything that is wrong with it."""
    mistakes = Mistakes()
    node = parse_yaml(content, mistakes)
    if node is None and not mistakes:
        mistakes.add(1, "the file is empty")
    top = as_fields(node, "a team mapping", _TOP, mistakes)
    found = None if top is None else _mapping(top, zone, mistakes)
    if found is None or mistakes:
        raise FileMistakes(mistakes.all)
    return found


def _mapping(top: Fields, zone: ZoneInfo, mistakes: Mistakes) -> TeamMapping:
    check_version(top, mistakes)
    entries = tuple(_entries(top, zone, mistakes))
    for (cluster, namespace), of_key in _by_key(entries).items():
        place = f"namespace {namespace}" + (f" of cluster {cluster}" if cluster else "")
        note_overlaps(of_key, place, mistakes)
    return TeamMapping(
        as_texts(top.get("team_keys"), "team_keys", mistakes) or TEAM_KEYS,
        as_texts(top.get("cost_center_keys"), "cost_center_keys", mistakes) or COST_CENTER_KEYS,
        entries,
    )


def _entries(top: Fields, zone: ZoneInfo, mistakes: Mistakes) -> Iterator[Entry]:
    for item in as_items(top.get("namespaces"), "namespaces", mistakes):
        fields = as_fields(item, "an entry of namespaces", _ENTRY, mistakes)
        if fields is not None:
            yield from _entry(fields, zone, mistakes)


def _entry(fields: Fields, zone: ZoneInfo, mistakes: Mistakes) -> Iterator[Entry]:
    namespace = required(fields, "namespace", lambda node: as_text(node, "namespace", mistakes), mistakes)
    texts = {name: as_text(fields.get(name), name, mistakes) for name in ("cluster", "team", "cost_center", "note")}
    if texts["team"] is None and texts["cost_center"] is None:
        mistakes.add(fields.line, "team or cost_center is missing")
    validity = read_validity(fields, zone, mistakes)
    if namespace is not None and validity is not None:
        yield Entry(namespace, texts["cluster"], texts["team"], texts["cost_center"], *validity, fields.line)


def _by_key(entries: Iterable[Entry]) -> dict[tuple[str | None, str], list[Entry]]:
    found: dict[tuple[str | None, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        found[entry.cluster, entry.namespace].append(entry)
    return found


class TeamBook:
    """A mapping and the labels of namespaces, ready to be asked."""

    def __init__(self, mapping: TeamMapping, namespaces: LabelHistory) -> None:
        self._mapping = mapping
        self._namespaces = namespaces
        self._series = mapping.series

    def at(self, cluster: str, namespace: str, hour_us: int) -> Assignment:
        """Whose a namespace is in the ledger hour that begins at `hour_us`."""
        entry = self._entry(cluster, namespace, hour_us)
        labels = self._namespaces.at(cluster, namespace, hour_us)
        said = (entry.team, entry.cost_center) if entry else (None, None)
        line = entry.line if entry else 0
        team, team_source = _found(said[0], line, labels, self._mapping.team_keys)
        center, center_source = _found(said[1], line, labels, self._mapping.cost_center_keys)
        sources = (("team", team_source), ("cost centre", center_source))
        told = ", ".join(f"{what} from {source}" for what, source in sources if source)
        return Assignment(team, center, told or "nothing says")

    def team(self, cluster: str, namespace: str, hour_us: int) -> str | None:
        """The team alone, which takes a fraction of the time."""
        entry = self._entry(cluster, namespace, hour_us)
        if entry is not None and entry.team is not None:
            return entry.team
        return _found(None, 0, self._namespaces.at(cluster, namespace, hour_us), self._mapping.team_keys)[0]

    @property
    def namespaces(self) -> list[tuple[str, str]]:
        """Cluster and name of every namespace that was ever seen, or is mapped in one cluster; sorted."""
        mapped = {(entry.cluster, entry.namespace) for entry in self._mapping.entries if entry.cluster is not None}
        return sorted({*self._namespaces.names, *mapped})

    def changes(self, start_us: int, end_us: int) -> Iterator[tuple[str, int]]:
        """Namespaces, by name, with the instants strictly within a period from which one may be another team's."""
        for (_, name), series in self._series.items():
            yield from ((name, us) for us in series.breakpoints if start_us < us < end_us)
        for (cluster, name), us in self._namespaces.changes(start_us, end_us):
            before, after = self.at(cluster, name, us - 1), self.at(cluster, name, us)
            if (before.team, before.cost_center) != (after.team, after.cost_center):
                yield name, us

    def breakpoints(self, cluster: str, namespace: str) -> list[int]:
        """The instants from which another assignment may hold, ascending."""
        edges = set(self._namespaces.breakpoints(cluster, namespace))
        for key in ((cluster, namespace), (None, namespace)):
            series = self._series.get(key)
            if series is not None:
                edges.update(series.breakpoints)
        return sorted(edges)

    def _entry(self, cluster: str, namespace: str, us: int) -> Entry | None:
        for key in ((cluster, namespace), (None, namespace)):
            series = self._series.get(key)
            entry = None if series is None else series.at(us)
            if entry is not None:
                return entry
        return None


def read_teams(connection: Connection, zone: ZoneInfo, as_of_us: int | None = None) -> TeamBook:
    """The teams by the mapping and the labels that hold, or that were known at `as_of_us`."""
    applied = current(connection, Kind.TEAMS, as_of_us)
    mapping = TeamMapping() if applied is None else _applied_mapping(applied.content, zone)
    return TeamBook(mapping, read_namespaces(connection, zone, as_of_us))


@lru_cache(maxsize=4)
def _applied_mapping(content: bytes, zone: ZoneInfo) -> TeamMapping:
    """A mapping that was applied: it is the same for one question after the other."""
    return parse_mapping(content, zone)


def _found(said: str | None, line: int, labels: Labels | None, keys: Sequence[str]) -> tuple[str | None, str]:
    """What the file says, else what the labels do; and where it was found."""
    if said is not None:
        return said, f"the mapping's line {line}"
    for kind, texts in (("label", labels.labels), ("annotation", labels.annotations)) if labels else ():
        text, key = _first(texts, keys)
        if text is not None:
            return text, f"{kind} {key}"
    return None, ""


def _first(texts: Mapping[str, str], keys: Sequence[str]) -> tuple[str | None, str]:
    """The first key that has a text which can be printed on one line, and that text."""
    stripped = ((texts.get(key, "").strip(), key) for key in keys)
    return next(((text, key) for text, key in stripped if text and text.isprintable()), (None, ""))
