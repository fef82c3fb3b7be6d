"""The labels of GPU Feature Discovery: what they say of a node's GPUs, and nothing where they say nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.workloads.cases import documents

from gputally.collector.workloads.device import device_facts

NODES = documents()["nodes"]["nodes"]


@pytest.mark.parametrize("node", NODES, ids=lambda node: node["case"])
def test_every_fixture_node_has_the_gpus_that_its_file_says(node: Mapping[str, Any]) -> None:
    found = device_facts(node["labels"])
    known = {name: value for name, value in asdict(found).items() if value is not None and value != ()}
    counts = {"mig_counts": [list(pair) for pair in known.pop("mig_counts")]} if "mig_counts" in known else {}
    assert known | counts == node["device"]
    assert found.model == node.get("model")


def test_none_shared_is_not_unknown() -> None:
    assert device_facts({"nvidia.com/gpu.sharing-strategy": "none"}).sharing_strategy == "none"
    assert device_facts({}).sharing_strategy is None
    assert device_facts({"nvidia.com/gpu.count": "0"}).count == 0


@given(
    st.dictionaries(
        st.sampled_from([key for node in NODES for key in node["labels"]]), st.text(max_size=80), max_size=10
    )
)
def test_no_labels_raise(labels: dict[str, str]) -> None:
    found = device_facts(labels)
    assert found == device_facts(dict(labels))
    assert found.count is None or found.count >= 0
