"""The thread that keeps the ledger up to date: it recomputes hours whose lines changed, every couple of seconds."""

import logging
import threading
from collections.abc import Callable

from gputally.collector.database.engine import DATABASE_ERRORS

_LOG = logging.getLogger(__name__)


class Settler:
    """Calls `settle` every `interval_s` until it is closed. A database that fails is tried again at the next turn.

    `settle` recomputes what waits and returns how many pairs of hour and node it did.
    """

    def __init__(self, settle: Callable[[], int], interval_s: float) -> None:
        self._settle = settle
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="settler", daemon=True)
        self._settled = 0
        self._last_error = ""

    @property
    def settled(self) -> int:
        """Pairs of hour and node recomputed since the start."""
        return self._settled

    @property
    def last_error(self) -> str:
        """Why the last turn failed, one line; empty once one succeeded."""
        ended = self._thread.ident is not None and not self._thread.is_alive()
        return self._last_error or ("the settler has ended" if ended else "")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """End the thread after the turn it is in. What waits is marked in the database, and done by the next."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.turn()

    def turn(self) -> None:
        """Settle what waits now; a failure is noted, not raised."""
        try:
            self._settled += self._settle()
        except DATABASE_ERRORS as error:
            self._last_error = str(error).partition("\n")[0]
            _LOG.warning("the ledger cannot be settled, trying again: %s", self._last_error)
        else:
            self._last_error = ""
