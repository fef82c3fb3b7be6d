"""The Kubernetes API of the demo's cluster: real HTTP on loopback, with what the collector asks one for.

LIST and WATCH of pods, nodes, namespaces and Kueue's queues, the metadata of what owns pods, and the discovery of its
kinds. All else is not found, as on a cluster that has nothing of it.
"""

import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from gputally.demo.cluster import NAMESPACES, NODES, PODS, QUEUES, Cluster, plural_of
from gputally.demo.objects import Object

_LOOK_S = 1.0  # between looks for changes
_LISTED = {
    **{f"/api/v1/{plural}": plural for plural in (PODS, NODES, NAMESPACES)},
    **{f"/apis/kueue.x-k8s.io/v1beta2/{plural}": plural for plural in QUEUES},
}
_OWNER = re.compile(r"/(?:api|apis)/(?P<api>.+)/namespaces/(?P<of>[^/]+)/(?P<plural>[^/]+)/(?P<name>[^/]+)")
_KINDS = re.compile(r"/(?:api|apis)/(?P<api>.+)")


class KubeApi:
    """Serves a cluster on a loopback port until it is closed. `now_us` is the wall clock."""

    def __init__(self, cluster: Cluster, now_us: Callable[[], int]) -> None:
        self.cluster = cluster
        self.now_us = now_us
        self.stopped = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="kube-api", daemon=True)

    @property
    def url(self) -> str:
        """Where it is, once it is started."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Answer."""
        self._thread.start()

    def close(self) -> None:
        """End the watches that are open, then listen no longer."""
        self.stopped.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def answer(self, path: str) -> Object | None:
        """The body that a path is answered with; None where there is nothing."""
        now_us = self.now_us()
        if plural := _LISTED.get(path):
            items = self.cluster.objects(plural, now_us)
            return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": str(now_us)}, "items": items}
        if one := _OWNER.fullmatch(path):
            return self.cluster.owner(one["api"], one["plural"], one["of"], one["name"], now_us)
        found = _KINDS.fullmatch(path)
        kinds = sorted(self.cluster.kinds(found["api"])) if found else []
        names = [{"name": plural_of(kind), "kind": kind, "namespaced": True} for kind in kinds]
        return {"kind": "APIResourceList", "resources": names} if names else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: KubeApi) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle(self) -> None:
        """Serve one client, who may leave at any time, between two requests as well."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer a LIST, a GET or a WATCH."""
        asked = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(asked.query).items()}
        listed = _LISTED.get(asked.path)
        if listed and query.get("watch") in ("1", "true", "True"):
            self._watch(listed, int(query["resourceVersion"]), float(query.get("timeoutSeconds", 60)))
        else:
            self._send(self.server.api.answer(asked.path))

    def _send(self, body: Object | None) -> None:
        missing = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
        content = json.dumps(missing if body is None else body).encode()
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _watch(self, plural: str, after_us: int, seconds: float) -> None:
        """Tell what changes, until the time that was asked for is over."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        api, until = self.server.api, time.monotonic() + seconds
        while True:
            now_us = max(after_us, api.now_us())
            for event, about in api.cluster.changes(plural, after_us, now_us):
                self._tell(event, about)
            after_us = now_us
            left_s = until - time.monotonic()
            if left_s <= 0 or api.stopped.wait(min(_LOOK_S, left_s)):
                break
        self._tell("BOOKMARK", {"kind": "Bookmark", "metadata": {"resourceVersion": str(after_us)}})
        self.wfile.write(b"0\r\n\r\n")

    def _tell(self, event: str, about: Object) -> None:
        content = json.dumps({"type": event, "object": about}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""
