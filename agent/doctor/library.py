"""Whether NVML's library is there, and whether it is the one of the kernel module that is loaded.

The library is loaded in a process of its own, and not initialised: nothing here talks to the driver.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from gputally.agent.doctor.finding import Finding, fail, ok, warn

NAME = "nvml-library"
_DEADLINE_S = 10.0
_LOAD = """
import ctypes
try:
    ctypes.CDLL("libnvidia-ml.so.1")
except OSError as error:
    print("error", error)
for line in open("/proc/self/maps"):
    if "libnvidia-ml" in line:
        print("path", line.split(maxsplit=5)[5].strip())
        break
"""
_IN_NAME = re.compile(r"\.so\.([0-9]+\.[0-9.]*[0-9])$")  # libnvidia-ml.so.550.54.15
_MODULE = re.compile(r"Kernel Module.*?\s([0-9]+\.[0-9.]*[0-9])\s")


@dataclass(frozen=True, slots=True)
class Library:
    """`path` of the loaded library, or `error` why there is none; `module`: the kernel module's version, or empty."""

    path: str
    error: str
    module: str
    has_bindings: bool = True

    @property
    def version(self) -> str:
        """The library's version, which only its file's name tells; empty where it does not."""
        match = _IN_NAME.search(self.path)
        return match[1] if match else ""


def check(proc_root: Path, sys_root: Path) -> Iterator[Finding]:
    """Load the library in a child, and read the kernel module's version."""
    path, error = load()
    module = module_version(proc_root, sys_root)
    yield judge(Library(path, error, module, find_spec("pynvml") is not None), proc_root)


def load() -> tuple[str, str]:
    """Path and error of the library that a process of ours gets."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LOAD], capture_output=True, text=True, timeout=_DEADLINE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"it cannot be tried: {error}"
    said = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    crashed = "" if done.returncode == 0 else f"loading it ends the process ({done.returncode})"
    return said.get("path", ""), said.get("error", crashed)


def module_version(proc_root: Path, sys_root: Path) -> str:
    """The version of the kernel module that is loaded; empty where none tells one."""
    match = _MODULE.search(_text(proc_root / "driver" / "nvidia" / "version"))
    return match[1] if match else _text(sys_root / "module" / "nvidia" / "version").strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def judge(found: Library, proc_root: Path) -> Finding:
    """Whether NVML can work; the kernel module takes calls of exactly its own version."""
    if not found.has_bindings:
        return fail(NAME, "nvidia-ml-py is not installed", "pip install 'gputally[agent]'")
    if found.error and found.module:
        return fail(
            NAME,
            f"no library for kernel module {found.module}: {found.error}",
            "take the overlay for this node's driver (docs/kubernetes.md): it gives the pod the driver's libraries, by "
            "the nvidia runtime and NVIDIA_DRIVER_CAPABILITIES=utility, or by a mount and LD_LIBRARY_PATH",
        )
    if found.error:
        return fail(
            NAME,
            "there is neither libnvidia-ml.so.1 nor a kernel module of NVIDIA's",
            "install the NVIDIA driver, or keep the agent off nodes without GPUs (node selector)",
        )
    if not found.module:
        return warn(
            NAME,
            f"{found.path} is here, but {proc_root}/driver/nvidia/version is not",
            "`modprobe nvidia`, unless this node's GPUs come without a kernel module (WSL)",
        )
    if found.version and found.version != found.module:
        return fail(
            NAME,
            f"{found.path} is not of kernel module {found.module}: the driver was upgraded",
            "in a pod: delete the pod, the new one gets the new libraries; on a host: reload the module, or reboot",
        )
    return ok(NAME, f"{found.path}, kernel module {found.module}")
