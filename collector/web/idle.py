"""Idle now: who holds GPUs in which nothing runs, since when, and what that has cost."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import partial
from typing import NamedTuple

from pydantic import Field
from sqlalchemy import Connection

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.rates.pricing import Pricer, read_pricer
from gputally.collector.web import links, words
from gputally.collector.web.asked import Asked, Name, Parameters
from gputally.collector.web.latest import Standing, held, read_latest
from gputally.collector.web.page import Page
from gputally.collector.web.spells import LOOK_BACK_US, Spell, read_spells
from gputally.collector.web.usage import Heading

MOST_ROWS = 500
_MINUTE_US = 60_000_000
_CHOICES = (0, 5, 30, 120)


class Sort(StrEnum):
    """What comes first: the dearest so far, the dearest from now on, the longest, the most; or by name."""

    COST = "cost"
    RATE = "rate"
    SINCE = "since"
    GPUS = "gpus"
    NAMESPACE = "namespace"
    TEAM = "team"


class IdleParameters(Parameters):
    """What idle spells can be asked."""

    sort: Sort = Sort.COST
    namespace: Name | None = None
    team: Name | None = None
    at_least: int = Field(default=5, alias="atLeast", ge=0, le=10_080)


@dataclass(frozen=True, slots=True)
class PodSpells:
    """The spells of a pod that are going on; costs as `rates.cost` counts them, None: unpriced.

    `rate` is what an hour more of it costs.
    """

    cluster: str
    namespace: str
    pod: str
    team: str
    spells: tuple[Spell, ...]
    cost: int | None
    rate: int | None

    @property
    def since_us(self) -> int:
        """When the longest began."""
        return min(spell.since_us for spell in self.spells)

    @property
    def gpus(self) -> Fraction:
        """How many GPUs it holds idle; parts of a GPU count as parts."""
        return sum((spell.standing.share for spell in self.spells), Fraction(0))


class Row(NamedTuple):
    """A pod that holds GPUs idle, in words."""

    namespace: str
    href: str
    team: str
    pod: str
    gpus: str
    models: str
    nodes: str
    since: words.Moment
    lasts: str
    before: bool
    memory: str
    cost: str
    unpriced: bool
    rate: str


class Found(NamedTuple):
    """What the database says: spells, and nodes whose pods are not known now, with since when."""

    pods: Sequence[PodSpells]
    currency: str
    silent: Sequence[tuple[str, int]]
    held: int


async def idle(asked: Asked) -> Page:
    """The page; raises QueryMistakes."""
    given = asked.parameters(IdleParameters)
    found = await asked.service.settled(partial(read_idle, asked, given.namespace))
    chosen = [one for one in found.pods if _fits(one, given, asked.now_us)]
    ordered = sorted(chosen, key=lambda one: (*_ORDERS[given.sort](one), one.namespace, one.pod))
    kept = {"namespace": given.namespace, "team": given.team}
    at_least = None if given.at_least == 5 else str(given.at_least)
    values = {
        "headings": _headings(given.sort, found.currency, partial(_sorted, kept, at_least)),
        "rows": rows(ordered[:MOST_ROWS], found.currency, asked),
        "left_out": max(0, len(ordered) - MOST_ROWS),
        "sum": _summary(ordered, found.currency),
        "held": found.held,
        "silent": [(name, words.moment(us, asked.zone)) for name, us in found.silent],
        "choices": [_choice(minutes, given, kept) for minutes in _CHOICES],
        "at_least": given.at_least,
        "look_back": words.duration(LOOK_BACK_US),
        **asked.frame,
        "namespace": given.namespace,
        "team": given.team,
        "currency": found.currency,
    }
    return Page("idle.html", "Idle now", links.IDLE, values)


def read_idle(asked: Asked, namespace: str | None, connection: Connection) -> Found:
    """The spells that are going on, pod by pod."""
    standings = read_latest(connection, asked.now_us, asked.scope, namespace)
    pricer = read_pricer(connection, asked.zone)
    pods = list(held(standings))
    spells = read_spells(connection, asked.zone, pricer, pods, asked.now_us)
    silent = {(one.cluster, one.node, one.end_us) for one in standings if one.silent(asked.now_us)}
    here = [one for one in pods if not one.silent(asked.now_us)]
    return Found(
        _by_pod(spells, pricer, asked.now_us),
        pricer.currency or "",
        [(f"{cluster}/{node}", us) for cluster, node, us in sorted(silent)],
        len({(one.uuid, one.part.partition) for one in here}),
    )


def rows(found: Iterable[PodSpells], currency: str, asked: Asked) -> list[Row]:
    """The pods in words."""
    pods = list(found)
    costs = words.money([one.cost for one in pods], currency)
    rates = words.money([one.rate for one in pods], currency)
    return [_row(one, cost, rate, asked) for one, cost, rate in zip(pods, costs, rates, strict=True)]


def _row(one: PodSpells, cost: str, rate: str, asked: Asked) -> Row:
    standings = [spell.standing for spell in one.spells]
    return Row(
        one.namespace,
        links.namespace(one.namespace),
        one.team,
        one.pod,
        count(one.gpus),
        ", ".join(sorted({f"{each.model} {each.profile}".rstrip() for each in standings})),
        ", ".join(sorted({each.node for each in standings})),
        words.moment(one.since_us, asked.zone),
        words.duration(max(spell.standing.end_us for spell in one.spells) - one.since_us),
        any(spell.before for spell in one.spells),
        _memory(standings),
        cost,
        one.cost is not None and any(spell.unpriced_us for spell in one.spells),
        rate,
    )


def count(gpus: Fraction) -> str:
    """GPUs and parts of them."""
    return str(gpus) if gpus.denominator == 1 else f"{float(gpus):.2f}"


def _memory(standings: Sequence[Standing]) -> str:
    known = [(one.memory_byte_s, one.end_us - one.start_us) for one in standings]
    if any(byte_s is None for byte_s, _ in known):
        return words.UNKNOWN
    return words.memory(sum((byte_s or 0) * known[0][1] // us for byte_s, us in known), known[0][1])


def _by_pod(spells: Iterable[Spell], pricer: Pricer, now_us: int) -> list[PodSpells]:
    groups: dict[tuple[str, str, str], list[Spell]] = defaultdict(list)
    for spell in spells:
        groups[spell.standing.cluster, spell.standing.namespace, spell.standing.pod].append(spell)
    found = []
    for (cluster, namespace, pod), of_pod in groups.items():
        priced = pricer.at(of_pod[0].standing.place, now_us)
        known = [spell.cost for spell in of_pod if spell.cost is not None]
        cost = sum(known) if known else None
        rate = _rate(of_pod, pricer, now_us)
        found.append(PodSpells(cluster, namespace, pod, priced.team.team or "", tuple(of_pod), cost, rate))
    return found


def _rate(spells: Iterable[Spell], pricer: Pricer, now_us: int) -> int | None:
    """What an hour more costs; None where any of it has no price."""
    found = 0
    for spell in spells:
        price = pricer.at(spell.standing.place, now_us).rate.price
        if price is None:
            return None
        found += int(spell.standing.share * HOUR_US * price)
    return found


def _fits(one: PodSpells, given: IdleParameters, now_us: int) -> bool:
    long_enough = now_us - one.since_us >= given.at_least * _MINUTE_US
    return long_enough and given.team in (None, one.team)


def _summary(pods: Sequence[PodSpells], currency: str) -> tuple[str, str, str]:
    """GPUs, cost so far, cost of an hour more."""
    sums = []
    for name in ("cost", "rate"):
        known = [getattr(one, name) for one in pods if getattr(one, name) is not None]
        unknown = not known and bool(pods)
        sums.append(words.UNPRICED if unknown else f"{words.money([sum(known)], currency)[0]} {currency}".rstrip())
    return count(sum((one.gpus for one in pods), Fraction(0))), sums[0], sums[1]


def _choice(minutes: int, given: IdleParameters, kept: dict[str, str | None]) -> tuple[str, str, bool]:
    """A way to another least length."""
    text = "any length" if not minutes else f"{words.duration(minutes * _MINUTE_US)} or more"
    href = _sorted(kept, None if minutes == 5 else str(minutes), given.sort)
    return text, href, minutes == given.at_least


def _sorted(kept: dict[str, str | None], at_least: str | None, sort: Sort) -> str:
    return links.link(links.IDLE, **kept, atLeast=at_least, sort=None if sort is Sort.COST else sort.value)


def _headings(sort: Sort, currency: str, link: Callable[[Sort], str]) -> list[Heading]:
    texts = {
        Sort.NAMESPACE: ("Namespace", False, "ascending"),
        Sort.TEAM: ("Team", False, "ascending"),
        None: ("Pod", False, ""),
        Sort.GPUS: ("GPUs", True, "descending"),
        Sort.SINCE: ("Idle since", False, "ascending"),
        Sort.COST: (f"Cost so far {currency}".rstrip(), True, "descending"),
        Sort.RATE: (f"Per hour {currency}".rstrip(), True, "descending"),
    }
    return [
        Heading(text, link(one) if one else "", order if one is sort else "", number)
        for one, (text, number, order) in texts.items()
    ]


def _known(cost: int | None) -> int:
    return -1 if cost is None else cost


_ORDERS: dict[Sort, Callable[[PodSpells], tuple[object, ...]]] = {
    Sort.COST: lambda one: (-_known(one.cost), one.since_us),
    Sort.RATE: lambda one: (-_known(one.rate), one.since_us),
    Sort.SINCE: lambda one: (one.since_us,),
    Sort.GPUS: lambda one: (-one.gpus,),
    Sort.NAMESPACE: lambda one: (one.namespace,),
    Sort.TEAM: lambda one: (one.team,),
}
