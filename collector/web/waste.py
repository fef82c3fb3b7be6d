"""What is held and idle at this moment, in one line: the first thing that the overview says."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gputally.collector.jobs.read_pods import JobName
from gputally.collector.now import names, whose
from gputally.collector.now.latest import Standing, gpus, held
from gputally.collector.now.pods import known, rate
from gputally.collector.rates.pricing import Pricer
from gputally.collector.web import links, words

_FEW = 3


class Holder(NamedTuple):
    """A workload, and how many GPUs it holds idle; `href` leads to its page."""

    name: str
    namespace: str
    href: str
    gpus: str


class Waste(NamedTuple):
    """GPUs that are held idle, of those that are held; what an hour more costs; who has the most of them."""

    gpus: str
    of: str
    rate: str
    most: tuple[Holder, ...]


def idle_now(standings: Sequence[Standing], now_us: int) -> list[Standing]:
    """The parts that pods hold idle, by each node's newest window; nodes that are silent are left out."""
    return [one for one in held(standings) if one.idle and not one.silent(now_us)]


def waste(
    standings: Sequence[Standing], labels: Mapping[whose.Holder, str], pricer: Pricer, now_us: int
) -> Waste | None:
    """What is idle now, with the workloads that have most of it; None where nothing that is held is idle."""
    idle = idle_now(standings, now_us)
    if not idle:
        return None
    by_work: dict[JobName, list[Standing]] = defaultdict(list)
    for one in idle:
        by_work[JobName(one.cluster, one.namespace, whose.label_of(one, labels))].append(one)
    shares = {work: gpus(parts) for work, parts in by_work.items()}
    most = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:_FEW]
    return Waste(
        names.count(gpus(idle)),
        names.count(gpus(one for one in held(standings) if not one.silent(now_us))),
        _per_hour([rate(one, pricer, now_us) for one in idle], pricer.currency or ""),
        tuple(Holder(work.label, work.namespace, links.workload(work), names.count(share)) for work, share in most),
    )


def _per_hour(rates: Sequence[int | None], currency: str) -> str:
    """At least so much, where some of it has no price."""
    cost = known(rates)
    least = "at least " if cost is not None and None in rates else ""
    return least + " ".join(words.priced(cost, currency)).rstrip()
