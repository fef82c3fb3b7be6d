"""What the Kubernetes API knows of a node's DRA devices and claims beyond what its kubelet says.

All of it is optional: without it, devices are told by their names, and claims for monitoring look like holders.
"""

import random
import threading
from collections.abc import Callable

from gputally.agent.kube.api import KubeApi
from gputally.agent.kube.claims import Claim, ClaimTable, parse_claim
from gputally.agent.kube.slices import DRIVER, DraDevice, Slice, SliceTable, parse_slice
from gputally.agent.kube.watch import KubeWatch, Watched
from gputally.agent.reservations.device_id import DeviceName

PAGE = 500  # claims of the whole cluster are listed, as no selector tells those of a node
_VERSIONS = ("v1", "v1beta2", "v1beta1")


class ClaimWatch:
    """Two watches, and what they tell. Each needs an API reader of its own: a reader ends one request at a time."""

    def __init__(
        self,
        slices_api: KubeApi,
        claims_api: KubeApi,
        node: str,
        monotonic_us: Callable[[], int],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._slices = SliceTable()
        self._claims = ClaimTable(node)
        selector = f"spec.nodeName={node},spec.driver={DRIVER}"
        of_slices = Watched("ResourceSlice", _paths("resourceslices"), parse_slice, selector, optional=True)
        of_claims = Watched("ResourceClaim", _paths("resourceclaims"), parse_claim, optional=True, page=PAGE)
        self.slices: KubeWatch[Slice] = KubeWatch(slices_api, of_slices, self._slices, monotonic_us, jitter=jitter)
        self.claims: KubeWatch[Claim] = KubeWatch(claims_api, of_claims, self._claims, monotonic_us, jitter=jitter)

    def run(self, stop: threading.Event) -> None:
        """List and watch both until `stop` is set; `close`, called after that, ends the requests under way."""
        beside = threading.Thread(target=self.slices.run, args=(stop,), name="slices", daemon=True)
        beside.start()
        self.claims.run(stop)
        beside.join()

    def close(self) -> None:
        """End the requests that are under way."""
        self.slices.close()
        self.claims.close()

    @property
    def settled(self) -> bool:
        """Whether each of the two was listed, or failed to be: nothing more is to be known at once."""
        return all(watch.state.synced or watch.state.error for watch in (self.slices, self.claims))

    @property
    def problem(self) -> str:
        """One line: what cannot be read now, and what that means; empty when all is well."""
        lines = []
        if self.slices.state.error:
            lines.append(f"DRA devices are told by their names only: {self.slices.state.error}")
        if self.claims.state.error:
            lines.append(f"DRA claims for monitoring look like holders: {self.claims.state.error}")
        refused = self._slices.refused + self._claims.refused
        if refused:
            lines.append(f"{refused} DRA slices or claims were not kept: more than one node can have")
        return "; ".join(lines)

    def name_of(self, device: DraDevice) -> DeviceName | None:
        """What is known of a device; None: nothing."""
        return self._slices.name_of(device)

    def is_admin(self, namespace: str, claim: str, device: DraDevice) -> bool:
        """Whether a claim has a device for monitoring only; no, where nothing is known of the claim."""
        return self._claims.is_admin(namespace, claim, device)

    def unused(self) -> tuple[DraDevice, ...]:
        """The devices that are held by claims that no pod uses."""
        return self._claims.unused()


def _paths(kind: str) -> tuple[str, ...]:
    return tuple(f"/apis/resource.k8s.io/{version}/{kind}" for version in _VERSIONS)
