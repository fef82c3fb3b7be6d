"""The kubelet's two questions, as unary gRPC calls over its socket: plain bytes where all is well, else the library.

A channel of the library has threads and timers of its own. One that is opened for two calls every ten seconds keeps
them awake for as long, which cost nearly half as much as sampling eight GPUs. So a call is written here as the frames
that it is (RFC 9113), and its answer is read as far as an answer goes that is what it should be. Whatever else comes,
and whatever does not come, is asked for again by the library, which knows what it means.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Protocol, Self, TypeVar

import grpc
from google.protobuf.message import DecodeError

from gputally.proto.podresources_pb2 import (
    AllocatableResourcesRequest,
    AllocatableResourcesResponse,
    ListPodResourcesRequest,
    ListPodResourcesResponse,
)

CALL_DEADLINE_S = 5.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024  # what the kubelet's own client accepts; gRPC's default of 4 MiB is too little

_SERVICE = "/v1.PodResourcesLister/"
_AUTHORITY = b"localhost"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4  # flags
_FRAME = Struct(">BHBBI")  # length in 24 bits, type, flags, stream
_MESSAGE = Struct(">BI")  # of gRPC: compressed or not, length
_WINDOW_BYTES = 2 * MAX_ANSWER_BYTES  # so that no answer waits for us to make room
_INITIAL_WINDOW_SIZE = 4
_STREAM = 1
# A trailer's `grpc-status: 0` without its first byte, by RFC 7541: with Huffman's codes as Go writes it, and plain.
_STATUS_OK = (b"\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x01\x30", b"\x0bgrpc-status\x010")
_READ_BYTES = 1 << 16


class _Answer(Protocol):
    def ParseFromString(self, data: bytes, /) -> int: ...  # noqa: N802 - protobuf's name


T = TypeVar("T", bound=_Answer)


class _Unusual(Exception):
    """Not the answer that a kubelet gives when all is well."""


class PodResources:
    """Asks the kubelet that listens on a socket; raises grpc.RpcError. `close` lets go of it; a later call connects."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._channel: grpc.Channel | None = None

    def held(self) -> ListPodResourcesResponse:
        """What containers hold."""
        return self._ask("List", ListPodResourcesRequest().SerializeToString(), ListPodResourcesResponse)

    def allocatable(self) -> AllocatableResourcesResponse:
        """What can be held."""
        request = AllocatableResourcesRequest().SerializeToString()
        return self._ask("GetAllocatableResources", request, AllocatableResourcesResponse)

    def close(self) -> None:
        """Let go of the channel, if there is one."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _ask(self, name: str, request: bytes, kind: type[T]) -> T:
        end_s = time.monotonic() + CALL_DEADLINE_S
        answer = kind()
        with suppress(OSError, _Unusual, DecodeError):
            with _Connection(self._path, end_s) as connection:
                answer.ParseFromString(connection.call(f"{_SERVICE}{name}".encode(), request))
            return answer
        call = self._connected().unary_unary(f"{_SERVICE}{name}", None, kind.FromString)  # type: ignore[attr-defined]
        found: T = call(request, timeout=max(0.0, end_s - time.monotonic()))
        return found

    def _connected(self) -> grpc.Channel:
        if self._channel is None:
            options = [
                ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
                ("grpc.use_local_subchannel_pool", 1),  # a new channel must not inherit the old one's backoff
                ("grpc.default_authority", _AUTHORITY.decode()),
            ]
            self._channel = grpc.insecure_channel(f"unix:{self._path}", options=options)
        return self._channel


class _Connection:
    """One connection for one call, until `end_s` by the monotonic clock. Raises OSError, and _Unusual."""

    def __init__(self, path: Path, end_s: float) -> None:
        self._end_s = end_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._heard = bytearray()
        try:
            self._wait()
            self._socket.connect(str(path))
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._socket.close()

    def call(self, method: bytes, request: bytes) -> bytes:
        """The answer's message."""
        self._socket.sendall(_opening(method, request))
        body = bytearray()
        for kind, flags, payload in self._frames():
            if kind == _DATA and not flags and len(body) + len(payload) <= MAX_ANSWER_BYTES:
                body += payload
            elif kind == _HEADERS and flags == _END_HEADERS and not body:
                continue  # the answer begins; what it is called tells nothing that its end does not
            elif kind == _HEADERS and flags == _END_HEADERS | _END_STREAM:
                if not any(status in payload for status in _STATUS_OK):
                    raise _Unusual
                return _message(bytes(body))
            else:
                raise _Unusual
        raise _Unusual

    def _frames(self) -> Iterator[tuple[int, int, bytes]]:
        """(type, flags, payload) of the frames of our call; those of the connection are answered here."""
        while True:
            high, low, kind, flags, stream = _FRAME.unpack(self._read(_FRAME.size))
            payload = self._read(high << 16 | low)
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                self._socket.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            elif stream == _STREAM and kind != _WINDOW_UPDATE:
                yield kind, flags, payload
            elif kind in (_GOAWAY, _RST_STREAM):
                raise _Unusual

    def _read(self, size: int) -> bytes:
        while len(self._heard) < size:
            self._wait()
            data = self._socket.recv(_READ_BYTES)
            if not data:
                raise _Unusual
            self._heard += data
        found = bytes(self._heard[:size])
        del self._heard[:size]
        return found

    def _wait(self) -> None:
        """Let the next call of the system take as long as there is time."""
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise _Unusual
        self._socket.settimeout(left_s)


def _opening(method: bytes, request: bytes) -> bytes:
    """All that a client says: who it is, how much it takes, and the call."""
    settings = Struct(">HI").pack(_INITIAL_WINDOW_SIZE, _WINDOW_BYTES)
    message = _MESSAGE.pack(0, len(request)) + request
    return b"".join(
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _frame(_SETTINGS, 0, 0, settings),
            _frame(_WINDOW_UPDATE, 0, 0, Struct(">I").pack(_WINDOW_BYTES)),
            _frame(_HEADERS, _END_HEADERS, _STREAM, _headers(method)),
            _frame(_DATA, _END_STREAM, _STREAM, message),
        )
    )


def _headers(method: bytes) -> bytes:
    """As HPACK has them, with the numbers of its static table; nothing is to be remembered."""
    post, http, path, authority, content_type, new = b"\x83", b"\x86", b"\x04", b"\x01", b"\x0f\x10", b"\x00"
    return b"".join(
        (
            *(post, http, path, _text(method), authority, _text(_AUTHORITY)),
            *(content_type, _text(b"application/grpc"), new, _text(b"te"), _text(b"trailers")),
            *(new, _text(b"grpc-timeout"), _text(b"%dS" % CALL_DEADLINE_S)),
        )
    )


def _text(value: bytes) -> bytes:
    return bytes([len(value)]) + value  # all of ours are shorter than 127 bytes


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _message(body: bytes) -> bytes:
    """The one message of a body."""
    if len(body) < _MESSAGE.size:
        raise _Unusual
    compressed, size = _MESSAGE.unpack_from(body)
    if compressed or size != len(body) - _MESSAGE.size:
        raise _Unusual
    return body[_MESSAGE.size :]
