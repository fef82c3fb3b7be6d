"""A Kubernetes API server for tests: real HTTP, one node's pods, LIST and WATCH with their history.

It has state as the real one has: objects, a resource version, a watch cache that can be compacted, tokens, RBAC; it can
be overloaded, cut its watches off, stop and start. Events may be recorded ones, served byte for byte.
"""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    path: str
    query: dict[str, str]
    token: str
    too_old: bool = False  # the version it starts from
    begun: int = 0  # how many cuts there were before it

    @property
    def watch(self) -> bool:
        return self.query.get("watch") in ("1", "true")


@dataclass(frozen=True)
class Trouble:
    """What every request is answered with while it lasts."""

    code: int
    message: str
    retry_after: str = ""
    watches_only: bool = False


def pod(namespace: str, name: str, uid: str, **fields: Any) -> Object:
    """A Pod object with what a test says about it: labels, annotations, node, containers (name -> id)."""
    statuses = [{"name": name, "containerID": f"containerd://{i}"} for name, i in fields.get("containers", {}).items()]
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": uid,
            "labels": fields.get("labels", {}),
            "annotations": fields.get("annotations", {}),
        },
        "spec": {"nodeName": fields.get("node", "labnode"), "containers": []},
        "status": {"phase": "Running", "containerStatuses": statuses},
    }


def status(code: int, message: str, reason: str = "") -> Object:
    """A Status object, as refusals carry it."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


class FakeKubeApi:
    """Serves on a loopback port from the start; leaving it stops it. Every change wakes the open watches."""

    def __init__(self, *, token: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.token = token  # empty: anybody may ask
        self.requests: list[Request] = []
        self.trouble: Trouble | None = None
        self.gone_as_status = False  # how a version that is too old is told: as HTTP status, or as an event
        self.changed = threading.Condition()
        self._tls = tls
        self._pods: dict[str, Object] = {}
        self._history: list[tuple[int, bytes]] = []
        self._version = 1000
        self._oldest = 0
        self._cuts = 0  # watches begun before the last cut end
        self._torn = b""
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._port = 0
        self.start()

    def __enter__(self) -> "FakeKubeApi":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self._port}"

    # Its life

    def start(self) -> None:
        """Listen, on the port of before if there was one."""
        server = _Server(self._port, self)
        if self._tls:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self._port = server.server_address[1]
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End as the real one does: open watches end without a word, then nobody listens."""
        server, self._server = self._server, None
        if server is None or self._thread is None:
            return
        self.cut()
        server.shutdown()
        self._thread.join(10)
        server.server_close()

    # Its objects

    def load(self, pod_list: Object) -> None:
        """Hold exactly the pods of a recorded list, at its version; nothing older can be watched from."""
        with self.changed:
            self._pods = {item["metadata"]["uid"]: item for item in pod_list["items"]}
            self._version = self._oldest = int(pod_list["metadata"]["resourceVersion"])
            self._history = []
            self.changed.notify_all()

    def put(self, item: Object) -> None:
        """Make or change a pod."""
        with self.changed:
            kind = "MODIFIED" if item["metadata"]["uid"] in self._pods else "ADDED"
            self._emit(kind, item)

    def delete(self, uid: str) -> None:
        """Delete a pod."""
        with self.changed:
            self._emit("DELETED", self._pods[uid])

    def bookmark(self) -> None:
        """Tell the watches the version, which something elsewhere has moved on."""
        with self.changed:
            self._emit("BOOKMARK", {"kind": "Pod", "metadata": {}})

    def replay(self, lines: Iterable[bytes]) -> None:
        """Let recorded watch events happen, byte for byte."""
        for line in lines:
            event = json.loads(line)
            with self.changed:
                self._record(event["type"], event["object"], line)

    def send(self, line: bytes) -> None:
        """Put any line into the open watches: an ERROR event, or no JSON at all."""
        with self.changed:
            self._version += 1
            self._history.append((self._version, line))
            self.changed.notify_all()

    def compact(self) -> None:
        """Forget the history: versions before the present one are too old; a pod elsewhere moved it on."""
        with self.changed:
            self._version += 1
            self._oldest = self._version
            self._history = []

    def cut(self, torn: bytes = b"") -> None:
        """End all open watches silently; `torn`: the beginning of an event that is sent before."""
        with self.changed:
            self._cuts += 1
            self._torn = torn
            self.changed.notify_all()

    def await_requests(self, wanted: Callable[[list[Request]], bool], within_s: float = 10.0) -> None:
        """Wait until the requests so far are as wanted."""
        with self.changed:
            assert self.changed.wait_for(lambda: wanted(self.requests), within_s), self.requests

    def _emit(self, kind: str, item: Object) -> None:
        item = json.loads(json.dumps(item))
        item["metadata"]["resourceVersion"] = str(self._version + 1)
        self._record(kind, item, json.dumps({"type": kind, "object": item}).encode() + b"\n")

    def _record(self, kind: str, item: Object, line: bytes) -> None:
        self._version = int(item["metadata"]["resourceVersion"])
        if kind == "DELETED":
            self._pods.pop(item["metadata"]["uid"], None)
        elif kind != "BOOKMARK":
            self._pods[item["metadata"]["uid"]] = item
        self._history.append((self._version, line))
        self.changed.notify_all()

    # What it answers

    def _refusal(self, request: Request) -> Trouble | None:
        if self.token and request.token != self.token:
            return Trouble(401, "Unauthorized")
        if self.trouble and (request.watch or not self.trouble.watches_only):
            return self.trouble
        if request.watch and request.too_old and self.gone_as_status:
            return Trouble(410, "The resourceVersion for the provided watch is too old.")
        return None

    def take(self, path: str, token: str) -> tuple[Request, Trouble | None]:
        """Note a request; why it is refused, or None: it is served."""
        parts = urlsplit(path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        with self.changed:
            too_old = int(query.get("resourceVersion") or 0) < self._oldest
            request = Request(parts.path, query, token, too_old, self._cuts)
            self.requests.append(request)
            self.changed.notify_all()
            return request, self._refusal(request)

    def listing(self, request: Request) -> Object:
        """The body of a LIST."""
        node = request.query.get("fieldSelector", "").removeprefix("spec.nodeName=")
        with self.changed:
            items = [item for item in self._pods.values() if item.get("spec", {}).get("nodeName", node) == node]
            return {"kind": "PodList", "metadata": {"resourceVersion": str(self._version)}, "items": items}

    def stream(self, request: Request, write: Callable[[bytes], None]) -> bool:
        """The body of a WATCH; whether it ended because its time was over, and not by a cut."""
        ends = time.monotonic() + float(request.query["timeoutSeconds"])
        seen = int(request.query["resourceVersion"])
        cut = False
        while not cut and time.monotonic() < ends:
            with self.changed:
                self.changed.wait_for(partial(self._news, request, seen), ends - time.monotonic())
                lines = [line for version, line in self._history if version > seen]
                seen, cut = max(seen, self._version), self._cuts > request.begun
            for line in lines:
                write(line)
        if cut:
            write(self._torn)
        return not cut

    def _news(self, request: Request, seen: int) -> bool:
        return self._cuts > request.begun or self._version > seen


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, api: FakeKubeApi) -> None:
        super().__init__(("localhost", port), _Handler)
        self.api = api


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        request, refusal = self.server.api.take(self.path, token)
        with suppress(ConnectionError):  # the client may leave at any time
            self._answer(request, refusal)

    def _answer(self, request: Request, refusal: Trouble | None) -> None:
        if refusal:
            self._send(refusal.code, status(refusal.code, refusal.message), refusal.retry_after)
        elif not request.watch:
            self._send(200, self.server.api.listing(request))
        else:
            self._stream(request)

    def _send(self, code: int, body: Object, retry_after: str = "") -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, request: Request) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if request.too_old:
            gone = status(410, f"too old resource version: {request.query['resourceVersion']}", "Expired")
            self._chunk(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            whole = True
        else:
            whole = self.server.api.stream(request, self._chunk)
        self.close_connection = True
        if whole:
            self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, content: bytes) -> None:
        if content:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Tests read `requests` instead."""
