"""docs/metrics.md is what both processes show: every family, every label, nothing that is gone."""

import re
import subprocess
import sys
from pathlib import Path

from tests.fleets import golden as of_collector
from tests.snapshots import golden as of_agent

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "metrics.md").read_text()
NAMES = re.compile(r"^\| `((?:gputally|DCGM)_\w+)`", re.MULTILINE)


def shown() -> dict[str, set[str]]:
    """The families that both processes show of a node and a fleet of which everything is known, with their labels."""
    text = b"".join([*of_agent().values(), of_collector()]).decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    labels: dict[str, set[str]] = {name: set() for name in kinds}
    for name, found in re.findall(r"^(\w+)\{(.*)\} ", text, re.MULTILINE):
        family = name if name in kinds else re.sub(r"_(bucket|count|sum)$", "", name)
        labels[family] |= set(re.findall(r"(\w+)=\"", found)) - {"le"}
    return labels


def test_the_page_is_what_the_code_says() -> None:
    """`python docs/generate_metrics.py` writes it anew."""
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate_metrics.py", "--check"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_names_every_family_and_no_other() -> None:
    assert sorted(set(NAMES.findall(PAGE))) == sorted(shown())


def test_the_page_gives_the_labels_that_the_series_have() -> None:
    """DCGM's are in its text."""
    said = dict(re.findall(r"^\| `(gputally_\w+)` \| \w+ \| ([^|]*) \|", PAGE, re.MULTILINE))
    ours = {name: labels for name, labels in shown().items() if name.startswith("gputally_")}
    assert {name: {label for label in labels.split(", ") if label} for name, labels in said.items()} == ours


def test_no_name_has_a_unit_that_prometheus_refuses() -> None:
    """Base units only."""
    assert not [name for name in shown() if re.search(r"hours|minutes|micro|milli|percent|_ms\b|_us\b", name)]
