"""Idle spells outlive a restart; a disk that refuses, or a damaged file, costs nothing else."""

from pathlib import Path

import pytest

from gputally.agent.idle_spell import IdleSpells
from gputally.agent.spell_file import NAME, SpellFile

ONE = '[["GPU-1", "gpu", ["team", "train", "main", "uid"], "1", 60000000, 0, 60000000, 60000000]]'


def test_what_was_written_is_read_again_and_nothing_else_is_left(tmp_path: Path) -> None:
    spells = IdleSpells.of_json(ONE)
    SpellFile(tmp_path).write(spells)
    assert SpellFile(tmp_path).read().now() == spells.now() != ()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).stat().st_mode & 0o077 == 0  # it names pods, and others may look into the folder


@pytest.mark.parametrize("damage", [b"", b"[[", b"\xff\xfe", ONE.encode()[:40]])
def test_a_damaged_file_is_no_spells(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / NAME).write_bytes(damage)
    assert SpellFile(tmp_path).read().now() == ()


def test_a_folder_that_is_not_there_is_no_spells_and_no_error(tmp_path: Path) -> None:
    file = SpellFile(tmp_path / "gone")
    file.write(IdleSpells())
    assert file.read().now() == ()
