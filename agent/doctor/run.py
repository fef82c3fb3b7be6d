"""All checks at one time, each in a thread of its own and with a deadline: none hides or holds up another.

What hangs is left behind: its thread is a daemon, and the driver is asked by a child process.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial

from gputally.agent.doctor.finding import Finding, fail
from gputally.agent.doctor.once import begin

_Findings = tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """What is looked at, under the name that its lines have, and how long that may take."""

    name: str
    look: Callable[[], Iterable[Finding]]
    deadline_s: float


def run(checks: Sequence[Check]) -> _Findings:
    """What all of them found, in their order; takes as long as the longest deadline at most."""
    began_s = time.monotonic()
    started = [(check, begin(partial(_found, check), check.name)) for check in checks]
    return tuple(finding for check, future in started for finding in _result(check, future, began_s))


def _found(check: Check) -> _Findings:
    return tuple(check.look())


def _result(check: Check, future: "Future[_Findings]", began_s: float) -> _Findings:
    wait([future], max(0.0, began_s + check.deadline_s - time.monotonic()))
    if not future.done():
        return (fail(check.name, f"no answer within {check.deadline_s:g} s", "what it waits for hangs: see dmesg"),)
    if error := future.exception():
        return (fail(check.name, f"the check itself failed: {error!r}", "report it, with this line"),)
    return future.result()
