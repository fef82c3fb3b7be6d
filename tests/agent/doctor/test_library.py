"""The library and the kernel module must be of one version, and neither is asked anything."""

from pathlib import Path

import pytest

from gputally.agent.doctor.finding import Level
from gputally.agent.doctor.library import Library, judge, module_version

OLD = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version: 12\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build  (dvs)  Tue\n"
LIBRARY = "/usr/lib/libnvidia-ml.so.535.104.05"


@pytest.mark.parametrize(("text", "version"), [(OLD, "535.104.05"), (OPEN, "570.86.10"), ("", ""), ("odd", "")])
def test_the_kernel_modules_version_is_read_of_both_kinds(tmp_path: Path, text: str, version: str) -> None:
    (tmp_path / "driver/nvidia").mkdir(parents=True)
    (tmp_path / "driver/nvidia/version").write_text(text)
    assert module_version(tmp_path, tmp_path) == version


def test_sysfs_tells_the_version_where_proc_does_not(tmp_path: Path) -> None:
    (tmp_path / "module/nvidia").mkdir(parents=True)
    (tmp_path / "module/nvidia/version").write_text("535.104.05\n")
    assert module_version(tmp_path, tmp_path) == "535.104.05"


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (Library(LIBRARY, "", "535.104.05"), Level.OK, "kernel module 535.104.05"),
        (Library("/usr/lib/libnvidia-ml.so.1", "", "535.104.05"), Level.OK, "kernel module 535.104.05"),
        (Library(LIBRARY, "", "570.86.10"), Level.FAIL, "is not of kernel module 570.86.10"),
        (Library(LIBRARY, "", ""), Level.WARN, "/proc/driver/nvidia/version is not"),
        (Library("", "no such file", ""), Level.FAIL, "neither"),
        (Library("", "wrong ELF class", "570.86.10"), Level.FAIL, "wrong ELF class"),
        (Library("", "", "570.86.10", has_bindings=False), Level.FAIL, "nvidia-ml-py is not installed"),
    ],
)
def test_what_is_found_of_the_library(found: Library, level: Level, words: str) -> None:
    line = judge(found, Path("/proc"))
    assert (line.level, words in line.found) == (level, True), line
