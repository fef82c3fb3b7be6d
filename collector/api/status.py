"""/metrics for Prometheus, /healthz and /readyz for whoever restarts and routes."""

import asyncio
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gputally.collector.auth.errors import Forbidden
from gputally.collector.auth.reader import Readers

Problems = Callable[[], Sequence[str]]


def status_routes(registry: CollectorRegistry, problems: Problems, readers: Readers | None = None) -> list[Route]:
    """The three addresses. `problems` says what keeps the collector from working; none of them: ready.

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
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        found = problems()
        return PlainTextResponse("\n".join(found or ["ready"]) + "\n", 503 if found else 200)

    pages = {"/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
    return [Route(path, page, methods=["GET"]) for path, page in pages.items()]


def status_app(registry: CollectorRegistry, problems: Problems) -> Starlette:
    """An application of these alone, for a port of their own, open to whoever reaches it."""

    async def elsewhere(_request: Request, _error: Exception) -> Response:
        return PlainTextResponse("here are /metrics, /healthz and /readyz\n", 404)

    return Starlette(routes=status_routes(registry, problems), exception_handlers={404: elsewhere})
