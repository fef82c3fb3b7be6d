"""All rules, ready to be asked."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gputally.collector.workloads.chain import owner_chain
from gputally.collector.workloads.pod import Lookup, OwnerReference, PodFacts, unreadable
from gputally.collector.workloads.read_pod import Wanted
from gputally.collector.workloads.rule import ANYTHING, NOBODY, FactRule, OwnerRule, holds, taken
from gputally.collector.workloads.source import Place, Reading, Source, first
from gputally.collector.workloads.view import View
from gputally.collector.workloads.workload import Evidence, Workload

OUTERMOST, POD = "outermost-owner", "pod"  # the rules of pods that no other rule knows
_KUBERNETES = ("", "apps", "batch")  # API groups


@dataclass(frozen=True, slots=True)
class Rules:
    """What one file says. Rules in `after` are asked where no rule of the owners' list knows a pod."""

    owners: tuple[OwnerRule, ...] = ()
    facts: tuple[FactRule, ...] = ()
    after: tuple[OwnerRule, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """Who owns a pod, and what else the rule that said so takes of it."""

    platform: str | None
    kind: str
    name: str
    uid: str | None
    evidence: Evidence
    rule: str
    take: Mapping[str, tuple[Source, ...]]


class RuleBook:
    """The rules that ship with the program, and before and after them those of the user."""

    def __init__(self, shipped: Rules, own: Rules | None = None) -> None:
        self.shipped = shipped
        own = own or Rules()
        lists = (own.owners, shipped.owners, own.after)
        self._tiers = tuple(_Tier(rules) for rules in lists if rules)
        facts = own.facts + shipped.facts
        self._facts = tuple((rule.conditions[0].reading.key, rule) for rule in facts)  # most pods lack most keys
        self.wanted = _wanted([*_readings(rule for rules in lists for rule in rules), *_readings(facts)])

    def resolve(self, pod: PodFacts, lookup: Lookup = unreadable) -> Workload:
        """Whose work a pod is; raises only what `lookup` raises."""
        view = View(pod, owner_chain(pod, lookup))
        found = next((found for tier in self._tiers if (found := tier.find(view)) is not None), None) or _unknown(view)
        fields: dict[str, Any] = taken(found.take, {}, view)
        names: list[str] = []
        keys = pod.labels.keys() | pod.annotations.keys() | pod.variables.keys()
        for key, rule in self._facts:
            more = taken(rule.take, fields, view) if key in keys and holds(rule.conditions, view) else {}
            if more:
                fields |= more
                names.append(rule.name)
        who = (found.platform, found.kind, found.name, found.uid, found.evidence, found.rule)
        return Workload(pod.namespace, *who, tuple(names), **fields, refused=tuple(view.refused))


class _Tier:
    """The owner rules of one list: whoever stands further out wins, then the rule that stands first."""

    def __init__(self, rules: Sequence[OwnerRule]) -> None:
        self._by_owner: dict[str, list[OwnerRule]] = defaultdict(list)
        self._by_above: dict[str, list[OwnerRule]] = defaultdict(list)
        for rule in rules:
            for key in rule.owner:
                self._by_owner[key].append(rule)
            for key in rule.claimed.above if rule.claimed else ():
                self._by_above[key].append(rule)

    def find(self, view: View) -> _Found | None:
        return self._claimed(view) or self._owner(view)

    def _claimed(self, view: View) -> _Found | None:
        """By what the pod says of an owner above those that are known; where there is none above, it says untruth."""
        last = view.chain.last
        key = NOBODY if last is None else last.key if view.chain.cut else ""
        rules = (*self._by_above.get(ANYTHING, ()), *self._by_above.get(key, ()))
        return next((found for rule in rules if (found := _claim(rule, view)) is not None), None)

    def _owner(self, view: View) -> _Found | None:
        for link in reversed(view.chain.links):
            for rule in self._by_owner.get(link.reference.key, ()):
                if holds(rule.conditions, view):
                    return _owned(rule, link.reference)
        return None


def _owned(rule: OwnerRule, by: OwnerReference) -> _Found:
    return _Found(rule.platform, rule.kind or by.kind, by.name, by.uid, Evidence.OWNER, rule.name, rule.take)


def _claim(rule: OwnerRule, view: View) -> _Found | None:
    claimed = rule.claimed
    if claimed is None or rule.kind is None or not (holds(rule.conditions, view) and holds(claimed.conditions, view)):
        return None
    name = first(rule.names, view)
    if name is None:
        return None
    return _Found(rule.platform, rule.kind, name[0], None, Evidence.CLAIM, rule.name, rule.take)


def _unknown(view: View) -> _Found:
    """The outermost owner by its own words, else the pod itself."""
    last = view.chain.last
    if last is None:
        return _Found("kubernetes", "Pod", view.pod.name, view.pod.uid, Evidence.POD, POD, {})
    platform = "kubernetes" if last.group in _KUBERNETES else None
    return _Found(platform, last.kind, last.name, last.uid, Evidence.OWNER, OUTERMOST, {})


def _readings(rules: Iterable[OwnerRule | FactRule]) -> Iterator[Reading]:
    """Everything that the rules look at."""
    for rule in rules:
        claimed = rule.claimed if isinstance(rule, OwnerRule) else None
        for condition in (*rule.conditions, *(claimed.conditions if claimed else ())):
            yield condition.reading
        names = rule.names if isinstance(rule, OwnerRule) else ()
        for source in (*names, *(source for sources in rule.take.values() for source in sources)):
            yield source.reading
            if source.without is not None:
                yield source.without


def _wanted(readings: Sequence[Reading]) -> Wanted:
    return Wanted(
        frozenset(one.key for one in readings if one.place in (Place.LABEL, Place.OWNER_LABEL)),
        frozenset(one.key for one in readings if one.place in (Place.ANNOTATION, Place.OWNER_ANNOTATION)),
    )
