"""The pages as text: who sees what, what is refused and how, and what is unknown is never 0."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any
from urllib.parse import parse_qsl

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.collector.api.fixtures import get
from tests.collector.web.fixtures import NOW_US, READERS, UTC, fill, fleet, pages, text
from tests.databases import PostgresServer
from tests.windows import all_received

from gputally.collector.auth.errors import Undecided
from gputally.collector.auth.reader import Reader
from gputally.collector.database.engine import open_database
from gputally.collector.ingest.commit import Committer
from gputally.collector.web.page import STYLE, version

ONE = "/workload?namespace=research&name=jobset/pretrain-llm"
NOW = ("/idle", "/advice", "/gpus")
PATHS = ("/", "/workloads", ONE, "/queues", *NOW, "/namespaces/research", "/statement", "/about")
OTHERS = ("training", "inference", "playground", "speech", "sandbox", "vision", "serving", "ann@", "gpu-1", "gpu-3")


def test_the_links_of_workloads_lead_to_what_they_name(app: FastAPI) -> None:
    found = text(app, "/workloads")
    for href in re.findall(r'href="(/workload\?[^"]*)"', found):
        page = words_of(text(app, "/workload", **_query(unescape(href))))
        assert "Pods" in page
        assert "No GPU time" not in page


def words_of(html: str) -> str:
    """What is read of a page, in one line."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html.replace("<wbr>", ""))))


@pytest.mark.parametrize("path", PATHS)
def test_every_page_keeps_to_itself(app: FastAPI, path: str) -> None:
    """No script, no style of its own, no address of another host; nothing is kept on a disk."""
    found = get(app, path)
    assert found.status_code == 200
    assert found.headers["content-type"] == "text/html; charset=utf-8"
    policy = found.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert found.headers["cache-control"] == "no-store"
    assert "<script" not in found.text
    assert not re.search(r"\sstyle=|\son\w+=|https?://|//\w", found.text)


def test_every_link_of_every_page_leads_somewhere(app: FastAPI) -> None:
    """Most stand on several pages, and are followed once."""
    links = {href for path in PATHS for href in re.findall(r'(?:href|src)="([^"#][^"]*)"', text(app, path))}
    for href in sorted(links):
        assert get(app, unescape(href).partition("?")[0], **_query(unescape(href))).status_code == 200, href


def _query(href: str) -> dict[str, str]:
    return dict(parse_qsl(href.partition("?")[2], strict_parsing=True, keep_blank_values=True)) if "?" in href else {}


@pytest.mark.parametrize("path", PATHS)
def test_without_a_token_there_is_a_login_and_nothing_else(guarded: FastAPI, path: str) -> None:
    found = get(guarded, path)
    assert found.status_code == 401
    assert found.headers["www-authenticate"].startswith("Basic realm=")
    assert "Nobody is logged in" in found.text
    assert "research" not in found.text


@pytest.mark.parametrize("path", PATHS)
def test_a_reader_of_one_namespace_sees_nothing_of_the_others(guarded: FastAPI, path: str) -> None:
    found = words_of(text(guarded, path, "research"))
    shown = found if path != "/about" else ""
    assert not [name for name in OTHERS if re.search(rf"\b{name}", shown)]
    assert not re.search(r"\bNobody\b|host user|\(platform\)", shown)


@pytest.mark.parametrize("path", ["/idle", "/namespaces/research"])
def test_what_is_held_now_is_told_by_its_workload_and_then_its_pod(guarded: FastAPI, path: str) -> None:
    assert "jobset/pretrain-llm pretrain-llm-0" in words_of(text(guarded, path, "research"))


@pytest.mark.parametrize("token", ["nothing", "elsewhere"])
@pytest.mark.parametrize("path", [path for path in PATHS if path not in ("/about", ONE)])  # which repeats what is asked
def test_a_reader_of_nothing_sees_nothing(guarded: FastAPI, path: str, token: str) -> None:
    found = words_of(text(guarded, path, token))
    assert not [name for name in (*OTHERS, "pretrain") if re.search(rf"\b{name}", found)]


def test_what_is_asked_about_anothers_namespace_is_as_if_it_did_not_exist(guarded: FastAPI) -> None:
    """Whether it exists is not told."""
    one, other = (
        words_of(text(guarded, f"/namespaces/{name}", "research")).replace(name, "NAME") for name in ("speech", "xyzzy")
    )
    assert one == other


def test_the_platforms_cost_is_not_spread_for_who_may_not_see_it(guarded: FastAPI) -> None:
    assert get(guarded, "/statement", "research", shareIdle="even").status_code == 422
    assert get(guarded, "/statement", "all", shareIdle="even").status_code == 200


def test_what_has_no_price_is_unpriced_and_what_was_not_measured_is_unknown(app: FastAPI) -> None:
    row = re.search(r"\(no team\).*?</tr>", text(app, "/"), re.DOTALL)
    assert row is not None
    figures = words_of(row[0])
    assert "unknown unpriced 0.00" in figures  # it was never idle, so its idle time costs nothing
    assert "unpriced unpriced" in words_of(text(app, "/namespaces/speech"))
    assert "unknown" in words_of(text(app, "/gpus", node="gpu-3"))


def test_without_a_rate_card_nothing_costs_nothing(engine: Engine) -> None:
    """Every amount is unpriced, none is 0."""
    Committer(engine, UTC, max_age_us=None).commit(all_received(fleet()[-400:]), now_us=NOW_US)
    with pages(engine) as app:
        for path in ("/", "/idle", "/namespaces/research", "/statement"):
            found = words_of(text(app, path))
            assert "unpriced" in found, path
            assert "0.00 " not in found.partition("sandbox")[0], path  # which was never idle


def test_an_empty_database_has_pages(engine: Engine) -> None:
    with pages(engine) as app:
        for path in PATHS:
            assert "GPU Tally" in text(app, path)
        assert "No GPU time is booked" in text(app, "/")
        assert "No window was committed" in text(app, "/gpus")


def test_both_databases_say_the_same(app: FastAPI, postgres_server: PostgresServer) -> None:
    engine = open_database(postgres_server.create(migrated=True))
    fill(engine)
    with pages(engine) as other:
        for path in PATHS:
            assert text(other, path) == text(app, path), path
    engine.dispose()


@pytest.mark.parametrize(
    ("path", "parameters", "said"),
    [
        ("/", {"mnth": "2026-11"}, "there is no such parameter: did you mean month?"),
        ("/", {"month": "2026-13"}, "month"),
        ("/", {"month": "today"}, "expected a month"),
        ("/", {"sort": "price"}, "sort"),
        ("/", {"by": "pod"}, "by"),
        ("/idle", {"atLeast": "-1"}, "atLeast"),
        ("/idle", {"sort": "<b>"}, "sort"),
        ("/gpus", {"page": "x"}, "page"),
        ("/statement", {"shareIdle": "odd"}, "shareIdle"),
        ("/idle", {"namespace": "a\x00b"}, "namespace"),
        ("/namespaces/a%00b", {}, "namespace"),
        ("/namespaces/a", {"cluster": "a" * 254}, "cluster"),
        ("/", {"month": "1969-12"}, "month"),
        ("/about", {"x": "1"}, "there is no such parameter"),
    ],
)
def test_a_page_that_cannot_be_says_why(app: FastAPI, path: str, parameters: dict[str, str], said: str) -> None:
    found = get(app, path, **parameters)
    assert (found.status_code, found.headers["content-type"]) == (422, "text/html; charset=utf-8")
    assert said in words_of(found.text)
    assert "<b>" not in found.text


def test_a_parameter_that_is_there_twice_is_refused(app: FastAPI) -> None:
    assert get(app, "/", month=["2026-11", "2026-10"]).status_code == 422  # type: ignore[arg-type]


def test_names_are_text_and_never_markup(app: FastAPI) -> None:
    found = get(app, "/namespaces/%3Cimg%20src=x%3E%2F%2e%2e")
    assert found.status_code == 200
    assert "<img" not in found.text


def test_a_door_that_cannot_tell_is_not_an_open_door(filled: Engine) -> None:
    class Away:
        async def authenticate(self, authorization: str | None) -> Reader:
            raise Undecided("ask again later")

    with pages(filled, Away()) as app:
        found = get(app, "/")
    assert (found.status_code, found.headers["retry-after"]) == (503, "5")


def test_a_database_that_is_away_is_no_page_and_no_secret() -> None:
    engine = open_database("postgresql://tally:hush@127.0.0.1:1/x")
    with pages(engine) as app:
        found = get(app, "/")
    assert found.status_code == 503
    assert "hush" not in found.text
    assert "127.0.0.1" not in found.text


def test_files_are_kept_for_as_long_as_their_address_holds(app: FastAPI) -> None:
    found = get(app, f"/static/{STYLE}", v=version())
    assert (found.status_code, found.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in found.headers["cache-control"]
    assert get(app, "/static/base.html").status_code == 404
    assert get(app, "/static/..%2Fpage.py").status_code == 404


def test_the_api_is_where_it_was(app: FastAPI) -> None:
    assert get(app, "/api/v1/allocation").status_code == 200
    assert get(app, "/nothing").status_code == 404


def test_a_month_says_that_it_is_closed(filled: Engine) -> None:
    with pages(filled, status_of=lambda *_: "closed") as app:
        assert "The month is closed" in text(app, "/")


def test_everything_in_the_statement_is_in_the_overview(app: FastAPI) -> None:
    """Teams, hosts and the platform add up to the same total."""
    overview = text(app, "/")
    total = re.search(r'class="figure total">([\d,.]+)', text(app, "/statement"))
    parts = re.findall(r'data-label="Cost EUR">([\d,.]+)', overview)
    assert total is not None
    shown = [float(part.replace(",", "")) for part in parts]
    assert sum(shown[:-3]) == pytest.approx(shown[-3], abs=0.005)  # the teams and their total
    assert sum(shown[-3:]) == pytest.approx(float(total[1].replace(",", "")), abs=0.02)


def test_readers_have_their_names_on_the_page(guarded: FastAPI) -> None:
    assert "Read as ben , who sees research" in words_of(text(guarded, "/", "research")).replace(",", " ,")
    assert set(READERS.readers) == {"all", "research", "elsewhere", "nothing"}


@pytest.mark.parametrize("path", ["/", "/idle", "/gpus", "/namespaces/research", "/statement"])
def test_a_page_takes_at_most_twice_its_queries(filled: Engine, path: str) -> None:
    """At the best of some tries: this machine may have other things to do."""
    reading_s: list[float] = []

    def ratio() -> float:
        reading_s.clear()
        began_s = time.perf_counter()
        text(app, path)
        return (time.perf_counter() - began_s) / sum(reading_s)

    with pages(filled) as app, counted(app, reading_s):
        assert any(ratio() < 2 for _ in range(5))


@contextmanager
def counted(app: FastAPI, reading_s: list[float]) -> Iterator[None]:
    """Write down how long the questions at the desk take."""
    desk = app.state.service.desk
    answer = desk.answer

    async def timed(question: Callable[[], Any]) -> Any:
        began_s = time.perf_counter()
        try:
            return await answer(question)
        finally:
            reading_s.append(time.perf_counter() - began_s)

    desk.answer = timed
    yield
    desk.answer = answer


@pytest.mark.parametrize("month", ["1970-01", "1970-02", "2026-10", "2026-12", "9998-12", "month", "lastmonth"])
@pytest.mark.parametrize("path", ["/", "/namespaces/research", "/statement"])
def test_any_month_has_a_page(app: FastAPI, path: str, month: str) -> None:
    assert text(app, path, month=month)


@given(
    path=st.sampled_from(PATHS),
    name=st.sampled_from(
        ["month", "team", "namespace", "cluster", "node", "sort", "by", "atLeast", "page", "shareIdle"]
    ),
    value=st.text(max_size=12) | st.sampled_from(["2026-11", "cost", "team", "namespace", "node", "1", "-1", "even"]),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_whatever_is_asked_is_answered_or_refused(app: FastAPI, path: str, name: str, value: str) -> None:
    assert get(app, path, **{name: value}).status_code in (200, 422)
