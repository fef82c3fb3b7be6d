"""How late the kernel may wake a thread whose time is up, so that it can wake several at once.

Linux allows 50 microseconds as a rule. What a thread waits for beside the time (a descriptor, a lock) wakes it as ever.
"""

from contextlib import suppress
from pathlib import Path

_THREAD = Path("/proc/thread-self")  # a link that ends with our number, by the same /proc
_FILE = "timerslack_ns"  # proc_pid_timerslack_ns(5); of any thread, though only processes are listed


def may_wake_late(by_us: int) -> None:
    """From now on the calling thread, and all that it starts, may wake so many microseconds late.

    Where the system has no such thing, or refuses it, they wake in time.
    """
    with suppress(OSError):
        (Path("/proc") / _THREAD.readlink().name / _FILE).write_text(str(by_us * 1000))
