"""A queue's quota is what its platform's published API says, in one vocabulary; what cannot be read is unknown."""

from typing import Any

import pytest
import yaml
from tests.pages import ROOT

from gputally.collector.queues.quota import (
    Quota,
    SeenQueue,
    System,
    amount,
    read_cluster_queue,
    read_local_queue,
    read_volcano_queue,
)

FILES = [ROOT / "tests" / "data" / "queues" / f"{name}.yaml" for name in ("kueue", "volcano")]
CASES = [case for file in FILES for case in yaml.safe_load(file.read_text())["cases"]]


def queues() -> list[Any]:
    return [pytest.param(case, id=case["case"]) for case in CASES if "queue" in case]


@pytest.mark.parametrize("case", queues())
def test_the_quota_of_a_queue_is_read(case: dict[str, Any]) -> None:
    raw, wanted = case["object"], case["queue"]
    read = read_volcano_queue if raw["kind"] == "Queue" else read_cluster_queue
    found = read(raw)
    quotas = tuple(Quota(**each) for each in wanted["quotas"])
    about = raw["metadata"]
    assert found == SeenQueue(
        System(wanted["system"]),
        about["name"],
        about["uid"],
        1_782_864_000_000_000,
        int(about["resourceVersion"]),
        wanted.get("cohort"),
        quotas,
    )


def test_a_local_queue_leads_into_a_cluster_queue() -> None:
    (case,) = (case for case in CASES if "leads_into" in case)
    found = read_local_queue(case["object"])
    assert (found.namespace, found.name, found.cluster_queue) == ("search", "research-lq", case["leads_into"])


@pytest.mark.parametrize(
    ("quantity", "wanted"),
    [
        (8, 8),
        ("8", 8),
        ("0", 0),
        ("1500m", 2),
        ("0.5", 1),
        (".5", 1),
        ("2e1", 20),
        ("1k", 1000),
        ("1Ki", 1024),
        ("+3", 3),
        ("1E", None),
        ("1e30", None),
        ("", None),
        ("-1", None),
        ("8 GPUs", None),
        ("1mi", None),
        ("١", None),
        (True, None),
        (None, None),
        (1.5, None),
        ({"nvidia.com/gpu": 8}, None),
        ("9" * 400, None),
    ],
)
def test_a_quantity_is_a_whole_number_rounded_up_as_kueue_does_it_or_unknown(
    quantity: object, wanted: int | None
) -> None:
    assert amount(quantity) == wanted


def test_a_quota_that_cannot_be_read_is_unknown_and_not_zero() -> None:
    raw = yaml.safe_load(yaml.safe_dump(CASES[0]["object"]))
    raw["spec"]["resourceGroups"][1]["flavors"][0]["resources"][0]["nominalQuota"] = "many"
    quota = read_cluster_queue(raw).quotas[0]
    assert (quota.nominal, quota.guaranteed, quota.most) == (None, None, None)
