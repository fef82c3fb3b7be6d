"""The application: every address of the API, its errors, its OpenAPI document; the pages for machines beside it."""

from collections.abc import Iterable, Sequence

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute

from gputally.collector.api import (
    advice,
    allocation,
    budgets,
    coverage,
    devices,
    idle,
    namespaces,
    queues,
    rates,
    statements,
    waste,
    workloads,
)
from gputally.collector.api.problems import Problem, add_handlers
from gputally.collector.api.service import Service

PREFIX = "/api/v1"
ROUTERS = tuple(
    of.router
    for of in (
        *(allocation, idle, waste, advice, workloads, queues, devices, coverage),
        *(rates, namespaces, budgets, statements),
    )
)


def make_app(service: Service, routers: Iterable[APIRouter] = (), status: Sequence[BaseRoute] = ()) -> FastAPI:
    """The application over a service; `routers` are further addresses below /api/v1, `status` whole ones."""
    app = FastAPI(
        title="GPU Tally",
        version="1",
        description="Where every GPU-second went. Unknown is null, never 0; parameters that do not exist are refused.",
        docs_url=None,  # the pages would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    add_handlers(app)
    for router in (*ROUTERS, *routers):
        app.include_router(router, prefix=PREFIX)
    app.router.routes.extend(status)
    _describe_problems(app)
    return app


def _describe_problems(app: FastAPI) -> None:
    """Put the problem document's schema into the OpenAPI document, in the place of FastAPI's own errors."""
    document = app.openapi()
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(schema.pop("$defs"))
    schemas["Problem"] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
