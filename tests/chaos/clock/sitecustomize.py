"""The wall clock of a process that finds this folder on its path: the real one plus the seconds in a file.

A test writes the file; a step takes effect with the next look at the clock, as it does when a node's clock is set.
The monotonic clock stays the machine's.
"""

import os
import time
from pathlib import Path

_FILE = Path(os.environ["CHAOS_CLOCK"])
_real_ns = time.time_ns
_read = {"mtime": -1, "offset_ns": 0}


def _offset_ns() -> int:
    try:
        changed = _FILE.stat().st_mtime_ns
        if changed != _read["mtime"]:
            _read.update(mtime=changed, offset_ns=int(float(_FILE.read_text()) * 1e9))
    except (OSError, ValueError):
        pass  # it is being written
    return _read["offset_ns"]


time.time_ns = lambda: _real_ns() + _offset_ns()
time.time = lambda: time.time_ns() / 1e9
