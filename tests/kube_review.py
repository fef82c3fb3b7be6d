"""A Kubernetes API server's reviews for tests: TokenReview and SubjectAccessReview over real HTTP(S).

It has the state that the real one judges by: tokens with their accounts, audiences, expiry and the pod they are bound
to, and who may do what. Its words are those of the recordings in tests/data/kubernetes; a test compares them.
"""

import json
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.ports import OwnPort

Object = dict[str, Any]
API_SERVER = "https://kubernetes.default.svc.cluster.local"  # the API server's own audience
LEEWAY_S = 60.0  # after its end a token is still taken for so long
_EXTRA = "authentication.kubernetes.io/"


@dataclass(frozen=True)
class Token:
    """What the API server knows of a token; `node` and `pod` are empty for one that was made by hand."""

    username: str = "system:serviceaccount:gputally:agent"
    audiences: tuple[str, ...] = ("gputally-collector",)
    node: str = ""
    pod: str = ""
    uid: str = "7a364223-fc1d-4746-936b-133db29cfaa3"
    expires_s: float = float("inf")
    invalidated: bool = False  # its pod is gone

    @property
    def groups(self) -> list[str]:
        if not self.username.startswith("system:serviceaccount:"):
            return ["system:authenticated"]
        return ["system:serviceaccounts", ":".join(["system:serviceaccounts", self.username.split(":")[2]]), _ALL]


_ALL = "system:authenticated"


@dataclass
class FakeReviews:
    """Serves on a loopback port from the start; leaving it stops it. `clock_s` is the API server's clock."""

    own_token: str = "the-collectors-own-token"
    tls: ssl.SSLContext | None = None
    clock_s: Callable[[], float] = lambda: 0.0
    tokens: dict[str, Token] = field(default_factory=dict)
    grants: set[tuple[str, str, str]] = field(default_factory=set)  # user or group, verb, resource/namespace or path
    asked: list[Object] = field(default_factory=list)
    trouble: tuple[int, Object] | None = None  # what every request is answered with while it lasts
    permitted: bool = True  # whether the collector may ask for reviews
    port: int = field(init=False)

    def __post_init__(self) -> None:
        self._server: ThreadingHTTPServer | None = None
        self._own = OwnPort()
        self.port = self._own.number
        self.start()

    def __enter__(self) -> "FakeReviews":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        reviews = self

        class Handler(_Handler):
            answer = staticmethod(reviews.answer)

        server = _Server(("localhost", self.port), Handler)
        if self.tls:
            server.socket = self.tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nobody listens any more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            self._thread.join(60)
            server.server_close()

    def invalidate(self, token: str) -> None:
        """The pod of the token was deleted."""
        self.tokens[token] = replace(self.tokens[token], invalidated=True)

    def grant(self, who: str, verb: str, what: str) -> None:
        """RBAC: let a user or group list `pods/NAMESPACE` (`pods/`: of all namespaces), or use a path."""
        self.grants.add((who, verb, what))

    def answer(self, path: str, authorization: str, document: Object) -> tuple[int, Object]:
        """Status and body for a POST."""
        self.asked.append(document)
        if self.trouble:
            return self.trouble
        if authorization != f"Bearer {self.own_token}":
            return 401, refusal(401, "Unauthorized", "Unauthorized")
        if not self.permitted:
            return 403, refusal(403, _NOT_PERMITTED, "Forbidden")
        if path.endswith("/tokenreviews"):
            return self._token_review(document)
        if path.endswith("/subjectaccessreviews"):
            return self._access_review(document)
        return 404, refusal(404, "the server could not find the requested resource", "NotFound")

    def _token_review(self, document: Object) -> tuple[int, Object]:
        spec = document["spec"]
        if not spec["token"]:
            return 400, refusal(400, "token is required for TokenReview in authentication", "BadRequest")
        token = self.tokens.get(spec["token"])
        error = self._error(token, spec.get("audiences") or [API_SERVER])
        if error or token is None:
            return 201, {**document, "status": {"user": {}, "error": error}}
        audiences = [name for name in spec.get("audiences") or [API_SERVER] if name in token.audiences]
        user = {"username": token.username, "uid": token.uid, "groups": token.groups, "extra": _extra(token)}
        return 201, {**document, "status": {"authenticated": True, "user": user, "audiences": audiences}}

    def _error(self, token: Token | None, wanted: list[str]) -> str:
        if token is None:
            return "invalid bearer token"
        if not set(wanted) & set(token.audiences):
            has, asked = (json.dumps(list(names), separators=(" ", ":")) for names in (token.audiences, wanted))
            return f"[invalid bearer token, token audiences {has} is invalid for the target audiences {asked}]"
        if self.clock_s() > token.expires_s + LEEWAY_S:
            return "[invalid bearer token, service account token has expired]"
        if token.invalidated:
            return "[invalid bearer token, service account token has been invalidated]"
        return ""

    def _access_review(self, document: Object) -> tuple[int, Object]:
        spec = document["spec"]
        who = {spec.get("user", ""), *spec.get("groups", ())} - {""}
        if not who:
            return 422, refusal(422, "at least one of user or group must be specified", "Invalid")
        verb, what = _attributes(spec)
        wide = what.partition("/")[0] + "/"
        allowed = any(one == "system:masters" or {(one, verb, what), (one, verb, wide)} & self.grants for one in who)
        return 201, {**document, "status": {"allowed": allowed}}


def refusal(code: int, message: str, reason: str) -> Object:
    """A Status object, as refusals carry it."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


_NOT_PERMITTED = (
    'tokenreviews.authentication.k8s.io is forbidden: User "system:serviceaccount:gputally:collector" cannot create '
    'resource "tokenreviews" in API group "authentication.k8s.io" at the cluster scope'
)


def _extra(token: Token) -> dict[str, list[str]]:
    extra = {"credential-id": ["JTI=bb34d33b-3ed1-421c-8504-bd2136f650ee"]}
    if token.node:
        extra |= {"node-name": [token.node], "node-uid": ["2c99b546-b055-4f9f-9f89-b5f6f6686464"]}
    if token.pod:
        extra |= {"pod-name": [token.pod], "pod-uid": ["f3150ca8-a077-4f0d-b61b-37c409759836"]}
    return {_EXTRA + key: values for key, values in extra.items()}


def _attributes(spec: Object) -> tuple[str, str]:
    if "nonResourceAttributes" in spec:
        return spec["nonResourceAttributes"]["verb"], spec["nonResourceAttributes"]["path"]
    resource = spec["resourceAttributes"]
    return resource["verb"], f"{resource['resource']}/{resource.get('namespace', '')}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust us leaves in the middle of the handshake."""


class _Handler(BaseHTTPRequestHandler):
    answer: Callable[[str, str, Object], tuple[int, Object]]

    def do_GET(self) -> None:
        """A cluster with nothing in it: its lists are empty, and watches of it are silent until the client leaves."""
        if "watch=" not in self.path:
            self._send(200, {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": []})
            return
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            self.rfile.read(1)

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(*self.answer(self.path, self.headers.get("Authorization", ""), document))

    def _send(self, code: int, body: Object) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Tests read `asked` instead."""
