"""Idle spells in words: who, where, since when, how many, how much, and what to do."""

from collections.abc import Iterator
from typing import Any

from gputally.collector.notify.figures import Frame, amount, instant, money
from gputally.collector.notify.idle import Doing
from gputally.collector.notify.idle_pod import IdlePod, Spent
from gputally.collector.notify.message import Event, Level, Message, clean
from gputally.collector.notify.spell_news import SpellNews
from gputally.collector.now.names import count
from gputally.collector.web import links, words

_US_PER_S = 1_000_000
_SHOWN = 3  # names of nodes or models in a sentence
_OVER = {
    None: "has released its GPUs",
    Doing.USES: "uses its GPUs again",
    Doing.COUNTED_ANEW: "was used, or not measured, in between",
    Doing.UNSEEN: "is not seen any more",
    Doing.EXEMPT: "asks not to be told of",
}
_WHY = {
    None: "The pod holds no GPU any more.",
    Doing.USES: "Something runs on what it holds.",
    Doing.COUNTED_ANEW: "Nothing is said of it until it has been idle for as long again.",
    Doing.UNSEEN: "Its node is silent, or cannot measure it: whether it is still idle is not known.",
    Doing.EXEMPT: "Its label gputally.io/idle-alert is off.",
}


def spell_message(news: SpellNews, frame: Frame, now_us: int) -> Message:
    """What is new about a spell, as a message."""
    key = news.told.pod.key
    over = news.level is Level.RESOLVED
    return Message(
        Event.IDLE_SPELL,
        f"idle-spell {key.cluster}/{key.namespace}/{key.pod}",
        news.level,
        now_us,
        _over_title(news) if over else _title(news.told.pod),
        tuple(_over_lines(news, frame) if over else _lines(news.told.pod, news.told.spent, frame)),
        frame.link(links.link(links.IDLE, namespace=key.namespace)),
        _details(news),
    )


def _title(pod: IdlePod) -> str:
    return f"{_name(pod)} has not used {_how_many(pod)} for {words.duration(pod.until_us - pod.since_us)}"


def _over_title(news: SpellNews) -> str:
    pod = news.told.pod
    return f"{_name(pod)} {_OVER[news.doing]}; it was idle for {words.duration(pod.until_us - pod.since_us)}"


def _name(pod: IdlePod) -> str:
    return f"{clean(pod.key.namespace)}/{clean(pod.key.pod)}"


def _how_many(pod: IdlePod) -> str:
    """Whole GPUs as GPUs; parts as parts, with what they come to."""
    idle, of_all = len(pod.parts), f" of its {pod.held}" if pod.held > 1 else ""
    if pod.gpus == idle:
        return f"{idle}{of_all} GPUs" if pod.held > 1 else "its GPU"
    return f"{idle}{of_all} parts of GPUs ({count(pod.gpus)} GPU)" if pod.held > 1 else f"its {count(pod.gpus)} GPU"


def _lines(pod: IdlePod, spent: Spent, frame: Frame) -> Iterator[str]:
    yield _where(pod)
    yield f"Idle since {_since(pod, frame)}. So far: {_cost(spent, pod)}. {_further(pod)}"
    if pod.memory_bytes:
        yield f"It holds {words.memory(pod.memory_bytes, _US_PER_S)} of GPU memory meanwhile."
    yield (
        "Ask its owner: if nothing is to run in it, delete it or give it fewer GPUs; if it is to stand by, label the "
        "pod gputally.io/idle-alert=off."
    )


def _over_lines(news: SpellNews, frame: Frame) -> Iterator[str]:
    pod = news.told.pod
    yield _where(pod)
    yield f"Idle from {_since(pod, frame)} to {frame.moment(pod.until_us)}. In sum: {_cost(news.told.spent, pod)}."
    yield _WHY[news.doing]


def _where(pod: IdlePod) -> str:
    team = f" (team {clean(pod.team)})" if pod.team else ""
    cluster = f" of cluster {clean(pod.key.cluster)}" if pod.key.cluster else ""
    nodes = f"{'node' if len(pod.nodes) == 1 else 'nodes'} {_few(pod.nodes)}"
    return f"Namespace {clean(pod.key.namespace)}{team}, {nodes}{cluster}: {_few(pod.models)}."


def _few(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(clean(name) for name in names[:_SHOWN]) + more


def _since(pod: IdlePod, frame: Frame) -> str:
    before = "before " if any(part.before for part in pod.parts) else ""
    return f"{before}{frame.moment(pod.since_us)} ({frame.zone.key})"


def _cost(spent: Spent, pod: IdlePod) -> str:
    text = money(spent.cost, pod.currency)
    return f"{text}, and a part of the time has no price" if spent.cost is not None and spent.unpriced_us else text


def _further(pod: IdlePod) -> str:
    return f"Each further hour: {money(pod.rate, pod.currency)}."


def _details(news: SpellNews) -> dict[str, Any]:
    pod, spent = news.told.pod, news.told.spent
    return {
        **pod.key._asdict(),
        "team": pod.team or None,
        "nodes": list(pod.nodes),
        "models": list(pod.models),
        "idle_partitions": len(pod.parts),
        "held_partitions": pod.held,
        "idle_gpus": count(pod.gpus),
        "since": instant(pod.since_us),
        "until": instant(pod.until_us),
        "began_before_since": any(part.before for part in pod.parts),
        "idle_gpu_seconds": spent.idle_us // _US_PER_S,
        "cost": amount(spent.cost, pod.currency),
        "unpriced_gpu_seconds": spent.unpriced_us // _US_PER_S,
        "cost_per_hour": amount(pod.rate, pod.currency),
        "memory_bytes": pod.memory_bytes,
        "ended_by": (news.doing.value if news.doing else "released") if news.level is Level.RESOLVED else None,
    }
