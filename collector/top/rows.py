"""The rows: each part of a device that somebody has, in words, and the orders that they can stand in."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from gputally.accounting.ledger_hour import from_us
from gputally.accounting.states import OwnerKind, State
from gputally.collector.notify.message import printable
from gputally.collector.now import names
from gputally.collector.now.latest import Standing
from gputally.collector.now.pods import known
from gputally.collector.now.spells import Spell
from gputally.collector.top.facts import Facts
from gputally.collector.web import words

UNKNOWN = "–"  # what is not known, not measured or not priced; never 0
MORE = "+"  # the figure lacks what has no price, or what was before the ledger was looked at
SILENT = "silent"  # the node says nothing: what it said last is not what is
INTRUDER = "intruder"  # it has no time of its own, and runs in another's
_SHORTEST = 8  # characters of a UUID
_LONG = 14  # a MIG device whose profile is not known goes by the beginning of its UUID
_SECOND_US = 1_000_000


class Sort(StrEnum):
    """What comes first: the dearest spell, the dearest hour, the longest spell, the busiest, the fullest; or by name.

    What is not known comes last.
    """

    COST = "cost"
    RATE = "rate"
    SINCE = "since"
    BUSY = "busy"
    MEMORY = "memory"
    NAME = "name"


class By(StrEnum):
    """What a row stands for: all that a container has on a node, or each part of a device."""

    CONTAINER = "container"
    PARTITION = "partition"


class Column(StrEnum):
    """What a row says, from left to right."""

    NAMESPACE = "NAMESPACE"
    POD = "POD"
    CONTAINER = "CONTAINER"
    NODE = "NODE"
    GPUS = "GPUs"
    DEVICE = "DEVICE"
    PART = "PART"
    MODEL = "MODEL"
    STATE = "STATE"
    BUSY = "BUSY"
    SINCE = "IDLE SINCE"
    LASTS = "IDLE FOR"
    MEMORY = "GiB"
    RATE = "COST/H"
    COST = "SPELL"


@dataclass(frozen=True, slots=True)
class Row:
    """Parts of devices and who has them; `values` are what it is sorted by, None: not known."""

    cells: Mapping[Column, str]
    state: State | None
    silent: bool
    values: Mapping[Sort, Fraction | int | None]
    name: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """What one row stands for: one part, or more of the same container on the same node."""

    facts: Facts
    parts: Sequence[Standing]

    @property
    def silent(self) -> bool:
        return self.parts[0].silent(self.facts.now_us)

    @property
    def spells(self) -> list[Spell]:
        return [self.facts.spells[one.part] for one in self.parts if one.part in self.facts.spells]

    @property
    def rate(self) -> int | None:
        """Of an hour; None where any of it has no price, or is not known to be there."""
        rates = [self.facts.rates[one.part] for one in self.parts]
        return None if self.silent or None in rates else known(rates)

    @property
    def cost(self) -> int | None:
        return known(spell.cost for spell in self.spells)

    @property
    def costs_more(self) -> bool:
        return any(spell.costs_more for spell in self.spells)

    @property
    def busy(self) -> tuple[int, int]:
        """The used part of the time that was measured, and that time: (0, 0) where none was."""
        parts = () if self.silent else self.parts
        return sum(one.amounts.used_us for one in parts), sum(one.measured_us for one in parts)

    @property
    def memory(self) -> Fraction | None:
        """Bytes; None where any of it is not known."""
        means = [mean for mean in map(_mean, self.parts) if mean is not None]
        return None if self.silent or len(means) < len(self.parts) else sum(means, Fraction(0))

    @property
    def state(self) -> tuple[State | None, str]:
        """What it is mostly, in a word; where a part of it is idle, how much."""
        states = [one.state for one in self.parts]
        if self.silent:
            return None, SILENT
        idle = states.count(State.IDLE)
        if 0 < idle < len(states):
            return State.IDLE, f"{idle}/{len(states)} idle"
        state = State.USED if State.USED in states else states[0]
        return state, state.value if state else INTRUDER


def rows(facts: Facts, by: By = By.CONTAINER) -> list[Row]:
    """Who has what, in the order of names; each column of money adds up, whatever the order."""
    held = [one for one in facts.standings if one.kind is not OwnerKind.PLATFORM]
    groups = [_Group(facts, parts) for parts in _grouped(held, by)]
    devices, nodes = _short([one.uuid for one in held]), _nodes(facts.standings)
    found = sorted((_row(group, devices, nodes) for group in groups), key=lambda row: row.name)
    for column, sort in ((Column.RATE, Sort.RATE), (Column.COST, Sort.COST)):
        texts = words.money([_whole(row.values[sort]) for row in found], facts.currency)
        found = [_with(row, column, text) for row, text in zip(found, texts, strict=True)]
    return found


def ordered(found: Sequence[Row], sort: Sort, *, reverse: bool = False) -> list[Row]:
    """The rows by one of their values; equal ones by what an hour costs, then by name."""
    rows = sorted(found, key=lambda row: row.name)
    if sort is Sort.NAME:
        return rows[::-1] if reverse else rows
    rows.sort(key=lambda row: row.values[Sort.RATE] or 0, reverse=True)
    known = [row for row in rows if row.values[sort] is not None]
    known.sort(key=lambda row: row.values[sort] or 0, reverse=not reverse)
    return [*known, *(row for row in rows if row.values[sort] is None)]


def _grouped(held: Sequence[Standing], by: By) -> Iterable[Sequence[Standing]]:
    if by is By.PARTITION:
        return [[one] for one in held]
    groups: dict[tuple[object, ...], list[Standing]] = defaultdict(list)
    for one in held:
        groups[one.cluster, one.node, one.kind, one.namespace, one.pod, one.container, one.user].append(one)
    return groups.values()


def _row(group: _Group, devices: Mapping[str, str], nodes: Mapping[tuple[str, str], str]) -> Row:
    one, spells, memory = group.parts[0], group.spells, group.memory
    used_us, measured_us = group.busy
    state, said = group.state
    named, single = one.kind is OwnerKind.POD, len(group.parts) == 1
    name = (one.namespace, one.pod, one.container) if named else ("(host)", names.holder(one), "")
    cells = {
        **dict(zip((Column.NAMESPACE, Column.POD, Column.CONTAINER), name, strict=True)),
        Column.NODE: nodes[one.cluster, one.node],
        Column.GPUS: names.count(sum((each.share for each in group.parts), Fraction(0))),
        Column.DEVICE: devices[one.uuid] if single else "",
        Column.PART: _part(one) if single else "",
        Column.MODEL: ", ".join(sorted({each.model.removeprefix("NVIDIA ") for each in group.parts})),
        Column.STATE: said,
        Column.BUSY: _said(words.percent(used_us, measured_us)),
        Column.SINCE: _since(group.facts, spells),
        Column.LASTS: _lasts(spells),
        Column.MEMORY: UNKNOWN if memory is None else f"{float(memory / 2**30):,.1f}",
        Column.COST: MORE if group.costs_more else "",
    }
    values = {
        Sort.RATE: group.rate,
        Sort.COST: group.cost,
        Sort.SINCE: max((-spell.since_us for spell in spells), default=None),
        Sort.BUSY: Fraction(used_us, measured_us) if measured_us else None,
        Sort.MEMORY: memory,
    }
    cells = {column: printable(text) for column, text in cells.items()}
    return Row(cells, state, group.silent, values, (*name, one.cluster, one.node, one.uuid, one.part.partition))


def _mean(one: Standing) -> Fraction | None:
    """The memory that was held, in bytes."""
    length_us = one.end_us - one.start_us
    return None if one.memory_byte_s is None or not length_us else Fraction(one.memory_byte_s * _SECOND_US, length_us)


def _whole(value: Fraction | int | None) -> int | None:
    return None if value is None else int(value)


def _with(row: Row, column: Column, money: str) -> Row:
    said = _said(money)
    more = "" if said == UNKNOWN else row.cells.get(column, "")
    return Row({**row.cells, column: said + more}, row.state, row.silent, row.values, row.name)


def _said(text: str) -> str:
    """A figure's words for a narrow column."""
    return UNKNOWN if text in (words.UNKNOWN, words.UNPRICED) else text.replace("\N{NO-BREAK SPACE}", " ")


def _since(facts: Facts, spells: Sequence[Spell]) -> str:
    """When the longest began."""
    if not spells:
        return UNKNOWN
    spell = min(spells, key=lambda spell: spell.since_us)
    began = from_us(spell.since_us).astimezone(facts.zone)
    today = from_us(facts.now_us).astimezone(facts.zone).date() == began.date()
    return ("<" if spell.before else "") + (f"{began:%H:%M}" if today else f"{began.day} {began:%b}")


def _lasts(spells: Sequence[Spell]) -> str:
    """How long the longest has lasted, up to the newest window."""
    if not spells:
        return UNKNOWN
    spell = min(spells, key=lambda spell: spell.since_us)
    text = words.duration(spell.standing.end_us - spell.since_us).replace("less than a minute", "<1 min")
    return (">" if spell.before else "") + text.replace(" min", "m").replace(" h", "h").replace(" d", "d")


def _part(one: Standing) -> str:
    """Which part of the device, where it is not the whole."""
    part = names.partition(one)
    return "" if part == "whole GPU" else part[:_LONG]


def _short(uuids: Sequence[str]) -> dict[str, str]:
    """Beginnings of UUIDs, as long as it takes to tell them apart."""
    bare = {uuid: uuid.removeprefix("GPU-") for uuid in uuids}
    longest = max(map(len, bare.values()), default=0)
    for length in range(_SHORTEST, longest):
        if len({name[:length] for name in bare.values()}) == len(bare):
            return {uuid: name[:length] for uuid, name in bare.items()}
    return bare


def _nodes(standings: Iterable[Standing]) -> dict[tuple[str, str], str]:
    """The nodes' names, with their clusters' where there are several."""
    found = {(one.cluster, one.node) for one in standings}
    several = len({cluster for cluster, _ in found}) > 1
    return {(cluster, node): f"{cluster}/{node}" if several else node for cluster, node in found}
