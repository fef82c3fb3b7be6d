"""Write prometheusrule.yaml from dashboards/prometheus: the rules as the object that Prometheus' operator reads.

python deploy/collector/overlays/prometheusrule/generate.py [--check]

It moves lines to the right and parses nothing, so that each rule looks here as it does there. `--check` writes nothing
and ends with 1 where the file is not what the rules say.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = tuple(HERE.parents[3] / "dashboards" / "prometheus" / name for name in ("rules.yaml", "alerts.yaml"))
TARGET = HERE / "prometheusrule.yaml"
_HEAD = """\
# Written by generate.py from dashboards/prometheus. Do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: gputally
  labels:
    app.kubernetes.io/name: gputally
    app.kubernetes.io/part-of: gputally
spec:
  groups:
"""


def groups(text: str) -> str:
    """The groups of a rules file, two columns further to the right. Raises ValueError where there are none."""
    _, found, below = text.partition("\ngroups:\n")
    if not found:
        raise ValueError("there is no line `groups:`")
    return "".join(f"  {line}\n" if line.strip() else "\n" for line in below.splitlines())


def prometheus_rule() -> str:
    """The object: recording rules first, then what alerts by them."""
    return _HEAD + "\n".join(groups(source.read_text()) for source in SOURCES)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description="Write prometheusrule.yaml from dashboards/prometheus.")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    wanted = prometheus_rule()
    if not parser.parse_args().check:
        TARGET.write_text(wanted)
    elif not TARGET.exists() or TARGET.read_text() != wanted:
        sys.stderr.write(f"{TARGET} is not what dashboards/prometheus says: run {Path(__file__).name}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
