"""Errors as RFC 9457 problem documents: what is wrong, with which parameter, and what was probably meant."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from gputally.collector.allocation.query import QueryError
from gputally.collector.auth.errors import Forbidden, Unauthenticated, Undecided
from gputally.collector.database.deadline import TooSlow
from gputally.collector.database.engine import DATABASE_ERRORS
from gputally.collector.settings import nearest

MEDIA_TYPE = "application/problem+json"
_RETRY_S = 5
_SHOWN = 100  # characters of what was sent that an answer repeats
_QUOTED = re.compile(r"'([^']*)'")


class Mistake(BaseModel):
    """One thing that is wrong with a request."""

    parameter: str = Field(description="The parameter's name, as it was sent.")
    message: str = Field(description="What is wrong, and what is expected.")


class Problem(BaseModel):
    """Why a request has no answer."""

    title: str
    status: int
    detail: str
    errors: list[Mistake] = Field(default=[], description="Everything that is wrong with the parameters.")


class QueryMistakes(ValueError):
    """Parameters that cannot be used; all of them at once."""

    def __init__(self, mistakes: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in mistakes))
        self.mistakes = tuple(mistakes)


class Busy(Exception):
    """Too many questions are being answered already."""


def add_handlers(app: FastAPI) -> None:
    """Answer every error that a request may meet with a problem document."""
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(QueryMistakes, _mistaken)
    app.add_exception_handler(QueryError, _mistaken)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Unauthenticated, _unauthenticated)
    app.add_exception_handler(Forbidden, _forbidden)
    for away in (Undecided, Busy, *DATABASE_ERRORS):
        app.add_exception_handler(away, _away)
    app.add_exception_handler(TooSlow, _slow)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that an address may answer with, for the OpenAPI document."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _TITLES[status], "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses
    }


_TITLES: Mapping[int, str] = {
    401: "Nobody is logged in",
    403: "Not allowed",
    404: "There is nothing here",
    405: "This can only be read",
    422: "The question cannot be answered",
    503: "Not able to answer now",
    504: "The answer takes too long",
}


def _problem(
    status: int, detail: str, mistakes: Sequence[tuple[str, str]] = (), headers: Mapping[str, str] | None = None
) -> JSONResponse:
    title = _TITLES.get(status, "The request failed")
    errors = [{"parameter": name, "message": message} for name, message in mistakes]
    body = {"title": title, "status": status, "detail": detail, "errors": errors}
    return JSONResponse(body, status, dict(headers or {}), MEDIA_TYPE)


async def _unreadable(request: Request, error: Exception) -> JSONResponse:
    """What FastAPI could not read; a parameter that does not exist is told with the one that was probably meant."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - by its registration
    known = _parameters(request)
    mistakes = [_mistake(problem, known) for problem in error.errors()]
    return _problem(422, "; ".join(f"{name}: {message}" for name, message in mistakes), mistakes)


def _mistake(problem: Mapping[str, Any], known: Sequence[str]) -> tuple[str, str]:
    name = str(problem["loc"][-1]) if len(problem["loc"]) > 1 else ""
    if problem["type"] == "extra_forbidden":
        return name, f"there is no such parameter{nearest(name, known) or ': there are ' + ', '.join(known)}"
    given = str(problem.get("input"))[:_SHOWN]
    choices = _QUOTED.findall(str(problem.get("ctx", {}).get("expected", "")))
    message = f"expected one of {', '.join(choices)}" if choices else str(problem["msg"]).removeprefix("Value error, ")
    return name, f"{given!r}: {message}{nearest(given, choices)}"


def _parameters(request: Request) -> Sequence[str]:
    """The names that an address knows."""
    operation = request.app.openapi()["paths"].get(request.url.path, {}).get(request.method.lower(), {})
    return [parameter["name"] for parameter in operation.get("parameters", ())]


async def _mistaken(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, QueryError):
        return _problem(422, f"{error.parameter}: {error}", [(error.parameter, str(error))])
    assert isinstance(error, QueryMistakes)  # noqa: S101 - by its registration
    return _problem(422, str(error), error.mistakes)


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - by its registration
    detail = "see /openapi.json for what there is" if error.status_code == 404 else str(error.detail)
    return _problem(error.status_code, detail, headers=error.headers)


async def _unauthenticated(_request: Request, error: Exception) -> JSONResponse:
    return _problem(401, str(error), headers={"WWW-Authenticate": "Bearer"})


async def _forbidden(_request: Request, error: Exception) -> JSONResponse:
    return _problem(403, str(error))


async def _away(_request: Request, error: Exception) -> JSONResponse:
    """Nothing of a database's own message: it may name hosts and values."""
    detail = "the database cannot be read now" if isinstance(error, DATABASE_ERRORS) else str(error)
    return _problem(503, detail, headers={"Retry-After": str(_RETRY_S)})


async def _slow(_request: Request, error: Exception) -> JSONResponse:
    return _problem(504, f"{error}: ask for a shorter window, a longer step, or fewer keys")
