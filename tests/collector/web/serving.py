"""The pages over a socket, from a thread of its own, for a real browser."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from gputally.collector.address import Address
from gputally.collector.api.server import HttpServer

_READY_S = 60


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The URL of a running server."""
    ready, addresses = threading.Event(), list[Address]()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        server = HttpServer(app, Address("127.0.0.1", 0), "--http-listen")
        server.start()
        addresses.append(server.address)
        ready.set()
        await stop.wait()
        await server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), name="pages")
    thread.start()
    try:
        assert ready.wait(_READY_S), "the server did not start"
        yield f"http://{addresses[0].text}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_READY_S)
        loop.close()
