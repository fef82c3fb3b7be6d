"""A message in a pipe comes whole, or its reader hears of the end."""

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.agent.probe import frame


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    os.close(read_fd)


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_messages_come_one_by_one_as_they_were(messages: list[bytes]) -> None:
    read_fd, write_fd = os.pipe()
    with closing(Connection(read_fd, writable=False)):  # which closes it
        for message in messages:
            frame.write(write_fd, message)
        os.close(write_fd)
        assert [frame.read(read_fd) for _ in messages] == messages
        with pytest.raises(EOFError):
            frame.read(read_fd)


def test_a_message_larger_than_the_pipe_comes_whole(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    message = os.urandom(1 << 20)
    writer = threading.Thread(target=frame.write, args=(write_fd, message))
    writer.start()
    assert frame.read(read_fd) == message
    writer.join()
    os.close(write_fd)


def test_a_writer_that_dies_amid_a_message_is_gone(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    os.write(write_fd, frame.framed(b"whole")[:-1])
    os.close(write_fd)
    with pytest.raises(EOFError):
        frame.read(read_fd)


def test_it_is_how_the_standard_library_does_it(pipe: tuple[int, int]) -> None:
    """The stand-ins of a probe in these tests speak through it."""
    read_fd, write_fd = pipe
    with Connection(write_fd, readable=False) as standard:
        standard.send_bytes(b"told")
        assert frame.read(read_fd) == b"told"
