"""docs/workloads.md says what the rules do: its example is read, and nothing that exists is missing from it."""

import re
import textwrap
from pathlib import Path

import pytest

from gputally.collector.cluster.pod_row import label_of
from gputally.collector.workloads.parse import shipped_book
from gputally.collector.workloads.pod import LONGEST, VARIABLES, OwnerReference, PodFacts
from gputally.collector.workloads.workload import CLAIMS, NUMBERS, TEXTS, Evidence

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "workloads.md").read_text()
EXAMPLE = re.search(r"(?:^    .*\n|^\n)+", PAGE[PAGE.index("    version: 1") :], re.MULTILINE)


@pytest.mark.parametrize(
    "workload",
    [
        ("kubernetes", "Deployment", "web"),
        ("kubeflow", "PyTorchJob", "bert"),
        ("volcano", "Job", "etl"),
        (None, "Sweep", "lr"),
        ("kubernetes", "Pod", "train-0"),
    ],
)
def test_the_page_names_rows_as_reports_do(workload: tuple[str | None, str, str]) -> None:
    assert f"`{label_of(*workload)}`" in PAGE


def test_the_example_is_a_file_of_rules_and_does_what_the_page_says() -> None:
    assert EXAMPLE is not None
    book = shipped_book(textwrap.dedent(EXAMPLE.group()).encode())
    labels = {"acme.example/tier": "prod", "acme.example/service": "search", "acme.example/experiment": "e7"}
    owner = OwnerReference("apps/v1", "StatefulSet", "db", "u", controller=True)
    found = book.resolve(PodFacts("n", "x-step-3", labels=labels, owners=(owner,)))
    assert (found.kind, found.name, found.experiment, found.step) == ("Service", "search", "e7", "3")


def test_every_platform_evidence_field_and_variable_is_named() -> None:
    platforms = {rule.platform for rule in shipped_book().shipped.owners}
    for name in (*platforms, *VARIABLES, *Evidence):
        assert f"`{name}`" in PAGE
    taken = re.search(r"\*\*take\*\*: any of (.*?)\.", PAGE, re.DOTALL)
    assert taken is not None
    assert set(re.split(r",\s+", taken.group(1))) == {*TEXTS, *NUMBERS, *CLAIMS}
    assert f"{LONGEST} characters" in PAGE
