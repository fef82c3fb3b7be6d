"""Ask the advisory service whether a pinned package has a known vulnerability: part of `make lint`.

Exit 1 and the list where one has; where the service cannot be reached, one line that says so, because a check that
fails on a machine without that access would only be switched off.
"""

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).with_name("run.txt")
TIMEOUT_S = 120
COMMAND = (
    *(sys.executable, "-m", "pip_audit", "--requirement", str(PINS), "--require-hashes", "--disable-pip"),
    *("--progress-spinner", "off", "--format", "json"),
)


def main() -> int:
    """Run pip-audit over what `make run` installs and say what it found."""
    try:
        found = subprocess.run(COMMAND, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return _unreached(f"no answer within {TIMEOUT_S} s")
    if not found.stdout.strip():
        return _unreached(found.stderr.strip().rpartition("\n")[2])
    packages = json.loads(found.stdout)["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    if len(skipped) == len(packages):
        return _unreached(packages[0]["skip_reason"])
    vulnerable = [package for package in packages if package.get("vulns")]
    for package in vulnerable:
        names = ", ".join(vulnerability["id"] for vulnerability in package["vulns"])
        print(f"{package['name']} {package['version']}: {names}")
    print(
        f"Advisories: {len(packages) - len(skipped)} packages asked for, {len(vulnerable)} with a known vulnerability."
    )
    return 1 if vulnerable else 0


def _unreached(why: str) -> int:
    print(f"Advisories: not checked, the service is out of reach ({why}).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
