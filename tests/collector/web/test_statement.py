"""The page of a statement: a part of it tells nothing of the whole."""

from sqlalchemy import Engine
from tests.collector.api.fixtures import get
from tests.collector.web.fixtures import NOW_US, READERS, UTC, fill, pages, text
from tests.statements import close

from gputally.collector.database.engine import reading
from gputally.collector.statement.month import month_at
from gputally.collector.statement.register import closed_months


def test_hashes_of_the_whole_are_not_on_a_readers_part(engine: Engine) -> None:
    fill(engine)
    month = month_at(NOW_US, UTC)
    close(engine, month)
    with reading(engine) as connection:
        (closed,) = closed_months(connection)
    with pages(engine, READERS) as app:
        whole, part = (text(app, "/statement", token, month=month.name) for token in ("all", "research"))
        rates = get(app, f"/api/v1/statements/{month.name}", "all").json()["rates"]
    for one in (closed.content_hash, rates[0]["content_hash"][:12]):
        assert one in whole
        assert one not in part
