"""Remember answers for a while: bounded, and one question at a time for each key."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gputally.collector.auth.errors import Forbidden, Unauthenticated

KEPT_S = 60.0  # an answer
REFUSAL_KEPT_S = 5.0  # a no: short, because the next answer may be a yes
SIZE = 16384  # keys; an answer takes about 1 KiB

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_Refusal = Unauthenticated | Forbidden


@dataclass(frozen=True, slots=True)
class _Known(Generic[V]):
    until_s: float
    value: V | None
    refusal: _Refusal | None


class Memo(Generic[K, V]):
    """What was answered, for `KEPT_S` from when it was asked; a refusal for `REFUSAL_KEPT_S`; Undecided never.

    `monotonic_s` is the clock. It lives in one event loop. The key whose answer is oldest goes first when there are
    more than `size`; `forgotten` counts those that had to go before their time.
    """

    def __init__(self, monotonic_s: Callable[[], float], size: int = SIZE) -> None:
        self._monotonic_s = monotonic_s
        self._size = size
        self._known: OrderedDict[K, _Known[V]] = OrderedDict()
        self._asked: dict[K, asyncio.Future[V]] = {}
        self.forgotten = 0

    async def ask(self, key: K, question: Callable[[], Awaitable[V]]) -> V:
        """The answer, or the refusal, of the key's question; a question that is being asked already is waited for."""
        known = self._known.get(key)
        if known is not None and self._monotonic_s() < known.until_s:
            if known.refusal:
                raise type(known.refusal)(*known.refusal.args)
            return known.value  # type: ignore[return-value]  # a value where there is no refusal
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.ensure_future(self._answer(key, question))
            asked.add_done_callback(lambda done: self._settled(key, done))
        return await asyncio.shield(asked)  # whoever asked first may leave; the others still wait

    async def _answer(self, key: K, question: Callable[[], Awaitable[V]]) -> V:
        asked_s = self._monotonic_s()
        try:
            value = await question()
        except (Unauthenticated, Forbidden) as refusal:
            self._remember(key, _Known(asked_s + REFUSAL_KEPT_S, None, type(refusal)(*refusal.args)))
            raise
        self._remember(key, _Known(asked_s + KEPT_S, value, None))
        return value

    def _remember(self, key: K, known: _Known[V]) -> None:
        self._known.pop(key, None)
        self._known[key] = known
        while len(self._known) > self._size:
            _, oldest = self._known.popitem(last=False)
            self.forgotten += self._monotonic_s() < oldest.until_s

    def _settled(self, key: K, done: "asyncio.Future[V]") -> None:
        del self._asked[key]
        if not done.cancelled():
            done.exception()  # told to whoever still waits; nobody may
