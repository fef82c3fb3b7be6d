"""A kubelet for tests: a real gRPC server on a unix socket that serves recorded, or built, PodResources answers.

It has state as the real one has: it is stopped and started (the socket file stays behind, nobody listens), it limits
its callers, it hangs.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from gputally.proto.podresources_pb2 import (
    AllocatableResourcesResponse,
    ClaimResource,
    ContainerDevices,
    ContainerResources,
    ListPodResourcesResponse,
    PodResources,
)

BURST = 10
CALLS_PER_SECOND = 100.0


def list_answer(
    held: Iterable[tuple[str, str, str, Iterable[str]]],
    resource: str = "nvidia.com/gpu",
    claims: Iterable[tuple[str, str, str, str, Iterable[str]]] = (),
) -> bytes:
    """The answer to List for (namespace, pod, container, [device ids]); one entry a device, as the kubelet does.

    `claims`: (namespace, pod, container, claim, [device names in the pool "labnode"]).
    """
    pods: dict[tuple[str, str], dict[str, ContainerResources]] = {}
    for namespace, pod, container, device_ids in held:
        devices = [ContainerDevices(resource_name=resource, device_ids=[one]) for one in device_ids]
        found = pods.setdefault((namespace, pod), {}).setdefault(container, ContainerResources(name=container))
        found.devices.extend(devices)
    for namespace, pod, container, claim, names in claims:
        parts = [ClaimResource(driver_name="gpu.nvidia.com", pool_name="labnode", device_name=name) for name in names]
        found = pods.setdefault((namespace, pod), {}).setdefault(container, ContainerResources(name=container))
        found.dynamic_resources.add(claim_name=claim, claim_namespace=namespace, claim_resources=parts)
    listed = [
        PodResources(name=pod, namespace=namespace, containers=containers.values())
        for (namespace, pod), containers in pods.items()
    ]
    return ListPodResourcesResponse(pod_resources=listed).SerializeToString()


def allocatable_answer(device_ids: Iterable[str], resource: str = "nvidia.com/gpu") -> bytes:
    """The answer to GetAllocatableResources for these device ids."""
    devices = [ContainerDevices(resource_name=resource, device_ids=[one]) for one in device_ids]
    return AllocatableResourcesResponse(devices=devices).SerializeToString()


class TokenBucket:
    """The kubelet's rate limit over all callers and methods. `clock`: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens = float(BURST)
        self._at = clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether one more call passes."""
        with self._lock:
            now = self._clock()
            self._tokens = min(float(BURST), self._tokens + (now - self._at) * CALLS_PER_SECOND)
            self._at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class FakeKubelet:
    """Serves what `answer` was last given. Starts when made (or entered), stops when left."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.calls: list[str] = []  # every method called, refused or not
        self._clock = clock
        self.list_bytes = b""
        self.allocatable_bytes = b""
        self._refusals: dict[str, tuple[grpc.StatusCode, str]] = {}
        self._server: grpc.Server | None = None
        self._bucket = TokenBucket(clock)
        self.start()

    def __enter__(self) -> "FakeKubelet":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answer(self, list_bytes: bytes, allocatable_bytes: bytes | None = None) -> None:
        """From now on List answers this; GetAllocatableResources too, unless it is to stay as it was."""
        self.list_bytes = list_bytes
        if allocatable_bytes is not None:
            self.allocatable_bytes = allocatable_bytes

    def refuse(self, method: str, code: grpc.StatusCode, details: str) -> None:
        """From now on this method fails so."""
        self._refusals[method] = (code, details)

    def allow(self, method: str) -> None:
        """The method answers again."""
        self._refusals.pop(method, None)

    def start(self) -> None:
        """Listen; the socket is made anew, as the kubelet does."""
        if self._server is not None:
            return
        self.path.unlink(missing_ok=True)
        self._bucket = TokenBucket(self._clock)
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2))
        self._server.add_generic_rpc_handlers((self._handlers(),))
        self._server.add_insecure_port(f"unix:{self.path}")
        self._server.start()

    def stop(self) -> None:
        """End as a killed kubelet does: open connections break, the socket file stays and refuses."""
        if self._server is None:
            return
        self._server.stop(None).wait()
        self._server = None
        self.path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(self.path))

    def _handlers(self) -> grpc.GenericRpcHandler:
        methods = {"List": lambda: self.list_bytes, "GetAllocatableResources": lambda: self.allocatable_bytes}
        return grpc.method_handlers_generic_handler(
            "v1.PodResourcesLister",
            {name: grpc.unary_unary_rpc_method_handler(self._serve(name, read)) for name, read in methods.items()},
        )

    def _serve(self, method: str, read: Callable[[], bytes]) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def serve(_: bytes, context: grpc.ServicerContext) -> bytes:
            self.calls.append(method)
            if not self._bucket.take():
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")
            if method in self._refusals:
                context.abort(*self._refusals[method])
            return read()

        return serve
