"""Exports of a month: lines a second and peak memory, beside Python's CSV writer over the bare rows of one query."""

import json
import subprocess
import sys
from pathlib import Path

from table import Figure, at_least, at_most

_PROGRAM = Path(__file__).with_name("export_month.py")
_FORMATS = (("csv", 100_000), ("focus", 100_000), ("parquet", None))


def figures(*, quick: bool) -> list[Figure]:
    """Each format in a process of its own, whose peak is the kernel's to tell."""
    found = []
    for form, least in _FORMATS:
        report = _report(form, 30_000 if quick else 300_000)
        rows, written = report["rows"], report["written"]
        target = at_least(least) if least else None
        ceiling, bare = "SELECT + csv.writer", rows / report["bare_cpu_s"]
        found.append(
            Figure(
                f"export, {form}, {written / rows:.0f} rows a posting",
                written / report["cpu_s"],
                "rows/CPU s",
                ceiling,
                bare,
                target,
            )
        )
        found.append(
            Figure(f"its peak memory, {rows:,.0f} postings", report["peak_mib"], "MiB", "", None, at_most(200))
        )
    return found


def _report(form: str, postings: int) -> dict[str, float]:
    command = [sys.executable, str(_PROGRAM), str(postings), "--format", form]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))
