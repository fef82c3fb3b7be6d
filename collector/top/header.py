"""The header: GPUs by state now, what idle ones cost, coverage, and how old all of that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from gputally.accounting.ledger_hour import HOUR_US, from_us
from gputally.accounting.states import State
from gputally.collector.now import names
from gputally.collector.now.capacity import by_state
from gputally.collector.now.latest import FORGOTTEN_US, Standing, unmeasured
from gputally.collector.now.pods import known
from gputally.collector.top.facts import Facts, Where
from gputally.collector.top.rows import UNKNOWN
from gputally.collector.web import words

_SECOND_US = 1_000_000
_IN_SECONDS_US = 120 * _SECOND_US  # what is older is told in minutes


@dataclass(frozen=True, slots=True)
class Header:
    """`times` are the states as `now.capacity` counts them; the rest are words, one item each."""

    title: tuple[str, ...]
    times: tuple[int, ...]
    by_state: tuple[tuple[State, str], ...]
    figures: tuple[str, ...]
    idle: tuple[str, ...]
    warnings: tuple[str, ...]


def header(facts: Facts, now_us: int) -> Header:
    """The header as of `now_us`, which may be later than the facts are."""
    times = by_state(facts.heard)
    gpus = tuple(zip(State, words.hours(times) if facts.heard else [UNKNOWN] * len(times), strict=True))
    figures = (_gpus(facts.heard, times), _coverage(times)) if facts.heard else ()
    title = (_title(facts.where), _age(facts, now_us))
    return Header(title, times, gpus, figures, _idle(facts), tuple(_warnings(facts)))


def cells(times: Sequence[int], width: int) -> list[int]:
    """How many of `width` cells each part of a bar takes: what is there at all has one, where there is room."""
    there = [at for at, us in enumerate(times) if us]
    if not there:
        return [0] * len(times)
    room = max(0, width - len(there))
    found = [us * room // sum(times) + (us > 0) for us in times]
    by_rest = sorted(there, key=lambda at: -(times[at] * room % sum(times)))
    for at in by_rest[: max(0, width - sum(found))]:
        found[at] += 1
    return found


def _title(where: Where) -> str:
    named = (("cluster", where.cluster), ("node", where.node), ("namespace", where.namespace))
    return ", ".join(f"{what} {name}" for what, name in named if name is not None) or "all GPUs"


def _gpus(heard: Sequence[Standing], times: Sequence[int]) -> str:
    nodes = len({(one.cluster, one.node) for one in heard})
    return f"{words.hours([sum(times)])[0]} GPUs on {nodes} {'node' if nodes == 1 else 'nodes'}"


def _idle(facts: Facts) -> tuple[str, ...]:
    """What is idle now costs, as the page of idle pods adds it up; and how much of what is held nobody can tell of."""
    unknown = unmeasured(facts.heard)
    untold = (f"{unknown} held {'part' if unknown == 1 else 'parts'} not measured",) if unknown else ()
    if not facts.pods:
        return ("nothing idle", *untold) if facts.heard else ()
    return (*_spells(facts), *untold)


def _spells(facts: Facts) -> tuple[str, ...]:
    gpus = sum((pod.gpus for pod in facts.pods), Fraction(0))
    rate, cost = known(pod.rate for pod in facts.pods), known(pod.cost for pod in facts.pods)
    unpriced = sum(pod.rate is None for pod in facts.pods)
    spells = f"idle spells: {names.count(gpus)} {'GPU' if gpus == 1 else 'GPUs'}"
    least = "at least " if cost is not None and any(pod.costs_more for pod in facts.pods) else ""
    figures = (spells, f"at {_money(rate, facts)}/h", f"{least}{_money(cost, facts)} so far")
    return (*figures, f"{unpriced} of the idle pods unpriced") if unpriced and rate is not None else figures


def _money(cost: int | None, facts: Facts) -> str:
    figure = words.priced(cost, facts.currency)
    return UNKNOWN if cost is None else f"{figure.text} {figure.unit}".rstrip()


def _coverage(times: Sequence[int]) -> str:
    observed = sum(times) - times[tuple(State).index(State.UNOBSERVED)]
    return f"coverage {words.percent(observed, sum(times))}".replace("\N{NO-BREAK SPACE}", " ")


def _age(facts: Facts, now_us: int) -> str:
    newest_us = max((one.end_us for one in facts.standings), default=None)
    if newest_us is None:
        return f"no window in the last {FORGOTTEN_US // HOUR_US} h"
    return f"data to {from_us(newest_us).astimezone(facts.zone):%H:%M:%S %Z}, {age(now_us - newest_us)} old"


def age(us: int) -> str:
    """How old, in seconds while that says something."""
    us = max(0, us)
    return words.duration(us) if us >= _IN_SECONDS_US else f"{us // _SECOND_US} s"


def _warnings(facts: Facts) -> list[str]:
    silent = sorted({(one.end_us, one.cluster, one.node) for one in facts.standings if one.silent(facts.now_us)})
    found = [f"{cluster}/{node} is silent for {age(facts.now_us - us)}" for us, cluster, node in silent[:_MOST_SILENT]]
    if len(silent) > _MOST_SILENT:
        found.append(f"{len(silent) - _MOST_SILENT} more nodes are silent")
    return [*found, "what is there now is not known"] if found else []


_MOST_SILENT = 3
