"""Idle spells on the disk, beside the spool: written with each window, so that they outlive a restart of the agent."""

import logging
from pathlib import Path

from gputally.agent.idle_spell import IdleSpells

NAME = "idle_spells.json"
_log = logging.getLogger(__name__)


class SpellFile:
    """One file, which may be lost: then spells begin anew, and no time that is billed is touched."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def read(self) -> IdleSpells:
        """What was kept; nothing where it cannot be read."""
        try:
            return IdleSpells.of_json(self._path.read_text())
        except (OSError, ValueError) as error:
            _log.debug("idle spells begin anew: %s", error)
            return IdleSpells()

    def write(self, spells: IdleSpells) -> None:
        """Keep them, in one step: a file that is half written would be no spells at all."""
        beside = self._path.with_suffix(".new")
        try:
            beside.touch(mode=0o600)  # it holds the names of pods, and the kubelet's folder is open to all
            beside.write_text(spells.to_json())
            beside.replace(self._path)
        except OSError as error:
            _log.debug("idle spells are not kept: %s", error)  # the spool says what is wrong with the disk
