"""The row of a pod: what it says at first, and what may change of it later. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gputally.collector.cluster.pod import WatchedPod
from gputally.collector.workloads.workload import CLAIMS, NUMBERS, TEXTS, Claim, Workload

Values = dict[str, Any]

_IDENTITY = ("label", "platform", "kind", "name", "uid", "evidence", "rule", "complete")
_DESCRIPTION = (*TEXTS, *NUMBERS, *CLAIMS)
_LIFE = ("started_us", "finished_us")
_PLAIN = "kubernetes"  # the platform whose kinds need no other word beside them
_OTHER = "other"


def label_of(platform: str | None, kind: str, name: str) -> str:
    """What reports name a workload, as kubectl does: `deployment/web`, `pytorchjob.kubeflow/bert`.

    The platform keeps apart what has one kind and one name on two of them.
    """
    where = "" if platform == _PLAIN else f".{platform or _OTHER}"
    return f"{kind.lower()}{where}/{name}"


def row_of(cluster: str, pod: WatchedPod, workload: Workload, *, complete: bool, now_us: int) -> Values:
    """All columns, for a pod that nothing was known of. `complete`: every owner that was asked for could be read."""
    described = asdict(workload)
    claims = {name: value for name in CLAIMS if isinstance(value := getattr(workload, name), Claim)}
    return {
        "cluster": cluster,
        "pod_uid": pod.uid,
        "namespace": pod.facts.namespace,
        "pod": pod.facts.name,
        "label": label_of(workload.platform, workload.kind, workload.name),
        **{name: described[name] for name in ("platform", "kind", "name", "uid", *TEXTS, *NUMBERS)},
        **{name: claims[name].text if name in claims else None for name in CLAIMS},
        "evidence": workload.evidence.value,
        "rule": workload.rule,
        "complete": int(complete),
        "sources": _json({name: claim.source for name, claim in claims.items()}),
        "facts": _json(workload.facts),
        "resource_version": pod.version,
        "created_us": pod.created_us,
        **{name: getattr(pod, name) for name in ("started_us", "finished_us", "phase", "reason")},
        "first_seen_us": now_us,
        "last_seen_us": now_us,
        "gone_us": None,
    }


def changes(row: Mapping[str, Any], new: Values) -> Values:
    """What `new` changes of a row, without the two columns that say when it was seen; nothing where it is known."""
    wanted = {**_described(row, new), **{name: row[name] if new[name] is None else new[name] for name in _LIFE}}
    wanted |= {name: new[name] for name in ("phase", "reason", "gone_us")}
    return {name: value for name, value in wanted.items() if row[name] != value}


def _described(row: Mapping[str, Any], new: Values) -> Values:
    if new["complete"] and not row["complete"]:
        return {name: new[name] for name in (*_IDENTITY, *_DESCRIPTION, "sources", "facts")}
    filled = {name: new[name] for name in _DESCRIPTION if row[name] is None and new[name] is not None}
    if not filled:
        return {}
    sources = json.loads(row["sources"]) | {n: s for n, s in json.loads(new["sources"]).items() if n in filled}
    facts = dict.fromkeys((*json.loads(row["facts"]), *json.loads(new["facts"])))
    return {**filled, "sources": _json(sources), "facts": _json(list(facts))}


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
