"""One look as JSON: the documented keys, partitions with their holders, processes, and null for what is not known."""

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

from tests.looks import CHAT, GIB, GONE, GOOD, IN_POD, MINE, NAMELESS, ON_HOST, OWNERS, READING, TRAIN, look

from gputally.accounting.keys import Holding
from gputally.accounting.settlement import Contest
from gputally.agent.held import NOBODY, UNKNOWN, Held, HeldInstance
from gputally.agent.once.as_json import as_json, as_json_text
from gputally.agent.sample import (
    BusySample,
    DeviceSample,
    GpmReading,
    InstanceReading,
    MigInstance,
    ProcessReading,
    Reading,
)

WHOLE = {
    "id": "gpu",
    "instance": None,
    "profile": None,
    "share": 1.0,
    "state": "held",
    "holders": [{"namespace": "research", "pod": "train-0", "container": "main", "pod_uid": "uid-a"}],
    "utilization": None,
    "memory_used_bytes": None,
    "source": None,
}
OF_A_POD = {
    "pid": 4711,
    "type": "compute",
    "instance": None,
    "memory_bytes": 61 * GIB,
    "utilization": 91,
    "source": "process-samples",
    "exists": True,
    "user": None,
    "unit": None,
    "command": None,
    "kind": "pod",
    "pod_uid": "uid-a",
    "container_id": "c0ffee",
    "namespace": "research",
    "pod": "train-0",
    "container": "main",
    "reserved": True,
}
OF_NOBODY = {
    "pid": 812,
    "type": "compute",
    "instance": None,
    "memory_bytes": None,
    "utilization": 0,
    "source": "process-samples",
    "exists": True,
    "user": "user-1000",
    "unit": "session-1.scope",
    "command": None,
    "kind": "none",
    "pod_uid": None,
    "container_id": None,
    "namespace": None,
    "pod": None,
    "container": None,
    "reserved": False,
}


def test_the_json_has_the_documented_keys_and_values() -> None:
    assert as_json(look(), OWNERS) == {
        "node": "node-1",
        "taken_at": "2025-01-01T00:00:00.250000Z",
        "devices": [
            {
                "uuid": "GPU-0",
                "index": 0,
                "model": "NVIDIA H100",
                "mig_enabled": False,
                "utilization": 93,
                "memory_used_bytes": 62 * GIB,
                "ghost_memory_bytes": 0,
                "power_watts": 612.4,
                "energy_mj": 123_456_789,
                "source": "device-samples",
                "partitions": [WHOLE],
                "processes": [OF_A_POD, OF_NOBODY],
            }
        ],
    }


def test_the_text_is_that_json() -> None:
    assert json.loads(as_json_text(look(), OWNERS)) == as_json(look(), OWNERS)


def device_json(device: DeviceSample, held: Held = MINE) -> dict[str, Any]:
    [only] = as_json(look(device, held), OWNERS)["devices"]
    return only


def test_a_lost_device_has_null_for_all_that_is_not_known() -> None:
    lost = device_json(DeviceSample(GOOD.info, unavailable=True, error="GPU is lost"), UNKNOWN)
    unknown = ("utilization", "memory_used_bytes", "power_watts", "energy_mj", "partitions", "processes")
    assert [lost[key] for key in unknown] == [None] * len(unknown)
    assert lost["source"] == "none"


def test_a_list_of_processes_that_the_driver_cannot_give_is_null_and_an_empty_one_is_empty() -> None:
    assert device_json(replace(GOOD, detail=ProcessReading(None, None)))["processes"] is None
    assert device_json(replace(GOOD, detail=ProcessReading((), ())))["processes"] == []


def test_a_process_whose_utilisation_the_driver_cannot_tell_is_not_idle() -> None:
    [process, _] = device_json(replace(GOOD, detail=ProcessReading((IN_POD, ON_HOST), None)))["processes"]
    assert process["utilization"] is None


def test_a_process_that_is_gone_has_a_pid_and_its_memory_and_no_more() -> None:
    """A ghost: the driver still lists what it held."""
    gone = replace(GONE, memory_bytes=3 * GIB)
    device = device_json(replace(GOOD, detail=ProcessReading((IN_POD, gone), None)))
    process = device["processes"][1]
    assert {key: value for key, value in process.items() if value is not None} == {
        "pid": 99, "type": "compute", "memory_bytes": 3 * GIB, "exists": False, "source": "none"
    }  # fmt: skip
    assert device["ghost_memory_bytes"] == 3 * GIB


def test_memory_of_ghosts_that_the_driver_cannot_tell_is_not_none_of_it() -> None:
    assert device_json(replace(GOOD, detail=ProcessReading((GONE,), None)))["ghost_memory_bytes"] is None
    assert device_json(replace(GOOD, detail=ProcessReading(None, None)))["ghost_memory_bytes"] is None
    assert device_json(replace(GOOD, detail=None))["ghost_memory_bytes"] is None


def parts(device: DeviceSample, held: Held) -> list[tuple[object, ...]]:
    """Of each partition: its name, its MIG device, its share, its state and its holders' pods."""
    found = device_json(device, held)["partitions"]
    assert isinstance(found, list)
    keys = ("id", "instance", "share", "state")
    return [(*(each[key] for key in keys), *(holder["pod"] for holder in each["holders"])) for each in found]


def test_a_free_device_is_a_partition_without_holders_and_unknown_reservations_are_null() -> None:
    assert parts(GOOD, NOBODY) == [("gpu", None, 1.0, "free")]
    assert device_json(GOOD, UNKNOWN)["partitions"] is None


def test_the_drivers_own_rate_comes_before_its_buffer() -> None:
    assert device_json(replace(GOOD, reading=replace(READING, utilization_percent=90)))["utilization"] == 90


def test_a_newest_reading_that_was_refused_is_null_not_the_one_before() -> None:
    refused = replace(READING, busy=(BusySample(1, 20), BusySample(2, None)))
    assert device_json(replace(GOOD, reading=refused))["utilization"] is None


def test_two_holders_of_one_device_are_both_listed() -> None:
    assert parts(GOOD, Held((), Contest(frozenset({TRAIN, CHAT})))) == [
        ("gpu", None, 1.0, "two-holders", "chat", "train-0")
    ]


def test_a_claim_without_a_pod_is_neither_held_nor_free() -> None:
    assert parts(GOOD, Held(unused_share=Fraction(1))) == [("gpu", None, 1.0, "claim-unused")]


def test_replicas_show_their_holders_shares_and_what_is_free() -> None:
    held = Held((Holding(TRAIN, "replica", Fraction(1, 4)), Holding(CHAT, "replica", Fraction(1, 2))))
    assert parts(GOOD, held) == [
        ("replica", None, 0.25, "held", "train-0"),
        ("replica", None, 0.5, "held", "chat"),
        ("replica", None, 0.25, "free"),
    ]


def test_a_claim_names_the_containers_that_list_it() -> None:
    pod = replace(TRAIN, container="")
    containers = (TRAIN, replace(TRAIN, container="side"))
    [partition] = device_json(GOOD, Held((Holding(pod, containers=containers),)))["partitions"]
    assert [holder["container"] for holder in partition["holders"]] == ["main", "side"]


BIG = MigInstance("MIG-big", 1, 0, 3, "3g.40gb")
SMALL = MigInstance("MIG-small", 2, 0, 1, "1g.10gb")
DIVIDED_INFO = replace(GOOD.info, mig_enabled=True, slices=7, instances=(BIG, SMALL))
DIVIDED = DeviceSample(
    DIVIDED_INFO,
    Reading(
        memory_used_bytes=62 * GIB,
        power_mw=400_000,
        energy_mj=5,
        instances=(
            InstanceReading("MIG-big", 8 * GIB, 40 * GIB, GpmReading(1, 2, graphics=423_000), True),
            InstanceReading("MIG-small", GIB, 10 * GIB),
        ),
    ),
    ProcessReading((replace(IN_POD, instance="MIG-big"), replace(ON_HOST, instance="MIG-small")), None),
)
HELD_APART = Held(
    instances=(
        HeldInstance("MIG-big", "3g.40gb", Fraction(3, 7), Held((Holding(TRAIN, "MIG-big"),))),
        HeldInstance("MIG-small", "1g.10gb", Fraction(1, 7), Held((Holding(CHAT, "replica", Fraction(1, 2)),))),
    )
)


def test_mig_devices_stand_under_their_device_each_with_what_was_read_of_it() -> None:
    """Busy is GPM's where the GPU has it; shares are of the whole device, and so is what no MIG device has."""
    assert parts(DIVIDED, HELD_APART) == [
        ("MIG-big", "MIG-big", 3 / 7, "held", "train-0"),
        ("replica", "MIG-small", 1 / 14, "held", "chat"),
        ("replica", "MIG-small", 1 / 14, "free"),
        ("gpu", None, 3 / 7, "remainder"),
    ]
    big, replica, *_ = device_json(DIVIDED, HELD_APART)["partitions"]
    assert (big["profile"], big["utilization"], big["source"]) == ("3g.40gb", 42, "gpm")
    assert big["memory_used_bytes"] == 8 * GIB
    assert (replica["profile"], replica["utilization"], replica["source"]) == ("1g.10gb", None, None)


def test_a_process_on_a_mig_device_is_judged_by_who_holds_that_one() -> None:
    mine, other = device_json(DIVIDED, HELD_APART)["processes"]
    assert (mine["instance"], mine["reserved"], mine["utilization"], mine["source"]) == ("MIG-big", True, None, "none")
    assert (other["instance"], other["reserved"]) == ("MIG-small", False)


def test_mig_devices_whose_holders_are_not_known_are_shown_and_not_free() -> None:
    assert parts(DIVIDED, UNKNOWN) == [
        ("MIG-big", "MIG-big", 3 / 7, "unknown"),
        ("MIG-small", "MIG-small", 1 / 7, "unknown"),
    ]
    unread = replace(DIVIDED, info=replace(DIVIDED_INFO, slices=None), reading=Reading())
    assert [part[2] for part in parts(unread, UNKNOWN)] == [None, None]


def test_whether_a_process_holds_what_it_runs_on_is_not_known_where_holders_are_not() -> None:
    assert [process["reserved"] for process in device_json(GOOD, UNKNOWN)["processes"]] == [None, None]


def test_without_the_api_a_pods_process_on_a_wholly_held_device_is_the_holders() -> None:
    process = as_json(look(), NAMELESS)["devices"][0]["processes"][0]
    assert (process["namespace"], process["pod"], process["container"]) == ("research", "train-0", "main")


def test_without_the_api_a_host_process_and_one_on_a_shared_device_stay_unnamed() -> None:
    held = Held((Holding(TRAIN, "replica", Fraction(1, 4)),))
    shared = as_json(look(held=held), NAMELESS)["devices"][0]["processes"]
    assert [process["pod"] for process in shared] == [None, None]
    assert as_json(look(), NAMELESS)["devices"][0]["processes"][1]["pod"] is None
