"""Whose turn it is when the writer has room again: theirs who wait longest, and of no more than there is room for."""

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """Offers that wait until they are taken, first come, first served; of one event loop.

    However many wait, room for a window costs one offer. Nobody who comes later is taken before.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], bool], asyncio.Future[None]]] = deque()

    async def admit(self, offer: Callable[[], bool]) -> None:
        """Return once `offer` was taken, which it says by True; it is made again in each `serve` until then, and not
        any more once this is cancelled."""
        if not self._waiting and offer():
            return
        taken = asyncio.get_running_loop().create_future()
        self._waiting.append((offer, taken))
        await taken

    def serve(self) -> None:
        """There may be room: make the offers that wait, up to the first that is not taken."""
        while self._waiting:
            offer, taken = self._waiting[0]
            if not taken.done() and not offer():
                return
            self._waiting.popleft()
            if not taken.done():
                taken.set_result(None)
