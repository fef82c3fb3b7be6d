"""Whether the clock is right: what the kernel says of it, and how far it is from the collector's."""

import ctypes
from collections.abc import Callable, Iterator

from gputally.agent.doctor.finding import Finding, fail, ok, warn

NAME = "clock"
_SYNCHRONISE = "run chrony or systemd-timesyncd on the node"
_TIMEX_BYTES = 512  # struct timex has 208; all zeros ask, and change nothing
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_NOTED_US, _REFUSED_US = 2_000_000, 300_000_000  # the collector's limits


def check(skew_us: Callable[[], int | None]) -> Iterator[Finding]:
    """`skew_us`: by how much this clock is behind the collector's (negative: ahead); None where it does not tell."""
    yield judge(kernel_says(), skew_us())


def kernel_says() -> bool | None:
    """Whether the kernel calls its clock synchronised; None where it may not be asked."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "adjtimex"):
        return None
    state = int(libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    return None if state < 0 else state != _TIME_ERROR


def judge(synchronised: bool | None, skew_us: int | None) -> Finding:
    """Whether windows will be taken: beyond five minutes the collector keeps them aside."""
    if skew_us is not None and abs(skew_us) > _REFUSED_US:
        return fail(NAME, f"{_words(skew_us)}, and it keeps aside what comes so", _SYNCHRONISE)
    if skew_us is not None and abs(skew_us) > _NOTED_US:
        return warn(NAME, f"{_words(skew_us)}", _SYNCHRONISE)
    if skew_us is None and not synchronised:
        return warn(NAME, "nothing says that it is synchronised", _SYNCHRONISE)
    if skew_us is None:
        return ok(NAME, "the kernel calls it synchronised")
    return ok(NAME, f"{_words(skew_us)}")


def _words(skew_us: int) -> str:
    amount = f"{abs(skew_us) // 1000} ms" if abs(skew_us) < _NOTED_US else f"{round(abs(skew_us) / 1e6)} s"
    return f"{amount} {'behind' if skew_us >= 0 else 'ahead of'} the collector's"
