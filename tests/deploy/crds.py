"""The fields of the custom resources that we write: name -> type, or a table of its own, [table] for a list of them.

From the API references of Prometheus Operator (monitoring.coreos.com/v1, docs/api-reference/api.md) and of cert-manager
(cert-manager.io/v1). Only what we use stands here; another field is looked up there before it is added.
"""

from collections.abc import Iterator
from typing import Any

_LABELS = {"matchLabels": dict}
_ENDPOINT = {"port": str, "interval": str, "honorLabels": bool}
_RULE = {"record": str, "alert": str, "expr": str, "for": str, "labels": dict, "annotations": dict}
_ISSUER = {"name": str, "kind": str, "group": str}

SPECS: dict[tuple[str, str], dict[str, Any]] = {
    ("monitoring.coreos.com/v1", "PodMonitor"): {"selector": _LABELS, "podMetricsEndpoints": [_ENDPOINT]},
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {"selector": _LABELS, "endpoints": [_ENDPOINT]},
    ("monitoring.coreos.com/v1", "PrometheusRule"): {
        "groups": [{"name": str, "interval": str, "rules": [_RULE]}],
    },
    ("cert-manager.io/v1", "Issuer"): {"selfSigned": {}, "ca": {"secretName": str}},
    ("cert-manager.io/v1", "Certificate"): {
        "isCA": bool,
        "commonName": str,
        "secretName": str,
        "duration": str,
        "renewBefore": str,
        "privateKey": {"algorithm": str, "size": int, "rotationPolicy": str},
        "usages": list,
        "dnsNames": list,
        "issuerRef": _ISSUER,
    },
}


def mistakes(value: object, table: Any, path: str = "spec") -> Iterator[str]:
    """What a value has that its table does not know, or has with another type."""
    if isinstance(table, list):
        if not isinstance(value, list):
            yield f"{path} is no list"
            return
        for at, each in enumerate(value):
            yield from mistakes(each, table[0], f"{path}[{at}]")
    elif isinstance(table, dict):
        if not isinstance(value, dict):
            yield f"{path} is no object"
            return
        for key, each in value.items():
            if key in table:
                yield from mistakes(each, table[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is unknown"
    elif not isinstance(value, table):
        yield f"{path} is no {table.__name__}"
