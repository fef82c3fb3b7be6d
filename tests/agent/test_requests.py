"""What a probe is asked comes whole and in its order, however small the pipe and however slow whoever reads it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.agent.probe.message import BEGIN, FLUSH, Known, TakeUp
from gputally.agent.probe.requests import Inbox, Outbox

ONE_PAGE = 4096  # what a pipe is cut to where its user has too many


@contextmanager
def pipe() -> Iterator[tuple[Outbox, Inbox]]:
    """Both ends of a pipe as small as there is one."""
    read_fd, write_fd = os.pipe()
    fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, ONE_PAGE)
    try:
        with closing(Outbox(write_fd)) as outbox:
            yield outbox, Inbox(read_fd)
    finally:
        os.close(read_fd)


def told(outbox: Outbox, inbox: Inbox) -> list[object]:
    """What comes out until nothing is left, as a parent and a child that take turns."""
    found = inbox.take() if inbox.has_mail(0) else []
    while not outbox.is_empty or inbox.has_mail(0):
        outbox.push()
        found += inbox.take()
    return found


def known(number: int, name: str = "uid") -> Known:
    return Known(frozenset(f"{name}-00000000-0000-4000-8000-{i:012x}" for i in range(number)))


def test_a_request_many_times_as_large_as_the_pipe_comes_whole() -> None:
    with pipe() as (outbox, inbox):
        outbox.put(known(5000))
        outbox.push()
        assert not outbox.is_empty
        assert inbox.take() == []  # it has the beginning, and goes on with its samples
        assert told(outbox, inbox) == [known(5000)]


def test_of_the_pods_that_were_to_be_known_only_the_newest_wait() -> None:
    with pipe() as (outbox, inbox):
        for n in range(1000):
            outbox.put(known(100, str(n)))
            outbox.push()
        assert told(outbox, inbox) == [known(100, "0"), known(100, "999")]


def test_who_reads_no_more_is_noticed() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with closing(Outbox(write_fd)) as outbox:
        outbox.put(FLUSH)
        with pytest.raises(BrokenPipeError):
            outbox.push()


def test_the_end_comes_behind_what_was_asked_before() -> None:
    with pipe() as (outbox, inbox):
        for request in (BEGIN, FLUSH):
            outbox.put(request)
        outbox.push()
        outbox.close()
        outbox.close()
        assert inbox.take() == [BEGIN, FLUSH]
        assert inbox.has_mail(None)
        with pytest.raises(EOFError):
            inbox.take()


REQUESTS = st.one_of(
    st.builds(known, st.integers(0, 300), st.text("ab", max_size=3)),
    st.builds(TakeUp, st.integers(0, 15)),
    st.just(FLUSH),
)


@given(st.lists(st.tuples(REQUESTS, st.booleans()), max_size=30))
def test_nothing_is_lost_but_pods_that_newer_ones_took_the_place_of(steps: list[tuple[object, bool]]) -> None:
    """Whoever reads now and then hears each request after it was asked, and ends up with the pods that were last."""
    asked = [request for request, _ in steps]
    with pipe() as (outbox, inbox):
        heard: list[tuple[int, object]] = []
        for at, (request, reads) in enumerate(steps):
            outbox.put(request)
            outbox.push()
            if reads and inbox.has_mail(0):
                heard += ((at, each) for each in inbox.take())
        heard += ((len(steps), each) for each in told(outbox, inbox))
    for at, request in enumerate(asked):
        assert isinstance(request, Known) or any(each == request and then >= at for then, each in heard)
    assert {each for _, each in heard} <= set(asked)
    assert last_known([each for _, each in heard]) == last_known(asked)


def last_known(requests: list[object]) -> object:
    return next((each for each in reversed(requests) if isinstance(each, Known)), None)
