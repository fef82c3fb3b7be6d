"""The board on which a probe writes what it is about to touch: its parent can read it though the probe hangs."""

import mmap
import os
import struct

_ENTRY = struct.Struct("=q")
_NOTHING = -1


class Board:
    """One number in memory that two processes share: the index of a GPU, or nothing in particular."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, _ENTRY.size)

    def write(self, index: int | None) -> None:
        """The GPU with this index is touched from now on; None: none."""
        _ENTRY.pack_into(self._memory, 0, _NOTHING if index is None else index)

    def read(self) -> int | None:
        """The index of the GPU that is being touched."""
        (index,) = _ENTRY.unpack_from(self._memory)
        return None if index == _NOTHING else int(index)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()


def new_board_fd() -> int:
    """A descriptor for a board that two processes can open; the caller closes it."""
    fd = os.memfd_create("gputally-board", os.MFD_CLOEXEC)
    os.ftruncate(fd, _ENTRY.size)
    os.pwrite(fd, _ENTRY.pack(_NOTHING), 0)
    return fd
