"""ResourceSlices tell the UUID behind a claim's device; only the newest generation of a pool counts."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.kube_api import resource_slice

from gputally.agent.kube.slices import MAX_SLICES, DraDevice, Slice, SliceTable, parse_slice
from gputally.agent.reservations.device_id import DeviceName

RECORDED = Path(__file__).parent.parent / "data" / "kubernetes" / "api" / "resourceslices.list.full.json"


def device(name: str, pool: str = "labnode", driver: str = "gpu.nvidia.com") -> DraDevice:
    return DraDevice(driver, pool, name)


def made(uid: str, devices: dict[str, dict[str, str]], **fields: Any) -> Slice:
    return parse_slice(resource_slice(uid, devices, **fields))


def table(*slices: Slice) -> SliceTable:
    found = SliceTable()
    found.replace(slices, 0)
    return found


def test_the_recorded_slice_tells_the_uuid_of_every_device() -> None:
    slices = table(*(parse_slice(item) for item in json.loads(RECORDED.read_text())["items"]))
    names = [slices.name_of(device(f"gpu-{n}")) for n in range(8)]
    assert names[0] == DeviceName(uuid="GPU-711a5bef-ba38-5ec6-a41a-d66a73a836e7")
    assert len({name.uuid for name in names if name}) == 8


@pytest.mark.parametrize("wrapped", [False, True], ids=["v1", "v1beta1"])
@pytest.mark.parametrize("prefix", ["", "gpu.nvidia.com/"], ids=["short", "qualified"])
def test_every_form_of_the_api_is_read(wrapped: bool, prefix: str) -> None:
    given = {"gpu-0": {f"{prefix}uuid": "GPU-a", f"{prefix}type": "gpu"}}
    assert table(made("s", given, wrapped=wrapped)).name_of(device("gpu-0")) == DeviceName(uuid="GPU-a")


def test_a_mig_device_that_exists_is_its_uuid() -> None:
    slices = table(made("s", {"gpu-0-mig-19-4-1": {"uuid": "MIG-a", "parentUUID": "GPU-a"}}))
    assert slices.name_of(device("gpu-0-mig-19-4-1")) == DeviceName(mig_uuid="MIG-a")


def test_a_mig_device_that_is_only_announced_is_its_parent_with_the_placement_of_its_name() -> None:
    """It has no UUID before it exists, and the slice does not say which it has then."""
    name = "gpu-0-mig-1g10gb-19-4"
    slices = table(made("s", {name: {"parentUUID": "GPU-a", "profile": "1g.10gb"}, "odd": {"parentUUID": "GPU-a"}}))
    expected = DeviceName(uuid="GPU-a", minor=0, profile="1g10gb", profile_id=19, placement_start=4)
    assert slices.name_of(device(name)) == expected
    assert slices.name_of(device("odd")) is None


def test_a_parent_and_a_profile_are_enough_to_look_for_it() -> None:
    slices = table(made("s", {"odd": {"parentUUID": "GPU-a", "profile": "3g.40gb"}}))
    assert slices.name_of(device("odd")) == DeviceName(uuid="GPU-a", profile="3g.40gb")


@pytest.mark.parametrize("other", [device("gpu-1"), device("gpu-0", pool="else"), device("gpu-0", driver="other")])
def test_what_no_slice_tells_is_what_the_name_says(other: DraDevice) -> None:
    """Driver, pool and name together are the key."""
    slices = table(made("s", {"gpu-0": {"uuid": "GPU-a"}}))
    assert slices.name_of(other) == DeviceName(minor=int(other.name[-1]))


def test_only_the_newest_generation_of_a_pool_is_valid() -> None:
    old = made("old", {"gpu-0": {"uuid": "GPU-old"}, "gpu-1": {"uuid": "GPU-gone"}}, generation=1)
    new = made("new", {"gpu-0": {"uuid": "GPU-new"}}, generation=2)
    elsewhere = made("else", {"gpu-0": {"uuid": "GPU-else"}}, pool="else", generation=1)
    slices = table(new, old, elsewhere)
    assert slices.name_of(device("gpu-0")) == DeviceName(uuid="GPU-new")
    assert slices.name_of(device("gpu-1")) == DeviceName(minor=1)
    assert slices.name_of(device("gpu-0", pool="else")) == DeviceName(uuid="GPU-else")


def test_slices_change_and_go() -> None:
    first, second = made("s", {"gpu-0": {"uuid": "GPU-a"}}), made("s", {"gpu-0": {"uuid": "GPU-b"}})
    slices = table(first)
    slices.put(second, 1)
    assert slices.name_of(device("gpu-0")) == DeviceName(uuid="GPU-b")
    slices.delete(second, 2)
    assert slices.name_of(device("gpu-0")) == DeviceName(minor=0)


def test_slices_are_bounded_and_those_refused_are_counted() -> None:
    slices = table(*(made(f"s{n}", {f"gpu-{n}": {"uuid": f"GPU-{n}"}}) for n in range(MAX_SLICES + 3)))
    assert slices.refused == 3
    slices.put(made("s0", {"gpu-0": {"uuid": "GPU-new"}}), 1)
    assert slices.refused == 3
    assert slices.name_of(device("gpu-0")) == DeviceName(uuid="GPU-new")
