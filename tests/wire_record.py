"""Record what a release puts on the wire: `python -m tests.wire_record NAME`, once a release, before its tag.

Whatever is released next must read it (tests/proto/test_neighbours.py). tests/data/wire/README.md says what is in it.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from tests.histories_run import play

from gputally.accounting.line import Window
from gputally.proto import telemetry_pb2 as pb
from gputally.proto.codec import encode

FOLDER = Path(__file__).parent / "data" / "wire"
SEEDS = range(12)  # every sharing mode is among them, and failing drivers and probes
SPACED = 3  # of the windows of a history, one in so many


def windows() -> Iterator[Window]:
    """Windows of random histories, the same each time."""
    for seed in SEEDS:
        yield from play(seed).windows[::SPACED]


def plain(window: Window) -> str:
    """A window as one line of JSON that says all of it."""
    return json.dumps(asdict(window), default=str, sort_keys=True, separators=(",", ":"))


def descriptor() -> bytes:
    """The protocol's definition, as protobuf itself describes it."""
    described = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(described)
    return described.SerializeToString(deterministic=True)


def main() -> None:
    """Write the three files of one release."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="the release: 0.1.0")
    folder = FOLDER / parser.parse_args().name
    folder.mkdir(parents=True)
    sent = list(windows())
    batch = pb.Batch(sent_at_us=sent[-1].end_us)
    for sequence, window in enumerate(sent, start=1):
        batch.windows.append(pb.Window.FromString(encode(window, "agent", "boot", sequence)))
    (folder / "batch.bin").write_bytes(batch.SerializeToString(deterministic=True))
    (folder / "windows.jsonl").write_text("".join(plain(window) + "\n" for window in sent))
    (folder / "telemetry.desc").write_bytes(descriptor())


if __name__ == "__main__":
    main()
