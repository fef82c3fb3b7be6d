"""The node's own pid namespace is told by its number, not by what pid 1 is called."""

from pathlib import Path

import pytest

from gputally.agent.doctor.finding import Level
from gputally.agent.doctor.pid_namespace import check


@pytest.mark.parametrize(
    ("target", "level", "words"),
    [
        ("pid:[4026531836]", Level.OK, "the node's own"),
        ("pid:[4026532501]", Level.FAIL, "a container's own"),
        (None, Level.FAIL, "cannot be read"),
    ],
)
def test_the_link_of_proc_decides(tmp_path: Path, target: str | None, level: Level, words: str) -> None:
    (tmp_path / "self/ns").mkdir(parents=True)
    if target:
        (tmp_path / "self/ns/pid").symlink_to(target)
    (found,) = check(tmp_path)
    assert (found.level, words in found.found) == (level, True)
