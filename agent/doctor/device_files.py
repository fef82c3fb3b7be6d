"""Whether every NVIDIA GPU on the PCI bus has a device file here. Nothing is opened: that could wake a GPU, or hang."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gputally.agent.doctor.finding import Finding, fail, ok

NAME = "device-files"
_NVIDIA = "0x10de"
_DISPLAY = "0x03"  # PCI's class of VGA and 3D controllers
_GPU_FILE = re.compile(r"nvidia[0-9]+")
_VISIBLE = "take the overlay for this node's driver (docs/kubernetes.md): it gives the pod all device files"


@dataclass(frozen=True, slots=True)
class Files:
    """`on_bus`: GPUs that the kernel sees, but for those that a virtual machine was given. `closed`: names of files."""

    on_bus: int
    gpus: int
    has_control: bool
    closed: tuple[str, ...] = ()


def check(dev_root: Path, sys_root: Path) -> Iterator[Finding]:
    """Count both."""
    yield judge(look(dev_root, sys_root))


def look(dev_root: Path, sys_root: Path) -> Files:
    """What is there."""
    try:
        names = sorted(path.name for path in dev_root.iterdir())
    except OSError:
        names = []
    ours = [name for name in names if _GPU_FILE.fullmatch(name) or name == "nvidiactl"]
    closed = tuple(name for name in ours if not os.access(dev_root / name, os.R_OK | os.W_OK))
    has_control = "nvidiactl" in ours
    return Files(gpus_on_bus(sys_root), len(ours) - has_control, has_control, closed)


def gpus_on_bus(sys_root: Path) -> int:
    """NVIDIA's GPUs on the PCI bus that are this kernel's to use."""
    return sum(_is_gpu(device) for device in (sys_root / "bus" / "pci" / "devices").glob("*"))


def _is_gpu(device: Path) -> bool:
    try:
        vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
    except OSError:
        return False  # it was taken out
    driver = device / "driver"
    is_given_away = driver.is_symlink() and driver.readlink().name.startswith("vfio")
    return vendor == _NVIDIA and kind.startswith(_DISPLAY) and not is_given_away


def judge(files: Files) -> Finding:
    """Whether nothing stands between the agent and a GPU."""
    if not files.gpus and not files.on_bus:
        return fail(
            NAME,
            "no NVIDIA GPU: none on the PCI bus, no /dev/nvidia0",
            "keep the agent off nodes without GPUs (node selector), or look for the GPU in `lspci`",
        )
    if not files.gpus or not files.has_control:
        return fail(NAME, f"{files.on_bus} GPUs on the PCI bus, and no /dev/nvidia0 or /dev/nvidiactl here", _VISIBLE)
    if files.closed:
        return fail(
            NAME,
            f"/dev/{', /dev/'.join(files.closed)} may not be read and written",
            "run the agent as uid 0, or open these files to its user",
        )
    if files.gpus < files.on_bus:
        return fail(NAME, f"device files for {files.gpus} of {files.on_bus} GPUs on the PCI bus", _VISIBLE)
    return ok(NAME, f"GPUs on the PCI bus: {files.on_bus}; device files: {files.gpus}")
