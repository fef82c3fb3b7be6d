"""Bytes of a line on the wire: of its numbers alone, in a window with the tables that it points to, and back-filled.

A window is sent as it is spooled. What waited through an outage goes in large batches that gRPC compresses; what they
are before that stands beside. The ceiling is what LZMA leaves of the same hour at once, which no stream could send.
"""

import lzma
import zlib

from content import HOUR_US, LINES, batches, messages
from table import Figure, at_most

from gputally.proto import telemetry_pb2 as pb

_START_US = 1_782_864_000_000_000
_CEILING = "LZMA of the hour"
_GZIP = zlib.MAX_WBITS | 16
_BATCH = 100  # windows: as many as fit in the quarter of a MiB that the stream puts into a message


def figures(*, quick: bool) -> list[Figure]:  # noqa: ARG001 - it is quick
    """Bytes a line."""
    hour = messages(1, _START_US, HOUR_US // 60_000_000)
    numbers = [pb.Window.FromString(message).lines.SerializeToString() for message in hour]
    sent = batches(hour, _BATCH)
    return [
        _figure("wire: a line alone", numbers, numbers, 48),
        _figure("wire: with its window's tables", hour, hour, 160),
        _figure("wire: back-fill, as sent", [_gzip(batch) for batch in sent], hour, 32),
        _figure("wire: back-fill, before compression", sent, hour, None),
    ]


def _figure(name: str, parts: list[bytes], whole: list[bytes], most: float | None) -> Figure:
    lines = LINES * len(whole)
    target = None if most is None else at_most(most)
    least = len(lzma.compress(b"".join(whole), preset=9)) / lines
    return Figure(name, sum(map(len, parts)) / lines, "bytes/line", _CEILING, least, target)


def _gzip(batch: bytes) -> bytes:
    """As gRPC compresses a message: zlib's default, with the head and tail of gzip."""
    return zlib.compress(batch, wbits=_GZIP)
