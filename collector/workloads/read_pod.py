"""Pods and their owners from the API's JSON, whatever somebody wrote there: what is not as it should be is left out.

Only the labels and annotations that a rule asks for are kept, and no text that is longer than a name can be (one
character more is, so that it is known to be too long). Nothing here raises.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gputally.collector.workloads.pod import LONGEST, VARIABLES, OwnerFacts, OwnerReference, PodFacts

_MOST_OWNERS = 16  # references of one object; one of them is the controller's
_MOST_CONTAINERS = 64
_MOST_VARIABLES = 1024  # of one container


@dataclass(frozen=True, slots=True)
class Wanted:
    """The keys that some rule looks at."""

    labels: frozenset[str] = frozenset()
    annotations: frozenset[str] = frozenset()


def read_pod(raw: object, wanted: Wanted) -> PodFacts | None:
    """A pod of the API; None where it has no name or no namespace."""
    metadata, spec = _fields(raw, "metadata"), _fields(raw, "spec")
    namespace, name = _text(metadata.get("namespace")), _text(metadata.get("name"))
    if not namespace or not name or len(namespace) > LONGEST or len(name) > LONGEST:
        return None
    return PodFacts(
        namespace,
        name,
        _text(metadata.get("uid")),
        _kept(metadata.get("labels"), wanted.labels),
        _kept(metadata.get("annotations"), wanted.annotations),
        _references(metadata.get("ownerReferences")),
        _variables(spec),
        _text(spec.get("serviceAccountName")),
    )


def read_owner(raw: object, wanted: Wanted) -> OwnerFacts | None:
    """An object of the API, of which only the metadata is looked at; None where it has no UID."""
    metadata = _fields(raw, "metadata")
    uid = _text(metadata.get("uid"))
    if not uid:
        return None
    labels, annotations = _kept(metadata.get("labels"), wanted.labels), metadata.get("annotations")
    return OwnerFacts(uid, labels, _kept(annotations, wanted.annotations), _references(metadata.get("ownerReferences")))


def _fields(raw: object, name: str) -> Mapping[object, object]:
    value = raw.get(name) if isinstance(raw, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value[: LONGEST + 1] if isinstance(value, str) else None


def _kept(raw: object, keys: Iterable[str]) -> dict[str, str]:
    if not isinstance(raw, Mapping):
        return {}
    texts = ((key, _text(raw.get(key))) for key in keys)
    return {key: text for key, text in texts if text is not None}


def _items(raw: object, most: int) -> list[object]:
    return raw[:most] if isinstance(raw, list) else []


def _references(raw: object) -> tuple[OwnerReference, ...]:
    return tuple(found for item in _items(raw, _MOST_OWNERS) if (found := _reference(item)) is not None)


def _reference(raw: object) -> OwnerReference | None:
    if not isinstance(raw, Mapping):
        return None
    version, kind, name, uid = (_text(raw.get(key)) for key in ("apiVersion", "kind", "name", "uid"))
    if not version or not kind or not name or not uid:
        return None
    if not all(len(text) <= LONGEST and text.isprintable() for text in (version, kind, name, uid)):
        return None
    return OwnerReference(version, kind, name, uid, raw.get("controller") is True)


def _variables(spec: Mapping[object, object]) -> dict[str, str]:
    """Those of the allow-list; one that two containers set to different values is not known."""
    found: dict[str, str] = {}
    doubtful: set[str] = set()
    for name, text in _declared(spec):
        if found.setdefault(name, text) != text:
            doubtful.add(name)
    return {name: text for name, text in found.items() if name not in doubtful}


def _declared(spec: Mapping[object, object]) -> Iterator[tuple[str, str]]:
    for container in _items(spec.get("containers"), _MOST_CONTAINERS):
        declared = container.get("env") if isinstance(container, Mapping) else None
        for item in _items(declared, _MOST_VARIABLES):
            name, text = (item.get("name"), _text(item.get("value"))) if isinstance(item, Mapping) else (None, None)
            if isinstance(name, str) and name in VARIABLES and text is not None:
                yield name, text
