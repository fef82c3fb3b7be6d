"""What was wasted and how, in words: the five kinds of idle time, and the workloads that lost most by each."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gputally.collector.jobs.wasted import Loss, called
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.lenses import Lens, LensRow
from gputally.collector.waste.read import Wasted, summed
from gputally.collector.web import links, words
from gputally.collector.web.bars import Bar, Segment

MOST_ROWS = 10
MEANINGS: Mapping[Kind, str] = {
    Kind.OVER_ASKED: "of a pod's GPUs, those that it never used",
    Kind.WAITING: "before the first kernel: images, data, ranks that are not there yet",
    Kind.AFTER: "after the last kernel",
    Kind.FORGOTTEN: "half an hour or longer without use, while a process lives",
    Kind.BETWEEN: "the rest, mostly waiting for input",
}

LENSES: Mapping[Lens, str] = {
    Lens.FAILED: "all time of attempts that failed, whatever was done in it",
    Lens.STRAGGLING: "by which ranks stayed behind the best one of their gang",
}


class KindLine(NamedTuple):
    """A kind of idle time; `provisional` says how much of it may yet turn out to be of another, empty where none.

    `unpriced` says what of it is in no cost, empty where the cost is of all of it, or unknown.
    """

    name: str
    meaning: str
    bar: Bar
    hours: str
    part: str
    cost: str
    provisional: str
    unpriced: str


class LossLine(NamedTuple):
    """A workload's idle time of one kind."""

    name: str
    href: str
    namespace: str
    namespace_href: str
    team: str
    team_href: str
    kind: str
    hours: str
    cost: str
    provisional: str
    unpriced: str


class LensLine(NamedTuple):
    """What a workload shows through a lens; it is in the kinds and in the used time already."""

    name: str
    href: str
    lens: str
    meaning: str
    hours: str
    cost: str
    unpriced: str


class Losses(NamedTuple):
    """The kinds that there are, their sum, the dearest losses and how many are left out; `href` leads to all."""

    kinds: tuple[KindLine, ...]
    hours: str
    cost: str
    unpriced: str
    rows: tuple[LossLine, ...]
    left_out: int
    href: str


def losses(
    total: Mapping[Kind, Wasted], found: Sequence[Loss], currency: str, month: str | None, **kept: str | None
) -> Losses:
    """The kinds, and the dearest of what was lost; links lead to the same month (None: this one).

    `kept` is what chose them, of a namespace or a team.
    """
    whole = summed(total.values())
    rows = _rows(found[:MOST_ROWS], currency, month)
    return Losses(
        _kinds(total, whole, currency),
        words.hours([whole.us])[0],
        words.money([whole.cost], currency)[0],
        _unpriced(whole),
        rows,
        max(0, len(found) - MOST_ROWS),
        links.link(links.WORKLOADS, month=month, **kept),
    )


def lenses(found: Sequence[LensRow], currency: str, month: str | None) -> tuple[LensLine, ...]:
    """The dearest of what lenses show."""
    shown = found[:MOST_ROWS]
    hours = words.hours([one.found.us for one in shown])
    costs = words.money([one.found.cost for one in shown], currency)
    return tuple(
        LensLine(
            one.name.label,
            links.workload(one.name, month=month),
            one.lens.value.replace("-", " "),
            LENSES[one.lens],
            *(text, cost, _unpriced(one.found)),
        )
        for one, text, cost in zip(shown, hours, costs, strict=True)
    )


def by_kind(found: Sequence[Loss]) -> Mapping[Kind, Wasted]:
    """What some losses come to."""
    return {kind: summed(one.wasted for one in found if one.kind is kind) for kind in Kind}


def _kinds(total: Mapping[Kind, Wasted], whole: Wasted, currency: str) -> tuple[KindLine, ...]:
    there = {kind: wasted for kind, wasted in total.items() if wasted.us}
    hours = words.hours([wasted.us for wasted in there.values()])
    costs = words.money([wasted.cost for wasted in there.values()], currency)
    return tuple(
        KindLine(
            called(kind),
            MEANINGS[kind],
            _bar(kind, wasted, whole),
            *(text, words.percent(wasted.us, whole.us), cost, provisional(wasted), _unpriced(wasted)),
        )
        for (kind, wasted), text, cost in zip(there.items(), hours, costs, strict=True)
    )


def provisional(wasted: Wasted) -> str:
    """How much of it is not certain yet; empty where all is."""
    if not wasted.provisional_us:
        return ""
    if wasted.provisional_us == wasted.us:
        return "provisional"
    return f"{words.hours([wasted.provisional_us])[0]} h of it provisional"


def _unpriced(wasted: Wasted) -> str:
    some = wasted.unpriced_us > 0 and wasted.cost is not None
    return f"{words.hours([wasted.unpriced_us])[0]} h unpriced" if some else ""


def _bar(kind: Kind, wasted: Wasted, whole: Wasted) -> Bar:
    label = f"{called(kind)} {words.hours([wasted.us])[0]} h"
    return Bar(label, (Segment("idle", "0%", f"{100 * wasted.us / whole.us:.3f}%"),))


def _rows(found: Sequence[Loss], currency: str, month: str | None) -> tuple[LossLine, ...]:
    hours = words.hours([one.wasted.us for one in found])
    costs = words.money([one.wasted.cost for one in found], currency)
    return tuple(
        LossLine(
            one.name.label,
            links.workload(one.name, month=month),
            one.name.namespace,
            links.namespace(one.name.namespace, month=month),
            one.team,
            links.link(links.OVERVIEW, month=month, team=one.team),
            called(one.kind),
            *(text, cost, provisional(one.wasted), _unpriced(one.wasted)),
        )
        for one, text, cost in zip(found, hours, costs, strict=True)
    )
