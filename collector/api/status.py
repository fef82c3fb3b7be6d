"""/metrics for Prometheus, /healthz and /readyz for whoever restarts and routes."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gputally.collector.auth.errors import Forbidden
from gputally.collector.auth.reader import Readers


@dataclass(frozen=True, slots=True)
class Standing:
    """What is wrong, a line each. Only `problems` make the collector not ready: what keeps windows from being taken.

    `troubles` are those of parts that nobody who sends a window waits for. `ended`: what only a restart brings back.
    """

    problems: Sequence[str] = ()
    troubles: Sequence[str] = ()
    ended: str = ""


def status_routes(
    registry: CollectorRegistry, standing: Callable[[], Standing], readers: Readers | None = None
) -> list[Route]:
    """The three addresses.

    With `readers`, /metrics is for those who may see everything; without, for whoever reaches the port.
    """

    async def metrics(request: Request) -> Response:
        if readers is not None:
            reader = await readers.authenticate(request.headers.get("Authorization"))
            if not reader.sees_all:
                raise Forbidden(f"{reader.name} may not see the totals of every namespace")
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # In a thread: the totals are read from the database, which may be slow or away.
        return Response(await asyncio.to_thread(encode, registry), headers={"Content-Type": content_type})

    async def healthz(_request: Request) -> Response:
        ended = standing().ended
        return PlainTextResponse(f"{ended or 'ok'}\n", 503 if ended else 200)

    async def readyz(_request: Request) -> Response:
        now = standing()
        lines = [*(now.problems or ["ready"]), *now.troubles]
        return PlainTextResponse("\n".join(lines) + "\n", 503 if now.problems else 200)

    pages = {"/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
    return [Route(path, page, methods=["GET"]) for path, page in pages.items()]


def status_app(registry: CollectorRegistry, standing: Callable[[], Standing]) -> Starlette:
    """An application of these alone, for a port of their own, open to whoever reaches it."""

    async def elsewhere(_request: Request, _error: Exception) -> Response:
        return PlainTextResponse("here are /metrics, /healthz and /readyz\n", 404)

    return Starlette(routes=status_routes(registry, standing), exception_handlers={404: elsewhere})
