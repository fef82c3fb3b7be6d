"""Idle now: who holds GPUs in which nothing runs, since when, and what that has cost."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from fractions import Fraction
from functools import partial
from typing import NamedTuple

from pydantic import Field
from sqlalchemy import Connection

from gputally.collector.jobs.read_pods import JobName
from gputally.collector.now import names, whose
from gputally.collector.now.latest import Standing, held, read_latest, unmeasured
from gputally.collector.now.pods import PodSpells, by_pod, known
from gputally.collector.now.spells import LOOK_BACK_US, read_spells
from gputally.collector.rates.pricing import PRICES, read_prices
from gputally.collector.web import links, words
from gputally.collector.web.asked import Asked, Name, Parameters
from gputally.collector.web.page import Page
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


class Row(NamedTuple):
    """A pod that holds GPUs idle, in words."""

    namespace: str
    href: str
    team: str
    work: str
    work_href: str
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
    """What the database says: spells, nodes whose pods are not known now, with since when, and parts that are held.

    `labels` are the names of workloads.
    """

    pods: Sequence[PodSpells]
    labels: Mapping[whose.Holder, str]
    currency: str
    silent: Sequence[tuple[str, int]]
    held: int
    unmeasured: int


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
        "rows": rows(ordered[:MOST_ROWS], found, asked),
        "left_out": max(0, len(ordered) - MOST_ROWS),
        "sum": summary(ordered, found.currency),
        "held": found.held,
        "unmeasured": found.unmeasured,
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
    pricer = read_prices(connection, asked.zone, quantities=PRICES, of_teams=True)
    pods = list(held(standings))
    spells = read_spells(connection, asked.zone, pricer, pods, asked.now_us)
    silent = {(one.cluster, one.node, one.end_us) for one in standings if one.silent(asked.now_us)}
    here = [one for one in pods if not one.silent(asked.now_us)]
    return Found(
        by_pod(spells, pricer, asked.now_us),
        whose.read_labels(connection, [spell.standing for spell in spells]),
        pricer.currency or "",
        [(f"{cluster}/{node}", us) for cluster, node, us in sorted(silent)],
        len({(one.uuid, one.part.partition) for one in here}),
        unmeasured(here),
    )


def rows(pods: Sequence[PodSpells], found: Found, asked: Asked) -> list[Row]:
    """The pods in words."""
    costs = words.money([one.cost for one in pods], found.currency)
    rates = words.money([one.rate for one in pods], found.currency)
    works = [whose.label_of(one.spells[0].standing, found.labels) for one in pods]
    return [_row(*of, asked) for of in zip(pods, works, costs, rates, strict=True)]


def _row(one: PodSpells, work: str, cost: str, rate: str, asked: Asked) -> Row:
    standings = [spell.standing for spell in one.spells]
    return Row(
        one.namespace,
        links.namespace(one.namespace),
        one.team,
        work,
        links.workload(JobName(one.cluster, one.namespace, work)),
        one.pod,
        names.count(one.gpus),
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


def _memory(standings: Sequence[Standing]) -> str:
    of_parts = [(one.memory_byte_s, one.end_us - one.start_us) for one in standings]
    if any(byte_s is None for byte_s, _ in of_parts):
        return words.UNKNOWN
    return words.memory(sum((byte_s or 0) * of_parts[0][1] // us for byte_s, us in of_parts), of_parts[0][1])


def _fits(one: PodSpells, given: IdleParameters, now_us: int) -> bool:
    long_enough = now_us - one.since_us >= given.at_least * _MINUTE_US
    return long_enough and given.team in (None, one.team)


def summary(pods: Sequence[PodSpells], currency: str) -> tuple[str, str, str]:
    """GPUs, cost so far, cost of an hour more; at least so much, where a part has no price or was not looked at."""
    so_far = _sum([one.cost for one in pods], currency, lacks=any(one.costs_more for one in pods))
    per_hour = _sum([one.rate for one in pods], currency, lacks=any(one.rate is None for one in pods))
    return names.count(sum((one.gpus for one in pods), Fraction(0))), so_far, per_hour


def _sum(costs: Sequence[int | None], currency: str, *, lacks: bool) -> str:
    cost = known(costs)
    figure = words.priced(cost if costs else 0, currency)
    return ("at least " if lacks and cost is not None else "") + f"{figure.text} {figure.unit}".rstrip()


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
        None: ("Workload and pod", False, ""),
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
