"""Whether the processes of this node can be told apart by their cgroups: that is how a pid becomes a pod."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gputally.agent.doctor.finding import Finding, fail, ok
from gputally.agent.probe import cgroup

NAME = "cgroups"
_MOST = 20_000  # processes that are looked at; a node with more shows enough of them
_LINE = "cat /proc/PID/cgroup"


@dataclass(frozen=True, slots=True)
class View:
    """`read` and `hidden` count processes, `pods` those that they stand in; `relative`: some path begins with /.. .

    `version`: v1, v2, or v1 and v2 (hybrid).
    """

    read: int = 0
    hidden: int = 0
    pods: int = 0
    relative: bool = False
    version: str = ""


def check(proc_root: Path, *, kubernetes: bool) -> Iterator[Finding]:
    """Read the cgroup of every process; `kubernetes`: some of them must be pods'."""
    yield judge(look(proc_root), proc_root, kubernetes=kubernetes)


def look(proc_root: Path) -> View:
    """What can be read; a process that ends meanwhile is none."""
    texts: list[str] = []
    hidden = 0
    for folder in islice(_processes(proc_root), _MOST):
        try:
            texts.append((folder / "cgroup").read_text(errors="replace"))
        except PermissionError:
            hidden += 1
        except (FileNotFoundError, ProcessLookupError):
            continue
    return view(texts, hidden)


def _processes(proc_root: Path) -> Iterator[Path]:
    try:
        yield from (folder for folder in proc_root.iterdir() if folder.name.isdigit())
    except OSError:
        return  # no process is to be seen there, which is told


def view(texts: list[str], hidden: int) -> View:
    """What cgroup files say together."""
    refs = [cgroup.parse(text) for text in texts]
    pods = {ref.pod_uid for ref in refs if ref and ref.pod_uid}
    lines = {line.partition(":")[0] == "0" for text in texts for line in text.splitlines()}
    version = {(True,): "v2", (False,): "v1", (False, True): "v1 and v2"}.get(tuple(sorted(lines)), "")
    return View(len(texts), hidden, len(pods), any(":/.." in text for text in texts), version)


def judge(seen: View, proc_root: Path, *, kubernetes: bool) -> Finding:
    """Whether every process can be given to its pod."""
    if seen.hidden:
        return fail(
            NAME,
            f"{seen.hidden} of {seen.read + seen.hidden} processes hide their cgroup",
            "run the agent as uid 0, and mount /proc without hidepid",
        )
    if not seen.read:
        return fail(NAME, f"no process is to be seen in {proc_root}", "mount the node's /proc there (--proc-root)")
    if kubernetes and not seen.pods:
        return fail(
            NAME,
            f"none of {seen.read} processes stands in a pod",
            f"set hostPID: true; if it is set, report what `{_LINE}` says of a pod's process",
        )
    where = ", seen from a cgroup namespace (/..)" if seen.relative else ""
    pods = f", those of {seen.pods} pods too" if seen.pods else ""
    return ok(NAME, f"{seen.read} processes can be told apart{pods} ({seen.version}{where})")
