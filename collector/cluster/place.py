"""Where the Kubernetes API is and how the collector proves itself there: one answer for watches and for reviews."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gputally.collector.address import Address

IN_CLUSTER, OFF = "in-cluster", "off"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where the kubelet puts a pod's own token


@dataclass(frozen=True, slots=True)
class KubePlace:
    """`token_file`: the collector's own token, None: it has none. `ca_file`: who answers; None: the system's."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None


class KubeSettings(Protocol):
    """The settings that say where it is."""

    @property
    def kube_api(self) -> str | None: ...
    @property
    def kube_token_file(self) -> Path | None: ...
    @property
    def kube_ca_file(self) -> Path | None: ...


def kube_place(settings: KubeSettings, environ: Mapping[str, str]) -> KubePlace | None:
    """The API that the settings name, or the pod's own where none is named; None: there is none.

    Raises OSError where the pod's own is asked for outside a pod.
    """
    if settings.kube_api == OFF:
        return None
    if settings.kube_api not in (None, IN_CLUSTER):
        return KubePlace(str(settings.kube_api), settings.kube_token_file, settings.kube_ca_file)
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        if settings.kube_api is None:
            return None
        raise OSError("this is no pod (KUBERNETES_SERVICE_HOST is not set): give --kube-api URL")
    token_file = settings.kube_token_file or SERVICE_ACCOUNT / "token"
    ca_file = settings.kube_ca_file or SERVICE_ACCOUNT / "ca.crt"
    return KubePlace(f"https://{Address(host, int(port)).text}", token_file, ca_file)
