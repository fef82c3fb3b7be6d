"""Keeps the table of this node's pods up to date: LIST, then WATCH, and LIST again when the watch cannot go on.

A resource version is opaque: kept and sent back, never compared. Whatever fails, the pods known so far stay known.
"""

import random
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from gputally.agent.kube_api import Gone, KubeApi, KubeApiError, Refused, decode, error_of
from gputally.agent.pods import Pod, PodTable, parse_pod

LIST_TIMEOUT_S = 30.0
WATCH_S = 240  # plus up to a quarter, so that the agents of a fleet do not reconnect together
SILENCE_S = 30.0  # on top of the watch's own length: then the connection is dead
BACKOFF_S = 1.0
MAX_BACKOFF_S = 30.0
REFUSED_S = 60.0  # only a person can mend a missing permission
STEADY_US = 30_000_000  # a watch that lived this long was no failure
_PATH = "/api/v1/pods"


@dataclass(frozen=True, slots=True)
class WatchState:
    """`synced`: the pods were listed at least once. `error`: one line, what is wrong now; empty when nothing is."""

    synced: bool = False
    error: str = ""


class PodWatch:
    """Writes `table`; everything in it happens in the thread that calls `run`. `jitter` gives numbers in [0, 1)."""

    def __init__(
        self,
        api: KubeApi,
        node: str,
        table: PodTable,
        monotonic_us: Callable[[], int],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._api = api
        self._selector = f"spec.nodeName={node}"
        self._table = table
        self._monotonic_us = monotonic_us
        self._jitter = jitter
        self._version: str | None = None
        self._too_old = False
        self._failures = 0
        self._events = 0
        self.state = WatchState()

    def run(self, stop: threading.Event) -> None:
        """List and watch until `stop` is set; `close`, called after that, ends the request under way."""
        while not stop.is_set():
            delay_s = self._round()
            stop.wait(delay_s)

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
        # Version 0: whatever the API server has cached, cheap. After a 410 that may be too old too: ask for the newest.
        query = {"fieldSelector": self._selector} | ({} if self._too_old else {"resourceVersion": "0"})
        answer = self._api.read(_PATH, query, LIST_TIMEOUT_S)
        try:
            pods = [parse_pod(item) for item in answer["items"] or ()]
            version = str(answer["metadata"]["resourceVersion"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _not_understood(error) from error
        self._table.replace(pods, self._monotonic_us())
        self._version, self._too_old = version, False
        self.state = WatchState(synced=True)

    def _watch(self, version: str) -> None:
        seconds = int(WATCH_S * (1 + self._jitter() / 4))
        query = {
            "fieldSelector": self._selector,
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        with closing(self._api.lines(_PATH, query, seconds + SILENCE_S)) as lines:
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
            pod = None if kind == "BOOKMARK" else parse_pod(raw)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _not_understood(error) from error
        self._take(kind, pod)
        self._version = version
        self._events += 1

    def _take(self, kind: str, pod: Pod | None) -> None:
        now_us = self._monotonic_us()
        if pod is None:
            return
        if kind == "DELETED":
            self._table.delete(pod, now_us)
        else:
            self._table.put(pod, now_us)

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

    def _again(self) -> float:
        """List again: at once the first time, then ever more slowly."""
        self._failures += 1
        return 0.0 if self._failures == 1 else self._backoff_s(self._failures - 1)

    def _backoff_s(self, failures: int) -> float:
        return float(min(MAX_BACKOFF_S, BACKOFF_S * 2 ** min(failures - 1, 10)) * (0.5 + self._jitter() / 2))


def _status_error(status: Mapping[str, Any]) -> KubeApiError:
    """What an ERROR event of a watch means: HTTP said 200, the object says otherwise."""
    details = status.get("details") or {}
    return error_of(int(status["code"]), str(status.get("message")), float(details.get("retryAfterSeconds") or 0))


def _not_understood(error: Exception) -> KubeApiError:
    return KubeApiError(f"the Kubernetes API sent something that is not a pod: {type(error).__name__}: {error}")
