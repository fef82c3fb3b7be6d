"""An HTTP server in the event loop that the streams live in."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator

import uvicorn
from starlette.applications import Starlette

from gputally.collector.address import Address

_IDLE_S = 10  # a kept connection that asks nothing for so long is closed
_HEADER_BYTES = 32_768  # a token has at most half of it
_CONNECTIONS = 512
_DRAIN_S = 5  # what is being answered when it stops has this long


class HttpServer:
    """Serves an application until it is closed; `tls` None: plain text."""

    def __init__(self, app: Starlette, listen: Address, flag: str, tls: ssl.SSLContext | None = None) -> None:
        """Listens at once; raises OSError that names the flag where it cannot."""
        self._listen = listen
        self._socket = _bind(listen, flag)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            http="h11",
            ws="none",
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_DRAIN_S,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            limit_concurrency=_CONNECTIONS,
        )
        config.load()
        config.ssl = tls
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> Address:
        """Where it listens, with the port that the system chose for port 0."""
        return Address(self._listen.host, self._socket.getsockname()[1])

    def start(self) -> None:
        """Answer requests, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve([self._socket]))

    async def close(self) -> None:
        """Stop listening, let what is being answered end, and wait for it."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are the process's, not one server's."""
        yield


def _bind(listen: Address, flag: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        return socket.create_server((listen.host, listen.port), family=family, backlog=128)
    except OSError as error:
        raise OSError(f"cannot listen on {listen.text} ({flag}): {error.strerror or error}") from error
