"""One thing wrong at a time: how a good node is spoiled, and what the doctor says of it."""

from collections.abc import Callable

import grpc
from tests.agent.doctor.good_node import (
    DRIVER,
    LIB_RM_VERSION_MISMATCH,
    NO_PERMISSION,
    OTHERS_TOKEN,
    PID,
    STRANGE_TOKEN,
    Node,
)
from tests.certificates import Authority
from tests.kube_api import Trouble
from tests.kubelet import allocatable_answer, list_answer
from tests.nvml.library import Fault, Hang

from gputally.agent.doctor.finding import Level


def private_pids(node: Node) -> None:
    node.link("proc/self/ns/pid", "pid:[4026532501]")


def no_pods(node: Node) -> None:
    node.process(PID, "/user.slice")


def no_library(node: Node) -> None:
    (node.folder / "lib/libnvidia-ml.so.1").unlink()


def other_library(node: Node) -> None:
    (node.folder / "lib/libnvidia-ml.so.1").unlink()
    (node.folder / f"lib/libnvidia-ml.so.{DRIVER}").rename(node.folder / "lib/libnvidia-ml.so.535.104.05")
    node.link("lib/libnvidia-ml.so.1", "libnvidia-ml.so.535.104.05")


def no_module(node: Node) -> None:
    (node.folder / "proc/driver/nvidia/version").unlink()


def no_device_files(node: Node) -> None:
    for path in (node.folder / "dev").glob("nvidia?"):
        path.unlink()


def one_device_file(node: Node) -> None:
    (node.folder / "dev/nvidia1").unlink()


def third_gpu(node: Node) -> None:
    node.write("sys/bus/pci/devices/0000:d8:00.0/vendor", "0x10de\n")
    node.write("sys/bus/pci/devices/0000:d8:00.0/class", "0x030200\n")


def mismatch(node: Node) -> None:
    node.play(Fault(LIB_RM_VERSION_MISMATCH, "nvmlInit"))


def one_denied(node: Node) -> None:
    node.play(Fault(NO_PERMISSION, "nvmlDeviceGetHandleByIndex_v2", gpu=1))


def hung(node: Node) -> None:
    node.driver_s = 1.5
    node.play(hangs=[Hang("nvmlDeviceGetMemoryInfo_v2", gpu=1)])


def stranger_on_gpu(node: Node) -> None:
    (node.folder / f"proc/{PID}/stat").unlink()


def released(node: Node) -> None:
    annotated = {"name": "gpu-1", "uid": "node-1", "annotations": {"gputally.io/release": "true"}}
    node.api.put({"kind": "Node", "metadata": annotated})


def released_by_signal(node: Node) -> None:
    node.agent.not_ready = ("the driver is released and GPU time is unobserved: SIGUSR1 asked for it; send SIGUSR2",)


def no_socket(node: Node) -> None:
    node.kubelet.stop()
    node.kubelet.path.unlink()


def kubelet_away(node: Node) -> None:
    node.kubelet.stop()


def no_allocatable(node: Node) -> None:
    node.kubelet.refuse("GetAllocatableResources", grpc.StatusCode.UNIMPLEMENTED, "unknown method")


def no_plugin(node: Node) -> None:
    node.kubelet.answer(list_answer([]), allocatable_answer([]))


def api_off(node: Node) -> None:
    node.flags["--kube-api"] = "off"


def api_away(node: Node) -> None:
    node.api.stop()


def api_stranger(node: Node) -> None:
    node.api.token = "another"


def no_list(node: Node) -> None:
    node.api.trouble = Trouble(403, "pods is forbidden", kind="Pod")


def no_watch(node: Node) -> None:
    node.api.trouble = Trouble(403, "pods is forbidden", watches_only=True, kind="Pod")


def no_nodes(node: Node) -> None:
    node.api.trouble = Trouble(403, "nodes is forbidden", kind="Node")


def other_name(node: Node) -> None:
    node.api.delete("node-1")


def no_slices_with_claims(node: Node) -> None:
    node.api.trouble = Trouble(403, "resourceslices is forbidden", kind="ResourceSlice")
    node.kubelet.answer(list_answer([], claims=[("research", "train", "main", "claim", ["gpu-0"])]))


def clock_behind(node: Node) -> None:
    node.skew_us = -3_600_000_000


def clock_ahead(node: Node) -> None:
    node.skew_us = 10_000_000


def spool_in_file(node: Node) -> None:
    node.write("spool", "a file")


def spool_in_memory(node: Node) -> None:
    node.write("proc/self/mountinfo", "22 1 0:25 / / rw - tmpfs tmpfs rw\n")


def spool_in_container(node: Node) -> None:
    node.write("proc/self/mountinfo", "22 1 0:25 / / rw - overlay overlay rw\n")


def spool_too_large(node: Node) -> None:
    node.flags["--spool-max-bytes"] = "1000000GiB"


def no_collector(node: Node) -> None:
    node.flags |= {"--collector": "", "--collector-ca-file": "", "--collector-token-file": ""}


def collector_away(node: Node) -> None:
    node.flags["--collector"] = "localhost:1"


def collector_of_another_name(node: Node) -> None:
    node.flags["--collector"] = f"127.0.0.1:{node.collector_port}"


def another_authority(node: Node) -> None:
    (node.folder / "ca.crt").write_bytes(Authority("stranger").pem)


def plain_collector(node: Node) -> None:
    node.flags["--collector"] = f"localhost:{node.api.url.rpartition(':')[2]}"


def strange_token(node: Node) -> None:
    node.write("token", STRANGE_TOKEN)


def token_of_another_node(node: Node) -> None:
    node.write("token", OTHERS_TOKEN)


def other_cluster(node: Node) -> None:
    node.flags["--cluster"] = "production"


def empty_token(node: Node) -> None:
    node.write("token", "\n")


def not_ready(node: Node) -> None:
    node.agent.not_ready = ("a window waits for the clock",)


def port_taken(node: Node) -> None:
    node.flags["--http-listen"] = f"127.0.0.1:{node.api.url.rpartition(':')[2]}"


DEFECTS: list[tuple[Callable[[Node], None], str, str, Level, str]] = [
    (private_pids, "pid-namespace", "pid-namespace", Level.FAIL, "a container's own"),
    (no_pods, "cgroups", "cgroups", Level.FAIL, "none of 2 processes stands in a pod"),
    (no_library, "nvml-library", "nvml-library", Level.FAIL, f"no library for kernel module {DRIVER}: "),
    (other_library, "nvml-library", "nvml-library", Level.FAIL, f"is not of kernel module {DRIVER}"),
    (no_module, "nvml-library", "nvml-library", Level.WARN, "driver/nvidia/version is not"),
    (no_device_files, "device-files", "device-files", Level.FAIL, "2 GPUs on the PCI bus, and no /dev/nvidia0"),
    (one_device_file, "device-files", "device-files", Level.FAIL, "device files for 1 of 2 GPUs"),
    (third_gpu, "gpus", "gpus", Level.FAIL, "NVML shows 2 of 3 GPUs"),
    (mismatch, "gpus", "gpus", Level.FAIL, "the driver was replaced"),
    (one_denied, "gpus", "gpus", Level.FAIL, "1 GPUs may not be opened and are not counted"),
    (hung, "gpus", "gpus", Level.FAIL, "did not answer in time"),
    (stranger_on_gpu, "gpus", "gpu-processes", Level.WARN, "1 of 1 processes on GPUs are not in /proc"),
    (released, "gpus", "gpus", Level.WARN, "not looked at: the driver is released"),
    (released_by_signal, "gpus", "gpus", Level.WARN, "not looked at: the driver is released"),
    (no_socket, "kubelet", "kubelet", Level.FAIL, "there is no socket"),
    (kubelet_away, "kubelet", "kubelet", Level.FAIL, "does not listen"),
    (no_allocatable, "kubelet", "kubelet", Level.FAIL, "List answers, GetAllocatableResources does not"),
    (no_plugin, "kubelet", "kubelet", Level.WARN, "knows no GPU"),
    (api_off, "kubernetes-api", "kubernetes-api", Level.WARN, "not asked: pods have no UID"),
    (api_away, "kubernetes-api", "kubernetes-api", Level.FAIL, "cannot be reached"),
    (api_stranger, "kubernetes-api", "kubernetes-api", Level.FAIL, "answers 401"),
    (no_list, "kubernetes-api", "kubernetes-api", Level.FAIL, "may not list pods"),
    (no_watch, "kubernetes-api", "kubernetes-api", Level.FAIL, "may not watch pods"),
    (no_nodes, "kubernetes-api", "kubernetes-api", Level.WARN, "may not list nodes"),
    (other_name, "kubernetes-api", "kubernetes-api", Level.FAIL, "the cluster has no node gpu-1"),
    (no_slices_with_claims, "kubernetes-api", "kubernetes-api", Level.FAIL, "may not list resourceslices, and DRA"),
    (clock_behind, "clock", "clock", Level.FAIL, "3600 s behind the collector's"),
    (clock_ahead, "clock", "clock", Level.WARN, " s ahead of the collector's"),
    (spool_in_file, "spool", "spool", Level.FAIL, "cannot be written"),
    (spool_in_memory, "spool", "spool", Level.WARN, "is memory (tmpfs)"),
    (spool_in_container, "spool", "spool", Level.WARN, "the container's own layer (overlay)"),
    (spool_too_large, "spool", "spool", Level.WARN, "has room for"),
    (no_collector, "collector", "collector", Level.WARN, "none is set"),
    (collector_away, "collector", "collector-tcp", Level.FAIL, "Connection refused"),
    (collector_of_another_name, "collector", "collector-tls", Level.FAIL, "is not trusted"),
    (another_authority, "collector", "collector-tls", Level.FAIL, "is not trusted"),
    (plain_collector, "collector", "collector-tls", Level.FAIL, "no TLS with"),
    (strange_token, "collector", "collector-identity", Level.FAIL, "refused: the Kubernetes API does not accept"),
    (token_of_another_node, "collector", "collector-identity", Level.FAIL, "knows us as prod/gpu-2"),
    (other_cluster, "collector", "collector-identity", Level.FAIL, "we count for production/gpu-1"),
    (empty_token, "collector", "collector-identity", Level.FAIL, "holds no token"),
    (not_ready, "running-agent", "running-agent", Level.FAIL, "not ready: a window waits for the clock"),
    (port_taken, "running-agent", "running-agent", Level.WARN, "something else answers"),
]
