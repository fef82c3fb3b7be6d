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
        while self._waiting and self._is_over(*self._waiting[0]):
            self._waiting.popleft()

    @staticmethod
    def _is_over(offer: Callable[[], bool], taken: asyncio.Future[None]) -> bool:
        """Make an offer; whether it need not be made again. One that raises does so where it waits: else it would
        stand before all others for ever."""
        if taken.done():
            return True
        try:
            is_taken = offer()
        except Exception as error:  # noqa: BLE001 - for whoever waits
            taken.set_exception(error)
            return True
        if is_taken:
            taken.set_result(None)
        return is_taken
