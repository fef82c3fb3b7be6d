"""Whether this is the node's own pid namespace, without which the driver hides the processes of others."""

from collections.abc import Iterator
from pathlib import Path

from gputally.agent.doctor.finding import Finding, fail, ok
from gputally.agent.probe.process import in_host_pid_namespace

NAME = "pid-namespace"


def check(proc_root: Path) -> Iterator[Finding]:
    """Read /proc/self/ns/pid; the initial namespace has a number of its own, whatever pid 1 is called."""
    link = proc_root / "self" / "ns" / "pid"
    yield judge(str(link), is_there=link.is_symlink(), is_host=in_host_pid_namespace(proc_root))


def judge(link: str, *, is_there: bool, is_host: bool) -> Finding:
    """What the link says."""
    if is_host:
        return ok(NAME, "the node's own: the driver tells of every process")
    if not is_there:
        return fail(NAME, f"{link} cannot be read", "mount the node's /proc, and name it with --proc-root")
    return fail(
        NAME,
        "a container's own: the driver hides the processes of all others",
        "set hostPID: true for the agent's pod, or run the agent on the host",
    )
