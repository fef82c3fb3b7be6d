"""Where the Kubernetes API is: what is named, else the pod's own, else none."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from gputally.collector.cluster.place import SERVICE_ACCOUNT, KubePlace, kube_place

IN_A_POD = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}


@dataclass
class Given:
    kube_api: str | None = None
    kube_token_file: Path | None = None
    kube_ca_file: Path | None = None


def test_what_is_named_is_asked() -> None:
    files = (Path("/token"), Path("/ca"))
    assert kube_place(Given("https://api:6443", *files), IN_A_POD) == KubePlace("https://api:6443", *files)


@pytest.mark.parametrize("named", [None, "in-cluster"])
def test_a_pod_asks_its_own_cluster(named: str | None) -> None:
    own = KubePlace("https://[fd00::1]:6443", SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt")
    assert kube_place(Given(named), IN_A_POD) == own


def test_a_pods_own_files_can_be_replaced() -> None:
    place = kube_place(Given(None, Path("/token")), IN_A_POD)
    assert place is not None
    assert (place.token_file, place.ca_file) == (Path("/token"), SERVICE_ACCOUNT / "ca.crt")


def test_off_is_off_and_outside_a_pod_there_is_none() -> None:
    assert kube_place(Given("off"), IN_A_POD) is None
    assert kube_place(Given(), {}) is None


def test_in_cluster_outside_a_pod_is_told() -> None:
    with pytest.raises(OSError, match="this is no pod"):
        kube_place(Given("in-cluster"), {})
