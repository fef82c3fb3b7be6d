"""Every GPU that is this kernel's has a device file; one that a virtual machine was given does not count."""

from pathlib import Path

import pytest

from gputally.agent.doctor.device_files import Files, gpus_on_bus, judge, look
from gputally.agent.doctor.finding import Level

GPU, AUDIO, INTEL = ("0x10de", "0x030200"), ("0x10de", "0x040300"), ("0x8086", "0x030000")


def plug(root: Path, address: str, kind: tuple[str, str], driver: str = "") -> None:
    folder = root / "bus/pci/devices" / address
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(kind[0] + "\n")
    (folder / "class").write_text(kind[1] + "\n")
    if driver:
        (folder / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")


def test_gpus_on_the_bus_are_nvidias_own_and_not_given_away(tmp_path: Path) -> None:
    for number, (kind, driver) in enumerate([(GPU, "nvidia"), (GPU, ""), (GPU, "vfio-pci"), (AUDIO, ""), (INTEL, "")]):
        plug(tmp_path, f"0000:0{number}:00.0", kind, driver)
    assert gpus_on_bus(tmp_path) == 2
    assert gpus_on_bus(tmp_path / "nowhere") == 0


def test_only_gpus_own_files_count(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia10", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "null"):
        (tmp_path / name).touch()
    assert look(tmp_path, tmp_path) == Files(0, 2, has_control=True)
    assert look(tmp_path / "nowhere", tmp_path) == Files(0, 0, has_control=False)


@pytest.mark.parametrize(
    ("files", "level", "words"),
    [
        (Files(8, 8, has_control=True), Level.OK, "bus: 8; device files: 8"),
        (Files(0, 1, has_control=True), Level.OK, "bus: 0; device files: 1"),
        (Files(8, 2, has_control=True), Level.FAIL, "device files for 2 of 8"),
        (Files(8, 0, has_control=False), Level.FAIL, "8 GPUs on the PCI bus, and no"),
        (Files(8, 8, has_control=False), Level.FAIL, "no /dev/nvidia0 or /dev/nvidiactl"),
        (Files(0, 0, has_control=False), Level.FAIL, "no NVIDIA GPU"),
        (Files(1, 1, has_control=True, closed=("nvidia0", "nvidiactl")), Level.FAIL, "/dev/nvidia0, /dev/nvidiactl"),
    ],
)
def test_what_stands_between_the_agent_and_a_gpu(files: Files, level: Level, words: str) -> None:
    found = judge(files)
    assert (found.level, words in found.found) == (level, True), found
