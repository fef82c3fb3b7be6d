"""Processes can be told apart by their cgroups: as v1 and v2 write them, and from inside a cgroup namespace."""

from pathlib import Path

import pytest

from gputally.agent.doctor.cgroups import View, judge, look, view
from gputally.agent.doctor.finding import Level

UID, OTHER, ID = "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002", "a" * 64
V2 = f"0::/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{ID}.scope\n"
RELATIVE = f"0::/../../kubepods-burstable-pod{OTHER.replace('-', '_')}.slice/cri-containerd-{ID}.scope\n"
V1 = f"9:memory:/kubepods/pod{UID}/{ID}\n8:cpu:/kubepods/pod{UID}/{ID}\n"
PROC = Path("/host/proc")


@pytest.mark.parametrize(
    ("texts", "seen"),
    [
        ([V2, "0::/init.scope\n"], View(2, 0, 1, relative=False, version="v2")),
        ([V2, RELATIVE], View(2, 0, 2, relative=True, version="v2")),
        ([V1], View(1, 0, 1, relative=False, version="v1")),
        ([V1 + "0::/\n"], View(1, 0, 1, relative=False, version="v1 and v2")),
        ([], View()),
    ],
)
def test_files_are_read_as_the_probe_reads_them(texts: list[str], seen: View) -> None:
    assert view(texts, 0) == seen


def test_only_folders_of_processes_are_read_and_those_that_end_are_none(tmp_path: Path) -> None:
    for name in ("1", "77", "self", "net"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup").write_text(V2)
    (tmp_path / "77" / "cgroup").unlink()
    assert look(tmp_path) == View(1, 0, 1, relative=False, version="v2")
    assert look(tmp_path / "nowhere") == View()


@pytest.mark.parametrize(
    ("seen", "kubernetes", "level", "words"),
    [
        (View(8, 0, 2, relative=False, version="v2"), True, Level.OK, "those of 2 pods too (v2)"),
        (View(8, 0, 2, relative=True, version="v2"), True, Level.OK, "(v2, seen from a cgroup namespace (/..))"),
        (View(8, 0, 0, relative=False, version="v2"), False, Level.OK, "8 processes can be told apart (v2)"),
        (View(8, 0, 0, relative=False, version="v2"), True, Level.FAIL, "none of 8 processes"),
        (View(8, 2, 1, relative=False, version="v2"), True, Level.FAIL, "2 of 10 processes hide their cgroup"),
        (View(), False, Level.FAIL, "no process is to be seen in /host/proc"),
    ],
)
def test_every_process_must_be_readable_and_pods_must_be_seen_where_there_are_some(
    seen: View, kubernetes: bool, level: Level, words: str
) -> None:
    found = judge(seen, PROC, kubernetes=kubernetes)
    assert (found.level, words in found.found) == (level, True), found
