"""Every name of a device means one thing, and a name that means nothing certain makes devices suspect."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.agent.reservations.device_id import DeviceName, Located, Place, locate, parse_dra_name, parse_id
from gputally.agent.sample import DeviceInfo, MigInstance

U = "5384ad17-ce81-5107-a784-772f58de6e11"
FIRST = MigInstance("MIG-first", 1, 0, 3, "3g.40gb", 9, 0)
MEDIA = MigInstance("MIG-media", 7, 0, 1, "1g.10gb+me", 20, 4)
PLAIN = MigInstance("MIG-plain", 8, 0, 1, "1g.10gb", 19, 5)
PARTED = DeviceInfo(f"GPU-{U}", 0, "H100", 3, mig_enabled=True, slices=7, instances=(FIRST, MEDIA, PLAIN))
WHOLE = DeviceInfo("GPU-whole", 1, "H100", 4)
DEVICES = (PARTED, WHOLE)


@pytest.mark.parametrize(
    ("device_id", "name"),
    [
        (f"GPU-{U}", DeviceName(uuid=f"GPU-{U}")),
        (f"GPU-{U}::3", DeviceName(uuid=f"GPU-{U}", replica="3")),
        (f"MIG-{U}", DeviceName(mig_uuid=f"MIG-{U}")),
        (f"MIG-{U}::0", DeviceName(mig_uuid=f"MIG-{U}", replica="0")),
        (f"MIG-GPU-{U}/7/0", DeviceName(uuid=f"GPU-{U}", gpu_instance=7, compute_instance=0)),
        (f"MIG-GPU-{U}/7/0::1", DeviceName(uuid=f"GPU-{U}", gpu_instance=7, compute_instance=0, replica="1")),
        ("nvidia0", DeviceName(minor=0)),
        ("nvidia12/gi3", DeviceName(minor=12, gpu_instance=3)),
        ("nvidia0/vgpu0", DeviceName(minor=0, replica="0")),
        ("nvidia0/gi0/vgpu2", DeviceName(minor=0, gpu_instance=0, replica="2")),
    ],
)
def test_every_shape_of_a_plugins_id_is_read(device_id: str, name: DeviceName) -> None:
    assert parse_id(device_id) == name


@pytest.mark.parametrize(
    "odd", ["", "0", "gpu-0", "GPU-", "nvidia", "nvidia0/gi", "GPU-x::", "nvidia0/vgpu1::2", "::1"]
)
def test_an_id_of_no_known_shape_means_nothing(odd: str) -> None:
    assert parse_id(odd) is None


@pytest.mark.parametrize(
    ("dra", "name"),
    [
        ("gpu-3", DeviceName(minor=3)),
        ("gpu-3-mig-19-4-1", DeviceName(minor=3, profile_id=19, placement_start=4)),
        ("gpu-3-mig-1g10gb-19-5", DeviceName(minor=3, profile="1g10gb", profile_id=19, placement_start=5)),
        ("gpu-3-mig-1g10gb-me-20-4", DeviceName(minor=3, profile="1g10gb-me", profile_id=20, placement_start=4)),
        ("gpu-vfio-0", DeviceName(uuid="gpu-vfio-0")),
        ("gpu", None),
        ("gpu-3-mig-1g", None),
    ],
)
def test_names_of_the_dra_driver_are_read_in_its_old_and_new_form(dra: str, name: DeviceName | None) -> None:
    assert parse_dra_name(dra) == name


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (DeviceName(uuid="GPU-whole"), Place("GPU-whole")),
        (DeviceName(minor=4, replica="1"), Place("GPU-whole")),
        (DeviceName(mig_uuid="MIG-media"), Place(PARTED.uuid, "MIG-media")),
        (DeviceName(uuid=PARTED.uuid, gpu_instance=7, compute_instance=0), Place(PARTED.uuid, "MIG-media")),
        (DeviceName(minor=3, gpu_instance=1), Place(PARTED.uuid, "MIG-first")),
        (parse_dra_name("gpu-3-mig-1g10gb-me-20-4"), Place(PARTED.uuid, "MIG-media")),
        (parse_dra_name("gpu-3-mig-19-5-1"), Place(PARTED.uuid, "MIG-plain")),
        (DeviceName(uuid=PARTED.uuid, profile="3g.40gb"), Place(PARTED.uuid, "MIG-first")),
    ],
)
def test_a_name_points_at_what_the_driver_shows(name: DeviceName, place: Place) -> None:
    assert locate(name, DEVICES) == Located((place,))


def test_where_the_driver_does_not_number_profiles_their_names_decide() -> None:
    unnumbered = replace(PARTED, instances=tuple(replace(one, profile_id=None) for one in PARTED.instances))
    found = locate(parse_dra_name("gpu-3-mig-1g10gb-me-20-4"), [unnumbered])
    assert found == Located((Place(PARTED.uuid, "MIG-media"),))


def test_a_gpu_instance_without_its_compute_instance_is_all_of_them() -> None:
    halves = (replace(FIRST, slices=1), replace(FIRST, uuid="MIG-half", compute_instance=1, slices=2))
    found = locate(DeviceName(minor=3, gpu_instance=1), [replace(PARTED, instances=halves)])
    assert found.places == (Place(PARTED.uuid, "MIG-first"), Place(PARTED.uuid, "MIG-half"))


def test_instances_that_a_name_does_not_tell_apart_make_their_device_suspect() -> None:
    unplaced = (replace(PLAIN, placement_start=None), replace(PLAIN, uuid="MIG-other", gpu_instance=9))
    found = locate(parse_dra_name("gpu-3-mig-19-5-1"), [replace(PARTED, instances=unplaced), WHOLE])
    assert found == Located(suspects=frozenset({PARTED.uuid}))


def test_what_the_driver_does_not_show_is_nowhere() -> None:
    for name in ("GPU-gone", "GPU-gone::1", "MIG-gone", f"MIG-GPU-{U}/5/0", "nvidia3/gi5"):
        assert locate(parse_id(name), DEVICES) == Located(), name
    assert locate(parse_dra_name("gpu-vfio-0"), DEVICES) == Located()
    assert locate(parse_dra_name("gpu-3-mig-1g10gb-19-6"), DEVICES) == Located()


def test_a_device_that_shows_no_instances_is_suspect_when_one_of_them_is_named() -> None:
    bare = replace(PARTED, instances=())
    for name in (DeviceName(mig_uuid="MIG-gone"), DeviceName(minor=3, gpu_instance=1)):
        assert locate(name, [bare, WHOLE]) == Located(suspects=frozenset({bare.uuid}))


@pytest.mark.parametrize("name", [None, DeviceName(minor=9)])
def test_a_name_that_may_mean_any_device_makes_all_suspect(name: DeviceName | None) -> None:
    """A device's minor number may not be known."""
    assert locate(name, DEVICES) == Located(suspects=frozenset({PARTED.uuid, WHOLE.uuid}))


@given(st.text(max_size=60))
def test_no_text_breaks_the_parsers(text: str) -> None:
    """Whatever a plugin says, it is found on the devices that are there or nowhere."""
    for name in (parse_id(text), parse_dra_name(text)):
        found = locate(name, DEVICES)
        assert {place.device for place in found.places} | found.suspects <= {PARTED.uuid, WHOLE.uuid}
