"""Windows on the wire: nothing is lost, the same window is the same bytes, and nonsense is refused in words."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.keys import PLATFORM, PLATFORM_KEY, Holding, LineKey, Owner
from gputally.accounting.line import DeviceWindow, Line, Quality, Window
from gputally.accounting.settlement import reserved_key
from gputally.accounting.states import Basis, OwnerKind, Reason, Source
from gputally.proto import telemetry_pb2 as pb
from gputally.proto.codec import WireError, decode, encode

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
POD = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
MINE = reserved_key(Holding(POD, "replica", Fraction(1, 4)))
WINDOW = Window(
    "cluster",
    "node",
    60_000_000,
    120_000_000,
    (
        DeviceWindow(
            "GPU-0",
            "H100",
            60_000_000,
            (
                Line(MINE, Source.PROCESS_SAMPLES, used_us=5_000_000, idle_us=10_000_000, energy_dynamic_mj=300),
                Line(PLATFORM_KEY, Source.DEVICE_SAMPLES, unallocated_us=45_000_000, energy_dynamic_mj=0),
            ),
            energy_start_mj=1000,
            energy_end_mj=1300,
        ),
    ),
)


def sent(window: Window = WINDOW) -> bytes:
    return encode(window, "agent", "boot", 7)


def received(data: bytes) -> Window:
    return decode(pb.Window.FromString(data))


def spoiled(spoil: Callable[[pb.Window], object]) -> Window:
    message = pb.Window.FromString(sent())
    spoil(message)
    return received(message.SerializeToString())


AMOUNT = st.integers(0, 2**64 - 1)
OPTIONAL = st.none() | AMOUNT
TEXT = st.text(max_size=8)
OWNERS = (
    st.builds(
        Owner,
        st.just(OwnerKind.POD),
        namespace=TEXT,
        pod=TEXT,
        container=TEXT,
        pod_uid=TEXT | st.uuids().map(str),
        first_seen_us=st.integers(-(2**63), 2**63 - 1),
    )
    | st.builds(Owner, st.just(OwnerKind.HOST), user=TEXT, unit=TEXT)
    | st.just(PLATFORM)
)
QUALITIES = st.none() | st.builds(Quality, st.integers(1, 2**64 - 1), AMOUNT, AMOUNT, AMOUNT, AMOUNT)
SHARES = st.builds(Fraction, st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1))
HOLDERS = st.lists(st.builds(Holding, OWNERS, TEXT, SHARES), max_size=2).map(tuple)
KEYS = st.builds(LineKey, TEXT, OWNERS, st.sampled_from(Basis), st.sampled_from(Reason))


@st.composite
def devices(draw: st.DrawFn) -> DeviceWindow:
    """A line's energy is known or not; where it is, its idle part is known for all lines of the device or for none."""
    energy = draw(st.sampled_from([(st.none(), st.none()), (st.none(), AMOUNT), (AMOUNT, AMOUNT)]))
    keys = draw(st.lists(KEYS, unique=True, min_size=1, max_size=4))
    metered = [draw(st.booleans()) for _ in keys]
    lines = tuple(
        Line(
            key,
            draw(st.sampled_from(Source)),
            *(draw(AMOUNT | st.just(0)) for _ in range(8)),
            energy_idle_mj=draw(energy[0]) if known else None,
            energy_dynamic_mj=draw(energy[1]) if known else None,
            memory_byte_s=draw(st.none() | st.integers(0, 2**64 - 2)),
            quality=draw(QUALITIES),
        )
        for key, known in zip(keys, metered, strict=True)
    )
    start, end = draw(HOLDERS), draw(HOLDERS)
    partitions = {key.partition for key in keys} | {holding.partition for holding in (*start, *end)}
    return DeviceWindow(
        draw(TEXT),
        draw(TEXT),
        draw(AMOUNT),
        lines,
        draw(OPTIONAL),
        draw(OPTIONAL),
        draw(st.booleans()),
        draw(st.integers(0, 2**32 - 1)),
        start,
        end,
        draw(st.booleans()),
        draw(OPTIONAL),
        {partition: f"{len(partition)}g" for partition in partitions if partition.startswith("M")},
        draw(AMOUNT),
    )


INSTANTS = st.integers(-(2**63), 2**63 - 1)
WINDOWS = st.builds(Window, TEXT, TEXT, INSTANTS, INSTANTS, st.lists(devices(), max_size=3).map(tuple), AMOUNT, AMOUNT)


@given(WINDOWS)
def test_a_window_arrives_as_it_was_sent(window: Window) -> None:
    assert received(sent(window)) == window


@given(WINDOWS)
def test_the_same_window_is_the_same_bytes(window: Window) -> None:
    """The collector knows a window that comes again by the hash of its bytes."""
    assert sent(window) == sent(received(sent(window)))


def test_who_sent_it_and_which_window_it_is_stand_beside_the_content() -> None:
    message = pb.Window.FromString(sent())
    assert (message.agent_id, message.boot_id, message.sequence) == ("agent", "boot", 7)


def test_owners_and_partitions_stand_in_a_table_once() -> None:
    device = WINDOW.devices[0]
    twice = Window("c", "n", 0, 60_000_000, (device, DeviceWindow("GPU-1", "H100", 60_000_000, device.lines)))
    message = pb.Window.FromString(sent(twice))
    assert (len(message.owners), list(message.partitions)) == (2, ["replica", "gpu"])
    assert list(message.lines.owner) == [0, 1, 0, 1]


def test_a_column_that_is_all_0_is_left_out() -> None:
    message = pb.Window.FromString(sent())
    assert list(message.lines.burst_us) == []
    assert len(message.lines.used_us) == message.lines.count == 2


def test_unknown_energy_stays_unknown_and_0_stays_0() -> None:
    lines = WINDOW.devices[0].lines
    assert received(sent()).devices[0].lines[1].energy_dynamic_mj == 0
    assert received(sent()).devices[0].lines[1].energy_idle_mj is None
    dark = DeviceWindow("GPU-0", "H100", 5, (Line(lines[0].key, Source.NONE, unobserved_us=5),))
    [device] = received(sent(Window("c", "n", 0, 5, (dark,)))).devices
    assert (device.energy_start_mj, device.lines[0].energy_mj) == (None, None)


def test_unknown_memory_stays_unknown_and_0_stays_0() -> None:
    lines = [
        replace(line, memory_byte_s=memory) for line, memory in zip(WINDOW.devices[0].lines, (0, None), strict=True)
    ]
    window = replace(WINDOW, devices=(replace(WINDOW.devices[0], lines=tuple(lines)),))
    assert [line.memory_byte_s for line in received(sent(window)).devices[0].lines] == [0, None]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: m.devices[0].end_holders.append(pb.Holder(owner=9, share_denominator=1)),
        lambda m: m.devices[0].end_holders.append(pb.Holder(partition=9, share_denominator=1)),
        lambda m: m.devices[0].start_holders.append(pb.Holder(share_numerator=1)),
        lambda m: m.profiles.append("1g.10gb"),
    ],
    ids=["owner", "partition", "share-of-nothing", "profiles"],
)
def test_holders_that_point_nowhere_are_refused(spoil: Callable[[pb.Window], object]) -> None:
    with pytest.raises(WireError):
        spoiled(spoil)


@pytest.mark.parametrize(
    "uid",
    [
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "0F8FAD5B-D9CB-469F-A165-70867728950E",
        "0f8fad5bd9cb469fa16570867728950e",
        "0f8fad5b-d9cb-469f-a165-70867728950 ",
        "kubelet-static-pod-uid-of-32-digits",
        "",
    ],
)
def test_a_uid_comes_back_as_it_was_and_takes_16_bytes_where_it_is_a_uuid(uid: str) -> None:
    """A static pod's UID is no UUID; whatever is not written as Kubernetes writes them, stays a text."""
    owner = replace(POD, pod_uid=uid)
    held = replace(WINDOW.devices[0], start_holders=(Holding(owner),))
    window = replace(WINDOW, devices=(held,))
    assert received(sent(window)) == window
    told = pb.Window.FromString(sent(window)).owners[0]
    assert (told.pod_uid, len(told.pod_uid_bytes)) == ((uid, 0) if uid != UUID else ("", 16))


def test_what_stays_is_sent_once() -> None:
    """Holders who hold to the end, and the model of all GPUs of a node."""
    held = (Holding(POD, "replica", Fraction(1, 4)),)
    first = replace(WINDOW.devices[0], start_holders=held, end_holders=held)
    others = [replace(first, uuid=f"GPU-{at}", model=model) for at, model in enumerate(("H100", "", "", "H100"), 1)]
    window = replace(WINDOW, devices=(first, *others))
    told = pb.Window.FromString(sent(window)).devices
    assert [device.model for device in told] == ["H100", "", "", "", "H100"]
    assert [device.model_stays for device in told] == [False, True, False, True, False]
    assert all(device.holders_stay and not device.end_holders for device in told)
    assert received(sent(window)) == window


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: setattr(m.devices[0], "model_stays", True),
        lambda m: setattr(m.owners[0], "pod_uid_bytes", b"0" * 15),
        lambda m: (setattr(m.owners[0], "pod_uid_bytes", b"0" * 16), setattr(m.owners[0], "pod_uid", "uid")),
        lambda m: (setattr(m.devices[0], "holders_stay", True), m.devices[0].end_holders.add()),
        lambda m: m.devices.add(model="H100", model_stays=True),
    ],
    ids=["of-no-device", "short", "two-uids", "two-ends", "two-models"],
)
def test_what_points_to_nothing_or_says_two_things_is_refused(spoil: Callable[[pb.Window], object]) -> None:
    with pytest.raises(WireError):
        spoiled(spoil)


def test_a_window_without_devices_can_be_sent() -> None:
    empty = Window("c", "n", 0, 5, ())
    assert received(sent(empty)) == empty


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: m.lines.used_us.append(1),
        lambda m: m.lines.idle_us.pop(),
        lambda m: m.lines.burst_us.append(1),
        lambda m: setattr(m.lines, "count", 1),
        lambda m: setattr(m.lines, "count", 3),
        lambda m: setattr(m.lines, "count", 2**32 - 1),
    ],
    ids=["longer", "shorter", "shorter-was-empty", "count-low", "count-high", "count-huge"],
)
def test_columns_must_be_as_long_as_the_count(spoil: Callable[[pb.Window], object]) -> None:
    with pytest.raises(WireError, match=r"window 7 of node: column \w+ has \d+ values for \d+ lines"):
        spoiled(spoil)


def test_a_count_without_columns_takes_no_memory() -> None:
    """Twelve bytes must not become a list of four thousand million numbers."""
    message = pb.Window(sequence=7, node="node", lines=pb.Lines(count=2**32 - 1))
    with pytest.raises(WireError, match="4294967295 lines without a column"):
        decode(message)


@pytest.mark.parametrize("column", ["device", "partition", "owner"])
def test_a_pointer_past_the_end_of_its_table_is_refused(column: str) -> None:
    with pytest.raises(WireError):
        spoiled(lambda m: getattr(m.lines, column).__setitem__(slice(None), [0, 9]))


@pytest.mark.parametrize("number", [-1, 99])
@pytest.mark.parametrize("column", ["basis", "reason", "source"])
def test_an_enum_that_this_version_does_not_know_is_refused(column: str, number: int) -> None:
    """A negative number must not count from the end of the list."""
    with pytest.raises(WireError, match=f"{number} is no number of a {column.title()}"):
        spoiled(lambda m: getattr(m.lines, column).__setitem__(slice(None), [0, number]))


def test_an_owner_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(WireError, match="alien"):
        spoiled(lambda m: setattr(m.owners[0], "kind", "alien"))


NUMBERS = st.lists(st.integers(0, 3), max_size=3)
GARBAGE = st.builds(
    pb.Window,
    devices=st.lists(st.builds(pb.Device, uuid=TEXT), max_size=2),
    owners=st.lists(st.builds(pb.Owner, kind=st.sampled_from(["pod", "host", "platform", "", "x"])), max_size=2),
    partitions=st.lists(TEXT, max_size=2),
    lines=st.builds(
        pb.Lines,
        count=st.integers(0, 4),
        device=NUMBERS,
        partition=NUMBERS,
        owner=NUMBERS,
        basis=st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(0, 3), max_size=3),
        reason=NUMBERS,
        source=NUMBERS,
        used_us=NUMBERS,
    ),
)


@given(GARBAGE)
def test_whatever_comes_in_is_a_window_or_a_wire_error(message: pb.Window) -> None:
    try:
        window = decode(message)
    except WireError:
        return
    assert sum(len(device.lines) for device in window.devices) == message.lines.count
