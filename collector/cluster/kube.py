"""The API of a Kubernetes cluster through the `kubernetes` package, which is imported here only, and only when asked.

Of every object only its metadata is asked for (a node's status alone is tens of kilobytes), as the API's own partial
form, in pages; the answers are read as JSON, not into the package's models.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from gputally.accounting.ledger_hour import to_us
from gputally.collector.auth.errors import Undecided
from gputally.collector.auth.kube_api import read_token
from gputally.collector.cluster.place import KubePlace
from gputally.collector.cluster.watch import Change, ClusterError, Listing, ObjectKind, Seen, VersionGone

_PAGE = 500  # objects
_WATCH_S = 30  # the server ends a watch after this; it is begun anew from where it came to
_TIMEOUT_S = (10, 60)  # to connect; between two pieces of an answer, longer than a watch
_CHUNK = 65_536  # bytes
_LONGEST_LINE = 4 << 20  # bytes: an object's metadata is limited to a fraction of it
_LONGEST_TEXT = 1024  # characters of an annotation: longer ones are somebody's state, not a name
# kubectl keeps the whole manifest once more; GPU Feature Discovery writes when it last ran.
_LEFT_OUT = ("kubectl.kubernetes.io/last-applied-configuration", "nvidia.com/gfd.timestamp")
_PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_GONE = 410
_REFUSED = (401, 403)

Ask = Callable[..., Any]  # a list method of the package: the raw answer of urllib3 where _preload_content is False


def open_api(place: KubePlace) -> "KubeApi":
    """The cluster whose API is there; nothing is asked yet."""
    return KubeApi(_asks(_core(place, _PARTIAL_LIST)), _asks(_core(place, _PARTIAL)))


def open_pods(place: KubePlace) -> Callable[[str], Iterator[tuple[str, str]]]:
    """What lists the (namespace, name) of the cluster's pods that a label selector takes; it raises ClusterError."""
    return partial(_selected, partial(_core(place, _PARTIAL_LIST).list_pod_for_all_namespaces, limit=_PAGE, **_raw()))


def _core(place: KubePlace, accept: str) -> Any:
    """The API's core group, which answers in the form that `accept` names."""
    # Here, because it is 65 MiB that a collector without a cluster need not hold. Not all of it is typed.
    from kubernetes import client

    configuration: Any = client.Configuration(host=place.url.rstrip("/"))
    configuration.ssl_ca_cert = str(place.ca_file) if place.ca_file else None
    configuration.retries = False  # the watch has its own way to try again
    if place.token_file:
        configuration.api_key["authorization"] = ""  # the hook fills it before each request, where there is one at all
        configuration.refresh_api_key_hook = partial(_renew_token, place.token_file)
    of_form: Any = client.ApiClient(configuration)
    of_form.set_default_header("Accept", accept)
    return client.CoreV1Api(of_form)


def _renew_token(file: Path, configuration: Any) -> None:
    """A token in a pod is replaced every hour."""
    configuration.api_key["authorization"] = f"Bearer {read_token(file)}"


def _asks(core: Any) -> dict[ObjectKind, Ask]:
    """What asks for each kind."""
    return {ObjectKind.NAMESPACE: core.list_namespace, ObjectKind.NODE: core.list_node}


def _selected(listing: Ask, selector: str) -> Iterator[tuple[str, str]]:
    following: dict[str, str] = {}
    while True:
        with _errors("pods"):
            page = _body(listing(label_selector=selector, **following))
            names = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in page.get("items") or ()]
            token = page["metadata"].get("continue")
        yield from names
        if not token:
            return
        following = {"_continue": token}


class KubeApi:
    """One cluster's API: what lists each kind, and what watches it."""

    def __init__(self, lists: Mapping[ObjectKind, Ask], watches: Mapping[ObjectKind, Ask]) -> None:
        self._lists = lists
        self._watches = watches

    def objects(self, kind: ObjectKind) -> Listing:
        """All objects of a kind, page by page; raises ClusterError, VersionGone (the pages took too long)."""
        found: list[Seen] = []
        following: dict[str, str] = {}
        while True:
            with _errors(kind):
                page = _body(self._lists[kind](limit=_PAGE, **following, **_raw()))
                found += (_seen(item, kind) for item in page.get("items") or ())
                version, token = page["metadata"]["resourceVersion"], page["metadata"].get("continue")
            if not token:
                return Listing(found, version)
            following = {"_continue": token}

    def changes(self, kind: ObjectKind, version: str) -> Iterator[Change]:
        """What happens after a version, for half a minute; raises ClusterError, VersionGone."""
        with _errors(kind):
            answer = self._watches[kind](
                watch=True,
                resource_version=version,
                timeout_seconds=_WATCH_S,
                allow_watch_bookmarks=True,
                **_raw(),
            )
            try:
                for line in lines(answer.stream(_CHUNK)):
                    yield _change(json.loads(line), kind)
            finally:
                answer.close()


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines of a stream; one that is torn off at the end is left out, one that is too long raises ValueError."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())
        if len(rest) > _LONGEST_LINE:
            raise ValueError(f"an event of more than {_LONGEST_LINE} bytes")


def _raw() -> dict[str, Any]:
    return {"_preload_content": False, "_request_timeout": _TIMEOUT_S}


def _body(answer: Any) -> dict[str, Any]:
    try:
        body = json.loads(answer.data)
    finally:
        answer.close()
    if not isinstance(body, dict):
        raise ValueError("the answer is no object")
    return body


def _change(event: Mapping[str, Any], kind: ObjectKind) -> Change:
    """One event of a watch; raises VersionGone, ClusterError where the server says that something is wrong."""
    about = event["object"]
    if event["type"] == "ERROR":
        if about.get("code") == _GONE:
            raise VersionGone
        raise ClusterError(f"the watch was refused: {about.get('message', 'without a reason')}")
    version = about["metadata"]["resourceVersion"]
    if event["type"] == "BOOKMARK":
        return Change(version)
    return Change(version, _seen(about, kind), deleted=event["type"] == "DELETED")


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
def _errors(kind: str) -> Iterator[None]:
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
        hint = f": the collector's service account needs get, list and watch on {kind}"
        told = hint if error.status in _REFUSED else ""
        raise ClusterError(f"the API server answers {error.status} {error.reason}{told}") from error
    except (HTTPError, OSError, Undecided) as error:
        raise ClusterError(f"the API server cannot be reached: {error}") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ClusterError(f"the API server's answer cannot be read: {error!r}") from error
