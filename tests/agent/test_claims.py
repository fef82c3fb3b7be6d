"""ResourceClaims tell what the kubelet does not: which device is for monitoring only, and which claim nobody uses."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.kube_api import resource_claim

from gputally.agent.kube.claims import MAX_CLAIMS, Claim, ClaimTable, parse_claim
from gputally.agent.kube.slices import DraDevice

RECORDED = Path(__file__).parent.parent / "data" / "kubernetes" / "api"


def device(name: str) -> DraDevice:
    return DraDevice("gpu.nvidia.com", "labnode", name)


def made(name: str, *devices: str, **fields: Any) -> Claim:
    return parse_claim(resource_claim("ml", name, *devices, **fields))


def table(*claims: Claim) -> ClaimTable:
    found = ClaimTable("labnode")
    found.replace(claims, 0)
    return found


def recorded() -> list[Claim]:
    answer = json.loads((RECORDED / "resourceclaims.list.full.json").read_text())
    return [parse_claim(item) for item in answer["items"]]


def test_of_the_recorded_claims_one_is_for_monitoring_and_none_is_unused() -> None:
    claims = table(*recorded())
    assert all(claims.is_admin("monitoring", "all-gpus", device(f"gpu-{n}")) for n in range(8))
    assert not claims.is_admin("ml-research", "templated-g-h8h7h", device("gpu-0"))
    assert claims.unused() == ()


def test_the_recorded_watch_leads_to_the_recorded_list() -> None:
    """Event by event, with every claim changing as it is allocated, reserved by more pods and released."""
    claims = table()
    for line in (RECORDED / "resourceclaims.watch.full.ndjson").read_text().splitlines():
        event = json.loads(line)
        claims.put(parse_claim(event["object"]), 0)
        assert claims.unused() == ()
    assert claims._claims == table(*recorded())._claims


def test_a_claim_that_is_allocated_and_reserved_for_nobody_is_unused() -> None:
    claims = table(made("mine", "gpu-0", "gpu-1"), made("theirs", "gpu-2", reserved=["train-0"]), made("none"))
    assert claims.unused() == (device("gpu-0"), device("gpu-1"))
    claims.put(made("mine", "gpu-0", "gpu-1", reserved=["train-1"]), 1)
    assert claims.unused() == ()


@pytest.mark.parametrize("fields", [{"admin": ["gpu-0"]}, {"share_id": "s"}, {"pool": "elsewhere"}])
def test_monitoring_parts_of_a_capacity_and_other_nodes_leave_nothing_unused(fields: dict[str, Any]) -> None:
    assert table(made("mine", "gpu-0", **fields)).unused() == ()


def test_a_device_that_a_claim_also_holds_is_not_for_monitoring_only() -> None:
    """Two requests of one claim may be given the same device."""
    claims = table(made("mixed", "gpu-0", "gpu-1", admin=["gpu-1"]))
    assert not claims.is_admin("ml", "mixed", device("gpu-0"))
    assert claims.is_admin("ml", "mixed", device("gpu-1"))
    raw = resource_claim("ml", "both", "gpu-0", "gpu-0")
    raw["status"]["allocation"]["devices"]["results"][0]["adminAccess"] = True
    assert not table(parse_claim(raw)).is_admin("ml", "both", device("gpu-0"))


def test_claims_change_and_go() -> None:
    claims = table(made("mine", "gpu-0"), made("watch", "gpu-1", admin=["gpu-1"]))
    claims.put(made("mine"), 1)
    assert claims.unused() == ()
    claims.delete(made("watch", "gpu-1"), 2)
    assert not claims.is_admin("ml", "watch", device("gpu-1"))


def test_claims_of_other_nodes_are_not_kept() -> None:
    """Every agent is told of the claims of the whole cluster."""
    claims = table(*(made(f"c{n}", "gpu-0", pool="elsewhere") for n in range(10)), made("mine", "gpu-0"))
    claims.put(made("late", "gpu-0", pool="elsewhere"), 1)
    assert len(claims._claims) == 1


def test_claims_are_bounded_and_those_refused_are_counted() -> None:
    claims = table(*(made(f"c{n}", "gpu-0") for n in range(MAX_CLAIMS + 2)))
    assert claims.refused == 2
    claims.put(made("c1", "gpu-1"), 1)
    assert claims.refused == 2
    assert len(claims.unused()) == MAX_CLAIMS
