"""What is new about idle spells: each is told once at each level, and once when it is over.

After an outage of the collector every node is silent until its agent has sent what waited. So a spell that is not seen
is over only when it was not seen for a while; until then it stands as it was told.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

from gputally.collector.notify.idle import Doing, Seen
from gputally.collector.notify.idle_pod import CRITICAL, IdlePart, IdlePod, PodKey, Spent, of_json, to_json
from gputally.collector.notify.message import Level

UNSEEN_US = 15 * 60_000_000  # from the first look that did not see it
OLD_US = 24 * 3_600_000_000  # that a spell ended so long ago is no news


@dataclass(frozen=True, slots=True)
class ToldSpell:
    """A spell that was told at `level`, as it was seen last; `past`: spells of its parts that ended before it did.

    `unseen_us`: since when it is not seen, None: it is.
    """

    level: Level
    pod: IdlePod
    past: Spent = field(default_factory=Spent)
    unseen_us: int | None = None

    @property
    def spent(self) -> Spent:
        """What all of it came to, as far as it was seen."""
        return self.past.plus(self.pod.parts)

    def to_json(self) -> str:
        """For the database."""
        values = {"level": self.level, "pod": to_json(self.pod), "past": asdict(self.past), "unseen": self.unseen_us}
        return json.dumps(values)

    @staticmethod
    def of_json(text: str) -> "ToldSpell":
        """What `to_json` wrote."""
        values = json.loads(text)
        past = Spent(**values["past"])
        return ToldSpell(Level(values["level"]), of_json(values["pod"]), past, values["unseen"])


@dataclass(frozen=True, slots=True)
class SpellNews:
    """What is to be told of a spell. `doing`: what the pod does since a spell is over; None: it holds nothing."""

    told: ToldSpell
    level: Level
    doing: Doing | None = None


@dataclass(frozen=True, slots=True)
class SpellsNow:
    """The spells that stand as told from now on, and what is new."""

    told: Mapping[PodKey, ToldSpell]
    news: tuple[SpellNews, ...]


def spell_news(before: Mapping[PodKey, ToldSpell], seen: Seen, after_us: int, now_us: int) -> SpellsNow:
    """What follows from what was told before and what is seen at `now_us`, of spells of `after_us` and more."""
    told: dict[PodKey, ToldSpell] = {}
    news: list[SpellNews] = []
    for key in sorted(before.keys() | seen.idle.keys()):
        last, pod = before.get(key), seen.idle.get(key)
        if last is not None and (pod is None or not _goes_on(last, pod)):
            doing = seen.doing.get(key) if pod is None else Doing.COUNTED_ANEW
            if doing is Doing.UNSEEN and _may_be_back(last, now_us):
                told[key] = last if last.unseen_us is not None else replace(last, unseen_us=now_us)
            elif now_us - last.pod.until_us < OLD_US:
                news.append(SpellNews(last, Level.RESOLVED, doing))
            last = None
        if pod is not None:
            told[key] = _now(last, pod, _level(pod, after_us))
            news += _rise(last, told[key])
    return SpellsNow(told, tuple(news))


def _may_be_back(last: ToldSpell, now_us: int) -> bool:
    """Not for ever where a clock that was wrong said when it was seen last."""
    return last.unseen_us is None or abs(now_us - last.unseen_us) < UNSEEN_US


def _goes_on(last: ToldSpell, pod: IdlePod) -> bool:
    """Whether it is the spell that was told, and not one that began after it."""
    return pod.since_us <= last.pod.until_us


def _level(pod: IdlePod, after_us: int) -> Level:
    return Level.CRITICAL if any(part.lasts(CRITICAL * after_us) for part in pod.parts) else Level.WARNING


def _rise(last: ToldSpell | None, now: ToldSpell) -> Iterator[SpellNews]:
    if last is None or now.level.rank > last.level.rank:
        yield SpellNews(now, now.level)


def _now(last: ToldSpell | None, pod: IdlePod, level: Level) -> ToldSpell:
    """A spell never falls to a lower level before it is over, and what it has cost stays with it."""
    if last is None:
        return ToldSpell(level, pod)
    going_on = {(part.uuid, part.partition): part for part in pod.parts}
    ended = [part for part in last.pod.parts if not _continues(part, going_on.get((part.uuid, part.partition)))]
    return ToldSpell(max(level, last.level, key=lambda each: each.rank), pod, last.past.plus(ended))


def _continues(part: IdlePart, now: IdlePart | None) -> bool:
    return now is not None and now.since_us <= part.until_us
