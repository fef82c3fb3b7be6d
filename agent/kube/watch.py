"""Keeps a table of Kubernetes objects up to date: LIST, then WATCH, and LIST again when the watch cannot go on.

A resource version is opaque: kept and sent back, never compared. Whatever fails, what is known so far stays known.
"""

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from gputally.agent.kube.api import Gone, KubeApi, KubeApiError, Missing, Refused, decode, error_of

LIST_TIMEOUT_S = 30.0
WATCH_S = 240  # plus up to a quarter, so that the agents of a fleet do not reconnect together
SILENCE_S = 30.0  # on top of the watch's own length: then the connection is dead
BACKOFF_S = 1.0
MAX_BACKOFF_S = 30.0
REFUSED_S = 60.0  # only a person can mend a missing permission
ABSENT_S = 600.0  # a cluster that does not serve such objects does so after an upgrade at the earliest
STEADY_US = 30_000_000  # a watch that lived this long was no failure

T = TypeVar("T")
_Taken = TypeVar("_Taken", contravariant=True)


class Table(Protocol[_Taken]):
    """Where objects are kept. Times are monotonic microseconds."""

    def replace(self, items: Iterable[_Taken], now_us: int, /) -> object:
        """Take over a complete list, which is read as it is iterated; what it raises changes nothing."""

    def put(self, item: _Taken, now_us: int, /) -> object:
        """Take over a new or changed object."""

    def delete(self, item: _Taken, now_us: int, /) -> object:
        """Take over that an object is gone."""


@dataclass(frozen=True, slots=True)
class Watched(Generic[T]):
    """What to watch: the kind of object in a word, where it is served, and how it is read.

    `paths`: newest version of the API first. `optional`: a cluster that serves none of them simply has no such objects.
    `page`: how many to list at a time; None: all at once, from the API server's cache, which is cheap for few objects.
    """

    kind: str
    paths: Sequence[str]
    parse: Callable[[Mapping[str, Any]], T]
    selector: str = ""
    optional: bool = False
    page: int | None = None


@dataclass(frozen=True, slots=True)
class WatchState:
    """`synced`: the objects were listed at least once. `error`: one line, what is wrong now; empty when nothing is."""

    synced: bool = False
    error: str = ""


class KubeWatch(Generic[T]):
    """Writes `table`; everything in it happens in the thread that calls `run`. `jitter` gives numbers in [0, 1)."""

    def __init__(
        self,
        api: KubeApi,
        watched: Watched[T],
        table: Table[T],
        monotonic_us: Callable[[], int],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._api = api
        self._watched = watched
        self._table = table
        self._monotonic_us = monotonic_us
        self._jitter = jitter
        self._path = 0
        self._version: str | None = None
        self._listed = ""
        self._too_old = False
        self._failures = 0
        self._events = 0
        self.state = WatchState()

    def run(self, stop: threading.Event) -> None:
        """List and watch until `stop` is set; `close`, called after that, ends the request under way."""
        try:
            while not stop.is_set():
                delay_s = self._round()
                stop.wait(delay_s)
        finally:
            if not stop.is_set():  # what is known would grow old, and nobody would notice
                why = f"the thread that watches {self._watched.kind}s ended by an error (see the log)"
                self.state = WatchState(self.state.synced, f"{why}: restart the agent")

    def close(self) -> None:
        """End the request that is under way."""
        self._api.close()

    def _round(self) -> float:
        """One watch, and the list that it needs first; gives the seconds to wait before the next."""
        began_us, self._events = self._monotonic_us(), 0
        try:
            if self._version is None:
                self._list()
            self._watch(self._version or "")
        except KubeApiError as error:
            self._settle(began_us)
            return self._failed(error)
        self._settle(began_us)
        return self._ended()

    def _list(self) -> None:
        self._table.replace(self._pages(), self._monotonic_us())
        self._version, self._too_old = self._listed, False
        self.state = WatchState(synced=True)

    def _pages(self) -> Iterator[T]:
        """The objects of a LIST, page by page; notes the version that a watch may start from."""
        query = self._query()
        if self._watched.page is not None:
            query["limit"] = str(self._watched.page)
        elif not self._too_old:  # whatever the API server has cached; after a 410 that may be too old too
            query["resourceVersion"] = "0"
        while True:
            answer = self._api.read(self._watched.paths[self._path], query, LIST_TIMEOUT_S)
            try:
                items = [self._watched.parse(item) for item in answer["items"] or ()]
                self._listed = str(answer["metadata"]["resourceVersion"])
                query["continue"] = str(answer["metadata"].get("continue") or "")
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise self._not_understood(error) from error
            yield from items
            if not query["continue"]:
                return

    def _query(self) -> dict[str, str]:
        return {"fieldSelector": self._watched.selector} if self._watched.selector else {}

    def _watch(self, version: str) -> None:
        seconds = int(WATCH_S * (1 + self._jitter() / 4))
        query = self._query() | {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        path = self._watched.paths[self._path]
        with closing(self._api.lines(path, query, seconds + SILENCE_S)) as lines:
            for line in lines:
                if line.strip():
                    self._apply(decode(line))
                else:
                    self.state = WatchState(synced=True)

    def _apply(self, event: Any) -> None:
        try:
            kind, raw = event["type"], event["object"]
            if kind == "ERROR":
                raise _status_error(raw)
            version = str(raw["metadata"]["resourceVersion"])
            item = None if kind == "BOOKMARK" else self._watched.parse(raw)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._not_understood(error) from error
        if item is not None:
            take = self._table.delete if kind == "DELETED" else self._table.put
            take(item, self._monotonic_us())
        self._version = version
        self._events += 1

    def _settle(self, began_us: int) -> None:
        """A watch that brought something, or lived long, wipes the slate of failures clean."""
        if self._events or self._monotonic_us() - began_us >= STEADY_US:
            self._failures = 0

    def _ended(self) -> float:
        """A watch ends without a word: by its timeout, a restart or a cut. It goes on from the last version."""
        if self._events:
            return 0.0
        # Not even a bookmark: the version may be one that the API server has never had (a restored etcd). List again.
        self._version = None
        return self._again()

    def _failed(self, error: KubeApiError) -> float:
        if isinstance(error, Missing) and self._watched.optional:
            return self._not_served()
        if isinstance(error, Gone):
            self._version, self._too_old = None, True
            return self._again()
        if type(error) is KubeApiError:
            self._version = None  # an answer that makes no sense: start over
        self.state = WatchState(self.state.synced, str(error))
        self._failures += 1
        if isinstance(error, Refused):
            return REFUSED_S * (0.5 + self._jitter() / 2)
        return max(error.retry_after_s, self._backoff_s(self._failures))

    def _not_served(self) -> float:
        """Ask for the next older version of the API; after the oldest, there are no such objects for a good while."""
        self._version = None
        self._path = (self._path + 1) % len(self._watched.paths)
        if self._path:
            return 0.0
        self._table.replace((), self._monotonic_us())
        self.state = WatchState(synced=True)
        return ABSENT_S * (0.5 + self._jitter() / 2)

    def _again(self) -> float:
        """List again: at once the first time, then ever more slowly."""
        self._failures += 1
        return 0.0 if self._failures == 1 else self._backoff_s(self._failures - 1)

    def _backoff_s(self, failures: int) -> float:
        return float(min(MAX_BACKOFF_S, BACKOFF_S * 2 ** min(failures - 1, 10)) * (0.5 + self._jitter() / 2))

    def _not_understood(self, error: Exception) -> KubeApiError:
        said = f"{type(error).__name__}: {error}"
        return KubeApiError(f"the Kubernetes API sent something that is not a {self._watched.kind}: {said}")


def _status_error(status: Mapping[str, Any]) -> KubeApiError:
    """What an ERROR event of a watch means: HTTP said 200, the object says otherwise."""
    details = status.get("details") or {}
    return error_of(int(status["code"]), str(status.get("message")), float(details.get("retryAfterSeconds") or 0))
