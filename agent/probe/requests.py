"""What a probe is asked, through the pipe downwards: nobody waits, neither the parent for a child that is slow or hangs
nor the child for the rest of a request that did not fit.

A pipe holds 64 KiB, but a page or two where its user has many of them (pipe(7)): 200 pods. So a request goes in as many
pieces as it takes.
"""

import io
import os
import pickle
import select

from gputally.agent.probe.frame import HEAD, framed
from gputally.agent.probe.message import Known

_READ_BYTES = 1 << 16


class Outbox:
    """The parent's end, which it owns. What waits is bounded: of what is asked for again only the newest is told."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._pipe = io.FileIO(fd, "wb")
        self._waiting: dict[object, object] = {}
        self._begun = b""  # the rest of what the child has in part

    @property
    def is_empty(self) -> bool:
        """Whether all of it is in the pipe."""
        return not (self._begun or self._waiting)

    def put(self, request: object) -> None:
        """Ask this as soon as there is room. A later `Known` takes the place of one that waits."""
        self._waiting[Known if isinstance(request, Known) else request] = request

    def push(self) -> None:
        """Write as much as the pipe takes now; raises OSError when the child is gone."""
        while not self.is_empty:
            if not self._begun:
                request = self._waiting.pop(next(iter(self._waiting)))
                self._begun = framed(pickle.dumps(request, pickle.HIGHEST_PROTOCOL))
            written = self._pipe.write(self._begun)
            if written is None:  # it is full
                return
            self._begun = self._begun[written:]

    def close(self) -> None:
        """Close the pipe; closing twice is harmless."""
        self._pipe.close()


class Inbox:
    """The child's end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiter = select.poll()
        self._waiter.register(fd, select.POLLIN)
        self._begun = bytearray()

    def has_mail(self, timeout_us: int | None) -> bool:
        """Whether there is something to take within that time, be it the end; None: as long as that takes."""
        return bool(self._waiter.poll(None if timeout_us is None else timeout_us / 1000))

    def take(self) -> list[object]:
        """What was asked and has come whole, in its order; raises EOFError when the parent is gone."""
        data = os.read(self._fd, _READ_BYTES)
        if not data:
            raise EOFError
        self._begun += data
        taken = []
        while (request := self._whole()) is not None:
            taken.append(request)
        return taken

    def _whole(self) -> object | None:
        """The first request; None while some of it is missing."""
        if len(self._begun) < HEAD.size:
            return None
        end = HEAD.size + HEAD.unpack_from(self._begun)[0]
        if len(self._begun) < end:
            return None
        request: object = pickle.loads(self._begun[HEAD.size : end])  # noqa: S301 - from our own parent
        del self._begun[:end]
        return request
