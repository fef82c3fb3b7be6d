"""The agent counts with the rights that the DaemonSet gives it, and with no other: tried on this machine's kernel."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.rendered import ROOT, all_folders, named

from gputally.agent.spool.spool import Spool

AGENT = Path(sys.executable).parent / "gputally-agent"
# In a mount namespace of its own: everything read-only but the one folder, then no capability and no way to get one.
INSIDE = """\
set -e
spool=$1; shift
mount --make-rprivate /
mount --bind "$spool" "$spool"
while read -r _ place kind options _; do
    case $kind in proc|sysfs|cgroup*|devpts|mqueue) continue;; esac
    case $place in /dev|/proc*|/sys*) continue;; esac
    [ "$place" = "$spool" ] || mount -o remount,bind,ro "$place"
done < /proc/self/mounts
if touch "$spool/../outside" 2>/dev/null; then echo "not read-only"; exit 1; fi
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


def test_the_daemonset_asks_for_what_is_tried_here() -> None:
    spec = named(all_folders()["daemonset/base"], "DaemonSet", "gputally-agent")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsUser"] == 0
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert [mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == ["spool"]


@pytest.fixture
def confined(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """An agent with simulated GPUs that may do what the pod may."""
    if not (shutil.which("unshare") and shutil.which("setpriv")):
        pytest.skip("unshare and setpriv are missing; install them with: apt-get install util-linux")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a mount namespace of its own needs root: run the tests as root")
    (tmp_path / "spool").mkdir()
    scenario = ROOT / "demo" / "scenarios" / "node-a.json"
    command = [
        *("unshare", "--mount", "bash", "-c", INSIDE, "bash", str(tmp_path / "spool")),
        *(str(AGENT), "--node", "n", "--cluster", "c", "--nvml", "simulated", "--scenario", str(scenario)),
        *("--spool-dir", str(tmp_path / "spool"), "--http-listen", "127.0.0.1:0", "--window", "1s"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_root_without_capabilities_and_one_writable_folder_are_enough(
    confined: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert confined.stderr
    said = []
    for line in confined.stderr:
        said.append(line)
        if line.rstrip().endswith(" ready"):
            break
    confined.send_signal(signal.SIGTERM)
    assert confined.wait(60) == 0, "".join(said)
    spool = Spool(tmp_path / "spool", "", 1 << 20, 10**12, lambda: 0)
    assert spool.read(0, 1, 1 << 20)
    spool.close()
