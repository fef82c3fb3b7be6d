"""A month's statement, as it was closed or as it stands; it prints on A4."""

from functools import partial
from itertools import groupby
from operator import attrgetter

from pydantic import Field
from sqlalchemy import Connection
from starlette.exceptions import HTTPException

from gputally.collector.allocation.query import QueryError, Spread
from gputally.collector.exports import printed
from gputally.collector.statement.month import Month
from gputally.collector.statement.read import Found, Tampered, find_statement
from gputally.collector.statement.register import ZoneChanged
from gputally.collector.statement.view import View, Who
from gputally.collector.web import links
from gputally.collector.web.asked import Asked, Name, Parameters, months
from gputally.collector.web.page import Page

_API = "/api/v1/statements/"


class StatementParameters(Parameters):
    """What a statement can be asked."""

    month: str | None = Field(default=None, max_length=10)
    team: Name | None = None
    namespace: Name | None = None
    share_idle: Spread = Field(default=Spread.NONE, alias="shareIdle")


async def statement(asked: Asked) -> Page:
    """The page; raises QueryMistakes and QueryError."""
    given = asked.parameters(StatementParameters)
    month = asked.month(given.month)
    if given.share_idle is not Spread.NONE and not asked.scope.whole:
        raise QueryError("shareIdle", "the platform's cost is only for those who may see every namespace")
    found = await asked.service.settled(partial(_find, asked, month, given.share_idle))
    view = View(found.statement, Who(given.namespace, given.team, asked.scope), given.share_idle, found.stakes)
    spread = None if given.share_idle is Spread.NONE else given.share_idle.value
    kept = {"team": given.team, "namespace": given.namespace, "shareIdle": spread}
    values = {
        "months": months(asked, month, links.STATEMENT, **kept),
        "facts": printed.facts(view, found.content_hash),
        "summary": printed.summary(view),
        "sections": [(name, list(rows)) for name, rows in groupby(printed.rows(view), key=attrgetter("section"))],
        "idle": printed.idle(view) if found.statement.waste is None else (),
        "losses": printed.losses(view),
        "kinds": printed.kinds(view),
        "total": printed.total(view),
        "currency": found.statement.currency or "amount",
        "closed": found.closed is not None,
        "teams": sorted({item.key.team for item in view.items if item.key.team}),
        "given": given,
        "files": [(name, links.link(_API + month.name, format=name.lower(), **kept)) for name in ("CSV", "JSON")],
        **asked.frame,
    }
    return Page("statement.html", printed.title(view), links.STATEMENT, values)


def _find(asked: Asked, month: Month, how: Spread, connection: Connection) -> Found:
    try:
        return find_statement(connection, asked.zone, month, asked.scope, how)
    except (Tampered, ZoneChanged) as error:  # an operator has to look, not the one who asks
        raise HTTPException(503, str(error)) from error
