"""What is held and idle at this moment, in one line: the first thing that the overview says."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from gputally.collector.now import names
from gputally.collector.now.latest import Standing, held
from gputally.collector.now.pods import known, rate
from gputally.collector.rates.pricing import Pricer
from gputally.collector.web import links, words

_FEW = 3


class Holder(NamedTuple):
    """A pod, and how many GPUs it holds idle; `href` leads to its namespace."""

    name: str
    href: str
    gpus: str


class Waste(NamedTuple):
    """GPUs that are held idle, of those that are held; what an hour more costs; who has the most of them."""

    gpus: str
    of: str
    rate: str
    most: tuple[Holder, ...]


def waste(standings: Sequence[Standing], pricer: Pricer, now_us: int) -> Waste | None:
    """By each node's newest window, nodes that are silent left out; None where nothing that is held is idle."""
    here = [one for one in held(standings) if not one.silent(now_us)]
    idle = [one for one in here if one.idle]
    if not idle:
        return None
    by_pod: dict[tuple[str, str, str], Fraction] = {}
    for one in idle:
        pod = (one.cluster, one.namespace, one.pod)
        by_pod[pod] = by_pod.get(pod, Fraction(0)) + one.share
    most = sorted(by_pod.items(), key=lambda item: (-item[1], item[0]))[:_FEW]
    return Waste(
        names.count(sum(by_pod.values(), Fraction(0))),
        names.count(sum((one.share for one in here), Fraction(0))),
        _per_hour([rate(one, pricer, now_us) for one in idle], pricer.currency or ""),
        tuple(Holder(f"{space}/{pod}", links.namespace(space), names.count(gpus)) for (_, space, pod), gpus in most),
    )


def _per_hour(rates: Sequence[int | None], currency: str) -> str:
    """At least so much, where some of it has no price."""
    cost = known(rates)
    least = "at least " if cost is not None and None in rates else ""
    return least + " ".join(words.priced(cost, currency)).rstrip()
