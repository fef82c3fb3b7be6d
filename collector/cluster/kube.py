"""The API of a Kubernetes cluster through the `kubernetes` package, which is imported here only, and only when asked.

Of every object only its metadata is asked for (a node's status alone is tens of kilobytes), as the API's own partial
form, in pages; the answers are read as JSON, not into the package's models.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from gputally.accounting.ledger_hour import to_us
from gputally.collector.auth.errors import Undecided
from gputally.collector.auth.kube_api import read_token
from gputally.collector.cluster.place import KubePlace
from gputally.collector.cluster.watch import (
    Change,
    ClusterError,
    Listing,
    NotThere,
    ObjectKind,
    Refused,
    Seen,
    VersionGone,
)

_PAGE = 500  # objects
_WATCH_S = 30  # the server ends a watch after this; it is begun anew from where it came to
_TIMEOUT_S = (10, 60)  # to connect; between two pieces of an answer, longer than a watch
_CHUNK = 65_536  # bytes
_LONGEST_LINE = 4 << 20  # bytes: an object's metadata is limited to a fraction of it
_LONGEST_TEXT = 1024  # characters of an annotation: longer ones are somebody's state, not a name
# kubectl keeps the whole manifest once more; GPU Feature Discovery writes when it last ran.
_LEFT_OUT = ("kubectl.kubernetes.io/last-applied-configuration", "nvidia.com/gfd.timestamp")
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_GONE = 410
_REFUSED = (401, 403)
_FORBIDDEN = 403
_NOT_FOUND = 404

T = TypeVar("T")
Ask = Callable[..., Any]  # a list method of the package: the raw answer of urllib3 where _preload_content is False
Read = Callable[[ObjectKind, Sequence[Mapping[str, Any]]], Sequence[T]]  # those of a kind that matter


def open_api(place: KubePlace) -> "KubeApi[Seen]":
    """The namespaces and nodes of the cluster whose API is there; nothing is asked yet."""
    return KubeApi(_asks(core(place, PARTIAL_LIST)), _asks(core(place, PARTIAL)), _labelled)


def open_pods(place: KubePlace) -> Callable[[str], Iterator[tuple[str, str]]]:
    """What lists the (namespace, name) of the cluster's pods that a label selector takes; it raises ClusterError."""
    return partial(_selected, partial(core(place, PARTIAL_LIST).list_pod_for_all_namespaces, limit=_PAGE, **raw()))


def core(place: KubePlace, accept: str) -> Any:
    """The API's core group, which answers in the form that `accept` names."""
    # Here, because it is 65 MiB that a collector without a cluster need not hold. Not all of it is typed.
    from kubernetes import client

    return client.CoreV1Api(_client(place, accept))


def custom(place: KubePlace, accept: str) -> Any:
    """Any other group of the API, likewise; it is named in each request."""
    from kubernetes import client

    return client.CustomObjectsApi(_client(place, accept))


def _client(place: KubePlace, accept: str) -> Any:
    from kubernetes import client

    configuration: Any = client.Configuration(host=place.url.rstrip("/"))
    configuration.ssl_ca_cert = str(place.ca_file) if place.ca_file else None
    configuration.retries = False  # the watch has its own way to try again
    if place.token_file:
        configuration.api_key["authorization"] = ""  # the hook fills it before each request, where there is one at all
        configuration.refresh_api_key_hook = partial(_renew_token, place.token_file)
    of_form: Any = client.ApiClient(configuration)
    of_form.set_default_header("Accept", accept)
    return of_form


def _renew_token(file: Path, configuration: Any) -> None:
    """A token in a pod is replaced every hour."""
    configuration.api_key["authorization"] = f"Bearer {read_token(file)}"


def _asks(of: Any) -> dict[ObjectKind, Ask]:
    """What asks for each kind."""
    return {ObjectKind.NAMESPACE: of.list_namespace, ObjectKind.NODE: of.list_node}


def _selected(listing: Ask, selector: str) -> Iterator[tuple[str, str]]:
    following: dict[str, str] = {}
    while True:
        with errors("pods"):
            page = body(listing(label_selector=selector, **following))
            names = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in page.get("items") or ()]
            token = page["metadata"].get("continue")
        yield from names
        if not token:
            return
        following = {"_continue": token}


class KubeApi(Generic[T]):
    """One cluster's API: what lists each kind, what watches it, and what reads the objects that matter."""

    def __init__(self, lists: Mapping[ObjectKind, Ask], watches: Mapping[ObjectKind, Ask], read: Read[T]) -> None:
        self._lists = lists
        self._watches = watches
        self._read = read

    def objects(self, kind: ObjectKind) -> Listing[T]:
        """All objects of a kind, page by page; raises ClusterError, VersionGone (the pages took too long)."""
        found: list[T] = []
        following: dict[str, str] = {}
        while True:
            with errors(kind):
                page = body(self._lists[kind](limit=_PAGE, **following, **raw()))
                found += self._read(kind, page.get("items") or ())
                version, token = page["metadata"]["resourceVersion"], page["metadata"].get("continue")
            if not token:
                return Listing(found, version)
            following = {"_continue": token}

    def changes(self, kind: ObjectKind, version: str) -> Iterator[Change[T]]:
        """What happens after a version, for half a minute; raises ClusterError, VersionGone."""
        with errors(kind):
            answer = self._watches[kind](
                watch=True,
                resource_version=version,
                timeout_seconds=_WATCH_S,
                allow_watch_bookmarks=True,
                **raw(),
            )
            try:
                for line in lines(answer.stream(_CHUNK)):
                    yield self._change(json.loads(line), kind)
            finally:
                answer.close()

    def _change(self, event: Mapping[str, Any], kind: ObjectKind) -> Change[T]:
        """One event of a watch; raises VersionGone, ClusterError where the server says that something is wrong."""
        about = event["object"]
        if event["type"] == "ERROR":
            if about.get("code") == _GONE:
                raise VersionGone
            raise ClusterError(f"the watch was refused: {about.get('message', 'without a reason')}")
        version = about["metadata"]["resourceVersion"]
        if event["type"] == "BOOKMARK":
            return Change(version)
        seen = next(iter(self._read(kind, [about])), None)
        return Change(version, seen, deleted=event["type"] == "DELETED")


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines of a stream; one that is torn off at the end is left out, one that is too long raises ValueError."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())
        if len(rest) > _LONGEST_LINE:
            raise ValueError(f"an event of more than {_LONGEST_LINE} bytes")


def raw() -> dict[str, Any]:
    """To be given the answer as it came, within the timeouts."""
    return {"_preload_content": False, "_request_timeout": _TIMEOUT_S}


def body(answer: Any) -> dict[str, Any]:
    """The JSON object of an answer; raises ValueError."""
    try:
        body = json.loads(answer.data)
    finally:
        answer.close()
    if not isinstance(body, dict):
        raise ValueError("the answer is no object")
    return body


def _labelled(kind: ObjectKind, items: Sequence[Mapping[str, Any]]) -> list[Seen]:
    return [_seen(item, kind) for item in items]


def _seen(raw: Mapping[str, Any], kind: ObjectKind) -> Seen:
    metadata = raw["metadata"]
    annotations = metadata.get("annotations") if kind is ObjectKind.NAMESPACE else None
    return Seen(
        metadata["name"],
        metadata["uid"],
        to_us(datetime.fromisoformat(metadata["creationTimestamp"])),
        int(metadata["resourceVersion"]),
        _kept(metadata.get("labels")),
        _kept(annotations),
    )


def _kept(texts: Mapping[str, str] | None) -> dict[str, str]:
    return {name: text for name, text in (texts or {}).items() if name not in _LEFT_OUT and len(text) <= _LONGEST_TEXT}


@contextmanager
def errors(kind: str, verbs: str = "list and watch") -> Iterator[None]:
    """The package's errors, urllib3's and those of an answer that cannot be read, as ClusterError or VersionGone."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClusterError:
        raise
    except ApiException as error:
        if error.status == _GONE:
            raise VersionGone from error
        hint = f": the collector's service account needs {verbs} on {kind}"
        told = hint if error.status in _REFUSED else ""
        raised = {_FORBIDDEN: Refused, _NOT_FOUND: NotThere}.get(error.status, ClusterError)
        raise raised(f"the API server answers {error.status} {error.reason}{told}") from error
    except (HTTPError, OSError, Undecided) as error:
        raise ClusterError(f"the API server cannot be reached: {error}") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ClusterError(f"the API server's answer cannot be read: {error!r}") from error
