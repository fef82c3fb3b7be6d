"""A Kubernetes API server for tests: real HTTP, pods and DRA objects, LIST in pages and WATCH with their history.

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

from tests.ports import OwnPort

Object = dict[str, Any]
_METADATA = "PartialObjectMetadata"  # recorded of pods only
_KINDS = {
    "pods": "Pod",
    "resourceslices": "ResourceSlice",
    "resourceclaims": "ResourceClaim",
    "namespaces": "Namespace",
    "nodes": "Node",
    "clusterqueues": "ClusterQueue",
    "localqueues": "LocalQueue",
    "queues": "Queue",
}


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

    @property
    def kind(self) -> str:
        """Of which objects; empty where the path means none."""
        return _KINDS.get(self.path.rpartition("/")[2], "")

    @property
    def group(self) -> str:
        """Of which API: "v1", or "resource.k8s.io/v1beta1"."""
        return self.path.removeprefix("/api/").removeprefix("/apis/").rpartition("/")[0]

    def selects(self, item: Object) -> bool:
        """Whether an object has the labels that are asked for, and passes the field selector; a field that it does not
        have is no reason against it.
        """
        labels = item["metadata"].get("labels") or {}
        for pair in filter(None, self.query.get("labelSelector", "").split(",")):
            name, value = pair.split("=")
            if labels.get(name) != value:
                return False
        for pair in filter(None, self.query.get("fieldSelector", "").split(",")):
            field, value = pair.split("=")
            part, name = field.split(".")
            if item.get(part, {}).get(name, value) != value:
                return False
        return True


@dataclass(frozen=True)
class Trouble:
    """What every request is answered with while it lasts; `kind`: only those for such objects."""

    code: int
    message: str
    retry_after: str = ""
    watches_only: bool = False
    kind: str = ""


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


def resource_slice(uid: str, devices: dict[str, dict[str, str]], **fields: Any) -> Object:
    """A ResourceSlice: device name -> attributes (text). Fields: node, pool, generation, driver, wrapped (v1beta1)."""
    said = {name: {"attributes": {k: {"string": v} for k, v in given.items()}} for name, given in devices.items()}
    node = fields.get("node", "labnode")
    return {
        "kind": "ResourceSlice",
        "metadata": {"name": uid, "uid": uid},
        "spec": {
            "driver": fields.get("driver", "gpu.nvidia.com"),
            "nodeName": node,
            "pool": {"name": fields.get("pool", node), "generation": fields.get("generation", 1)},
            "devices": [
                {"name": name, "basic": given} if fields.get("wrapped") else {"name": name} | given
                for name, given in said.items()
            ],
        },
    }


def resource_claim(namespace: str, name: str, *devices: str, **fields: Any) -> Object:
    """A ResourceClaim that is allocated these devices. Fields: pool, admin (names), reserved (pod names), share_id."""
    results = [
        {"request": "r", "driver": "gpu.nvidia.com", "pool": fields.get("pool", "labnode"), "device": device}
        | ({"adminAccess": True} if device in fields.get("admin", ()) else {})
        | ({"shareID": fields["share_id"]} if "share_id" in fields else {})
        for device in devices
    ]
    reserved = [{"resource": "pods", "name": pod, "uid": f"uid-{pod}"} for pod in fields.get("reserved", ())]
    return {
        "kind": "ResourceClaim",
        "metadata": {"namespace": namespace, "name": name, "uid": f"uid-{namespace}-{name}"},
        "spec": {},
        "status": ({"allocation": {"devices": {"results": results}}} if devices else {})
        | ({"reservedFor": reserved} if reserved else {}),
    }


def status(code: int, message: str, reason: str = "") -> Object:
    """A Status object, as refusals carry it."""
    told = {"status": "Failure", "message": message, "reason": reason, "code": code}
    return {"kind": "Status", "apiVersion": "v1", **told}


class FakeKubeApi:
    """Serves on a loopback port from the start; leaving it stops it. Every change wakes the open watches."""

    def __init__(self, *, token: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.token = token  # empty: anybody may ask
        self.requests: list[Request] = []
        self.trouble: Trouble | None = None
        self.gone_as_status = False  # how a version that is too old is told: as HTTP status, or as an event
        self.changed = threading.Condition()
        self._tls = tls
        self.served = ["v1", "resource.k8s.io/v1"]
        self.documents: dict[str, Object | Trouble] = {}  # single objects and lists of kinds, by their path
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in _KINDS.values()}
        self._history: list[tuple[int, str, bytes]] = []  # version, kind ("" any), line
        self._version, self._oldest = 1000, 0
        self._cuts = 0  # watches begun before the last cut end
        self._torn = b""
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._own = OwnPort()
        self.start()

    def __enter__(self) -> "FakeKubeApi":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self._own.number}"

    # Its life

    def start(self) -> None:
        """Listen, on the same port as before."""
        server = _Server(self._own.number, self)
        if self._tls:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End as the real one does: nobody listens, and open watches end without a word."""
        server, self._server = self._server, None
        if server is None or self._thread is None:
            return
        server.shutdown()
        self._thread.join(60)
        server.server_close()
        self.cut()  # not before: whoever watched would ask at once again, and be heard

    # Its objects

    def load(self, listed: Object) -> None:
        """Hold exactly the objects of a recorded list, at its version; nothing older can be watched from."""
        kind = listed["kind"].removesuffix("List").replace(_METADATA, "Pod")
        with self.changed:
            self._objects[kind] = {item["metadata"]["uid"]: item for item in listed["items"]}
            self._version = self._oldest = int(listed["metadata"]["resourceVersion"])
            self._history = []
            self.changed.notify_all()

    def put(self, item: Object) -> None:
        """Make or change an object."""
        with self.changed:
            known = self._objects[item.get("kind", "Pod")]
            self._emit("MODIFIED" if item["metadata"]["uid"] in known else "ADDED", item)

    def delete(self, uid: str) -> None:
        """Delete an object."""
        with self.changed:
            self._emit("DELETED", next(known[uid] for known in self._objects.values() if uid in known))

    def bookmark(self) -> None:
        """Tell the pods' watches the version, which something elsewhere has moved on."""
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
            self._history.append((self._version, "", line))
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

    def await_requests(self, wanted: Callable[[list[Request]], bool], within_s: float = 60.0) -> None:
        """Wait until the requests so far are as wanted."""
        with self.changed:
            assert self.changed.wait_for(lambda: wanted(self.requests), within_s), self.requests

    def _emit(self, kind: str, item: Object) -> None:
        item = json.loads(json.dumps(item))
        item["metadata"]["resourceVersion"] = str(self._version + 1)
        self._record(kind, item, json.dumps({"type": kind, "object": item}).encode() + b"\n")

    def _record(self, event: str, item: Object, line: bytes) -> None:
        kind = item.get("kind", "Pod").replace(_METADATA, "Pod")
        self._version = int(item["metadata"]["resourceVersion"])
        if event == "DELETED":
            self._objects[kind].pop(item["metadata"]["uid"], None)
        elif event != "BOOKMARK":
            self._objects[kind][item["metadata"]["uid"]] = item
        self._history.append((self._version, kind, line))
        self.changed.notify_all()

    # What it answers

    def _refusal(self, request: Request) -> Trouble | None:
        if self.token and request.token != self.token:
            return Trouble(401, "Unauthorized")
        document = self.documents.get(request.path)
        if document is not None:
            return document if isinstance(document, Trouble) else None
        trouble = self.trouble
        if trouble and (request.watch or not trouble.watches_only) and trouble.kind in ("", request.kind):
            return trouble
        if request.group not in self.served:
            return Trouble(404, "the server could not find the requested resource")
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
        """The body of a LIST, or of one page of it; or what is there as a document."""
        document = self.documents.get(request.path)
        if isinstance(document, dict):
            return document
        begin, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or 0)
        with self.changed:
            items = [item for item in self._objects[request.kind].values() if request.selects(item)]
            metadata = {"resourceVersion": str(self._version)}
            if limit and begin + limit < len(items):
                metadata["continue"] = str(begin + limit)
            page = items[begin : begin + limit] if limit else items
            return {"kind": f"{request.kind}List", "metadata": metadata, "items": page}

    def stream(self, request: Request, write: Callable[[bytes], None]) -> bool:
        """The body of a WATCH; whether it ended because its time was over, and not by a cut."""
        ends = time.monotonic() + float(request.query["timeoutSeconds"])
        seen, cut = int(request.query["resourceVersion"]), False
        while not cut and time.monotonic() < ends:
            with self.changed:
                self.changed.wait_for(partial(self._news, request, seen), ends - time.monotonic())
                lines = [line for version, kind, line in self._history if version > seen and kind in ("", request.kind)]
                seen, cut = max(seen, self._version), self._is_cut(request)
            for line in lines:
                write(line)
        if cut:
            write(self._torn)
        return not cut

    def _news(self, request: Request, seen: int) -> bool:
        return self._is_cut(request) or self._version > seen

    def _is_cut(self, request: Request) -> bool:
        return self._server is None or self._cuts > request.begun


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
        self.send_header("Connection", "close")  # as is done below: whoever used it again would run into the end
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
