"""Agents and collectors of neighbouring releases understand each other: a recording is read as it was meant."""

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from tests.wire_record import FOLDER, descriptor, plain, windows

from gputally.proto import telemetry_pb2 as pb
from gputally.proto.codec import decode, encode

RELEASES = sorted(path for path in FOLDER.iterdir() if path.is_dir())


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def release(request: pytest.FixtureRequest) -> Path:
    """The recordings of one earlier release."""
    folder = request.param
    assert isinstance(folder, Path)
    return folder


def fields(described: bytes) -> dict[tuple[str, int], FieldDescriptorProto]:
    """Every field of a protocol, by its message and number."""

    def of(message: DescriptorProto, prefix: str) -> dict[tuple[str, int], FieldDescriptorProto]:
        name = f"{prefix}.{message.name}"
        found = {(name, field.number): field for field in message.field}
        for nested in message.nested_type:
            found |= of(nested, name)
        return found

    found: dict[tuple[str, int], FieldDescriptorProto] = {}
    for message in FileDescriptorProto.FromString(described).message_type:
        found |= of(message, "")
    return found


def test_there_is_something_to_compare_with() -> None:
    assert RELEASES


def test_an_agent_of_an_earlier_release_is_read_as_it_meant(release: Path) -> None:
    batch = pb.Batch.FromString((release / "batch.bin").read_bytes())
    meant = (release / "windows.jsonl").read_text().splitlines()
    assert [plain(decode(window)) for window in batch.windows] == meant


def test_no_field_changed_its_number_its_name_or_its_type(release: Path) -> None:
    """Fields are added; one that is not needed any more keeps its number."""
    now = fields(descriptor())
    for place, field in fields((release / "telemetry.desc").read_bytes()).items():
        assert place in now, f"{place}: {field.name} is gone"
        assert (now[place].name, now[place].type, now[place].label) == (field.name, field.type, field.label)


def test_a_collector_of_an_earlier_release_reads_what_it_knows_of_todays_windows(release: Path) -> None:
    """It sees the same window without what it does not know of, and keeps even that when it stores the message."""
    pool = DescriptorPool()
    pool.Add(FileDescriptorProto.FromString((release / "telemetry.desc").read_bytes()))
    earlier = GetMessageClass(pool.FindMessageTypeByName("gputally.v1.Window"))
    for window in windows():
        sent = encode(window, "agent", "boot", 1)
        read = earlier.FromString(sent)
        assert (read.node, read.lines.count) == (window.node, sum(len(device.lines) for device in window.devices))
        assert [sum(getattr(read.lines, f"{state}_us")) for state in ("used", "idle", "unobserved")] == [
            sum(getattr(line, f"{state}_us") for device in window.devices for line in device.lines)
            for state in ("used", "idle", "unobserved")
        ]
        assert decode(pb.Window.FromString(read.SerializeToString())) == window
