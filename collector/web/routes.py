"""The addresses of the pages, who may open them, and what is shown in place of a page that cannot be."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import Response
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from gputally.collector.allocation.query import QueryError
from gputally.collector.api.problems import Busy, QueryMistakes
from gputally.collector.api.service import Service
from gputally.collector.auth.errors import Forbidden, Unauthenticated, Undecided
from gputally.collector.database.deadline import TooSlow
from gputally.collector.database.engine import DATABASE_ERRORS
from gputally.collector.web import (
    about,
    advice,
    gpus,
    idle,
    links,
    namespace,
    overview,
    page,
    queues,
    statement,
    workload,
    workloads,
)
from gputally.collector.web.asked import Asked
from gputally.collector.web.page import Page

View = Callable[[Asked], Awaitable[Page]]

_PAGES: Mapping[str, View] = {
    links.OVERVIEW: overview.overview,
    links.WORKLOADS: workloads.workloads,
    links.WORKLOAD: workload.workload,
    links.QUEUES: queues.queues,
    links.ADVICE: advice.advice,
    links.IDLE: idle.idle,
    links.GPUS: gpus.gpus,
    links.NAMESPACES + "{namespace:path}": namespace.namespace,
    links.STATEMENT: statement.statement,
    links.ABOUT: about.about,
}
_FILES = {page.STYLE: "text/css", page.ICON: "image/svg+xml"}
_FOR_A_YEAR = "public, max-age=31536000, immutable"  # their addresses name their content


def page_routes(service: Service) -> list[BaseRoute]:
    """The pages over a service, and the files that they refer to."""
    pages: list[BaseRoute] = [Route(path, _answering(service, view), methods=["GET"]) for path, view in _PAGES.items()]
    return [*pages, Route("/static/{name}", _static, methods=["GET"])]


def _answering(service: Service, view: View) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            reader = await service.readers.authenticate(request.headers.get("Authorization"))
            return page.answer(await view(Asked(request, service, reader, service.now_us())))
        except _EXPECTED as error:
            return _refused(error)

    return answer


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _FILES:
        raise HTTPException(404)
    headers = {**page.HEADERS, "Cache-Control": _FOR_A_YEAR}
    return Response(page.static(name), headers=headers, media_type=_FILES[name])


_EXPECTED = (
    *(Unauthenticated, Forbidden, Undecided, Busy, TooSlow, QueryMistakes, QueryError, HTTPException),
    *DATABASE_ERRORS,
)
# What is asked for the token: a browser's own dialogue, whose password field takes it.
_LOGIN = {"WWW-Authenticate": 'Basic realm="GPU Tally: any name, and your token as the password", charset="UTF-8"'}
_LATER = {"Retry-After": "5"}


def _refused(error: Exception) -> Response:
    """A page that says why there is none; nothing of a database's own message, which may name hosts and values."""
    if isinstance(error, QueryMistakes):
        return _error(422, "This page cannot be shown", [f"{name}: {message}" for name, message in error.mistakes])
    if isinstance(error, HTTPException):
        return _error(error.status_code, "This page cannot be shown", [str(error.detail)])
    if isinstance(error, DATABASE_ERRORS):
        return _error(503, "Not able to answer now", ["the database cannot be read now"], _LATER)
    status, title, headers = next(_ANSWERS[kind] for kind in _ANSWERS if isinstance(error, kind))
    return _error(status, title, [str(error)], headers)


_ANSWERS: Mapping[type[Exception], tuple[int, str, Mapping[str, str]]] = {
    Unauthenticated: (401, "Nobody is logged in", _LOGIN),
    Forbidden: (403, "Not allowed", {}),
    QueryError: (422, "This page cannot be shown", {}),
    Undecided: (503, "Not able to answer now", _LATER),
    Busy: (503, "Not able to answer now", _LATER),
    TooSlow: (504, "The answer takes too long", {}),
}


def _error(status: int, title: str, details: list[str], headers: Mapping[str, str] | None = None) -> Response:
    return page.answer(Page("error.html", title, "", {"details": details}, status), headers)
