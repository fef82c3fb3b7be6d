"""The kubelet's answers are read as they stand on the wire where all is well, and by the library where not."""

import queue
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kubelet import FakeKubelet, allocatable_answer, list_answer

from gputally.agent.reservations import pod_resources
from gputally.agent.reservations.pod_resources import PodResources

ANSWER = list_answer([("team-a", "train", "main", ["GPU-1"])])
LARGE = list_answer([("team-a", f"train-{n}", "main", [f"GPU-{n}"]) for n in range(4000)])
SETTINGS, ACK, PING, GOAWAY, RST = 4, 1, 6, 7, 3
# As grpc-go writes them: `:status: 200`, `content-type: application/grpc`; then `grpc-status: 0`, `grpc-message: `.
BEGIN = bytes.fromhex("885f8b1d75d0620d263d4c4d6564")
END = bytes.fromhex("40889acac8b21234da8f013040899acac8b5254207317f00")
EXHAUSTED = bytes.fromhex("40889acac8b21234da8f013840899acac8b5254207317f00")  # grpc-status: 8


class AskedTheLibrary(Exception):
    """What happens here instead of it."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def message(body: bytes, compressed: int = 0) -> bytes:
    return struct.pack(">BI", compressed, len(body)) + body


def answered(*frames: bytes, begin: bytes = BEGIN, end: bytes = END) -> bytes:
    """What a kubelet says to a call, with these frames for its message."""
    hello = frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 16_384)) + frame(8, 0, 0, struct.pack(">I", 983_041))
    return hello + frame(1, 4, 1, begin) + b"".join(frames) + frame(1, 5, 1, end)


WELL = answered(frame(0, 0, 1, message(ANSWER)))


class Scripted:
    """A socket that says the same to each call, in pieces, and hears what the caller says."""

    def __init__(self, path: Path) -> None:
        self.says: Sequence[bytes] = ()
        self.heard = b""
        self._calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:  # it is closed
                return
            with closing(caller):
                self._calls.put(self._talk(caller))

    def _talk(self, caller: socket.socket) -> bytes:
        heard = b""
        with suppress(OSError):  # a caller who has heard enough goes away in the middle
            heard = caller.recv(1 << 16)
            for piece in self.says:
                caller.sendall(piece)
            caller.shutdown(socket.SHUT_WR)
            while data := caller.recv(1 << 16):
                heard += data
        return heard

    def hear(self) -> None:
        """Wait for the end of a call, whose words are all in `heard` then; raises queue.Empty after a minute."""
        self.heard = self._calls.get(timeout=60)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scripted, Path]]:
    path = tmp_path_factory.mktemp("k") / "s"
    kubelet = Scripted(path)
    yield kubelet, path
    kubelet.close()


@pytest.fixture(scope="module")
def without_library() -> Iterator[None]:
    def refused(*_: object, **__: object) -> grpc.Channel:
        raise AskedTheLibrary

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pod_resources.grpc, "insecure_channel", refused)
        patch.setattr(pod_resources, "CALL_DEADLINE_S", 60.0)  # a busy machine is no reason to ask the library
        yield


def held(scripted: tuple[Scripted, Path], *says: bytes) -> bytes:
    kubelet, path = scripted
    kubelet.says = says
    try:
        return PodResources(path).held().SerializeToString()
    finally:
        kubelet.hear()


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("answer", [ANSWER, LARGE, b""], ids=["small", "of many frames", "nobody holds anything"])
def test_a_real_server_is_asked_without_the_library(answer: bytes, tmp_path: Path) -> None:
    with FakeKubelet(tmp_path / "k") as kubelet:
        can = allocatable_answer(["GPU-1"])
        kubelet.answer(answer, can)
        asked = PodResources(tmp_path / "k")
        assert asked.held().SerializeToString() == answer
        assert asked.allocatable().SerializeToString() == can


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize(
    "says",
    [
        WELL,
        answered(
            frame(0, 0, 1, message(ANSWER)[:3]), frame(PING, 0, 0, b"12345678"), frame(0, 0, 1, message(ANSWER)[3:])
        ),
        answered(frame(0, 0, 1, message(ANSWER)), end=b"\x00\x0bgrpc-status\x010"),
    ],
    ids=["as grpc-go", "in two frames, with a ping", "in plain letters"],
)
def test_an_answer_is_understood_however_it_is_written(scripted: tuple[Scripted, Path], says: bytes) -> None:
    assert held(scripted, says) == ANSWER


@pytest.mark.usefixtures("without_library")
def test_an_answer_may_come_in_any_pieces(scripted: tuple[Scripted, Path]) -> None:
    assert held(scripted, *(bytes([byte]) for byte in WELL)) == ANSWER


@pytest.mark.usefixtures("without_library")
def test_what_must_be_answered_is_answered(scripted: tuple[Scripted, Path]) -> None:
    held(scripted, answered(frame(PING, 0, 0, b"12345678"), frame(0, 0, 1, message(ANSWER))))
    assert scripted[0].heard.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert b"/v1.PodResourcesLister/List" in scripted[0].heard
    assert frame(SETTINGS, ACK, 0) in scripted[0].heard
    assert frame(PING, ACK, 0, b"12345678") in scripted[0].heard


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize(
    "says",
    [
        b"",
        WELL[:-1],
        answered(frame(0, 0, 1, message(ANSWER)), end=EXHAUSTED),
        answered(),
        answered(frame(0, 0, 1, message(ANSWER, compressed=1))),
        answered(frame(0, 0, 1, message(ANSWER) + b"more")),
        answered(frame(0, 8, 1, b"\x00" + message(ANSWER))),
        answered(frame(0, 0, 1, message(b"\xff"))),
        answered(frame(RST, 0, 1, b"\0\0\0\2")),
        answered(frame(GOAWAY, 0, 0, bytes(8))),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
    ids=str,
)
def test_whatever_else_comes_is_the_librarys(scripted: tuple[Scripted, Path], says: bytes) -> None:
    with pytest.raises(AskedTheLibrary):
        held(scripted, says)


@pytest.mark.usefixtures("without_library")
@given(st.integers(0, len(WELL) - 1), st.binary(max_size=4))
def test_no_answer_that_was_changed_is_taken_for_another(
    scripted: tuple[Scripted, Path], at: int, instead: bytes
) -> None:
    """But where the change is within the message, which has no sum of its own, or says the same in other words."""
    start = WELL.index(ANSWER)
    changed = WELL[:at] + instead + WELL[at + len(instead) :]
    with suppress(AskedTheLibrary):
        found = held(scripted, changed)
        is_inside = start <= at < start + len(ANSWER)
        assert found == ANSWER or is_inside


@pytest.mark.usefixtures("without_library")
def test_where_nobody_listens_the_library_says_so(tmp_path: Path) -> None:
    asked = PodResources(tmp_path / "nothing")
    with pytest.raises(AskedTheLibrary):
        asked.held()
    asked.close()
    asked.close()
