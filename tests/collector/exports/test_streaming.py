"""An export is a stream: a month of a large fleet is written in the memory that a small one takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "benchmarks" / "export_month.py"
CEILING_MIB = 32  # 200 000 lines as objects would be some 300


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("form", "postings"), [("csv", 200_000), ("focus", 60_000)])
def test_memory_does_not_grow_with_the_month(tmp_path: Path, form: str, postings: int) -> None:
    """In a process of its own, whose peak is the kernel's to tell."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(postings), "--format", form, "--folder", str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=390,
    )
    report = json.loads(done.stdout)
    assert report["rows"] > postings * 0.99
    assert report["grown_mib"] < CEILING_MIB
