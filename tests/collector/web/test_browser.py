"""The pages in a real browser: every page, the sort, the way from an idle row to its namespace, print, access."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from tests.collector.web.browser import Watched, browser
from tests.collector.web.fixtures import pages
from tests.collector.web.serving import serving

from gputally.collector.auth.static_tokens import StaticTokens
from gputally.collector.web.page import MENU

AXE = pytest.importorskip("axe_core_python", reason="axe-core checks access: pip install axe-core-python")
ONE = "/workload?namespace=research&name=jobset/pretrain-llm"
PATHS = (
    *(path for _, path in MENU),
    ONE,
    "/?by=namespace",
    "/?team=language",
    "/namespaces/research",
    "/?month=2026-10",
)
MAIN = ("/", "/workloads", ONE, "/idle", "/gpus", "/namespaces/research")
LIGHT = {"color_scheme": "light", "viewport": {"width": 1240, "height": 800}}
DARK = {"color_scheme": "dark", "viewport": {"width": 1240, "height": 800}}
PHONE = {"color_scheme": "light", "viewport": {"width": 360, "height": 780}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:
    with serving(app) as found:
        yield found


@pytest.fixture
def watched(chrome: Any, url: str, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A tab that must have logged nothing, and asked nobody else, when the test is over."""
    found = Watched(chrome, url, **getattr(request, "param", LIGHT))
    yield found
    found.close()


def column(tab: Any, label: str) -> list[str]:
    """What stands in a column of the page's first table, without the total."""
    cells = tab.locator("table").first.locator(f'tbody td[data-label="{label}"]')
    return [text.split("\n")[0] for text in cells.all_inner_texts()]


@pytest.mark.parametrize(("options", "paths"), [(LIGHT, PATHS), (DARK, MAIN), (PHONE, MAIN)])
def test_no_serious_obstacle(chrome: Any, url: str, options: dict[str, Any], paths: Sequence[str]) -> None:
    """axe-core: names, roles, contrast, headings, labels, what the keyboard reaches; in both colours, on a phone."""
    source = Path(AXE.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    watched = Watched(chrome, url, **options)
    for path in paths:
        # Through the debugger: the page itself lets no script run.
        found = watched.open(path).evaluate(f"() => {{ {source}; return axe.run({{resultTypes: ['violations']}}) }}")
        assert [_told(one) for one in found["violations"] if one["impact"] in ("serious", "critical")] == [], path
        assert len(found["passes"]) > 20  # it did look
    watched.close()


def _told(violation: dict[str, Any]) -> tuple[str, list[str]]:
    return violation["id"], [node["html"][:200] for node in violation["nodes"]]


@pytest.mark.parametrize("watched", [LIGHT, PHONE], indirect=True, ids=["desk", "phone"])
def test_every_page_fits_its_screen_and_says_what_it_is(watched: Watched) -> None:
    for path in PATHS:
        tab = watched.open(path)
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert re.fullmatch(r".+ · GPU Tally", tab.title())
        assert tab.locator("h1").count() == 1
        assert tab.locator("html").get_attribute("lang") == "en"


def test_a_heading_sorts_and_the_order_stands_in_the_address(watched: Watched) -> None:
    tab = watched.open("/?by=namespace")
    costs = [float(text.replace(",", "")) for text in column(tab, "Cost EUR") if text != "unpriced"]
    assert costs == sorted(costs, reverse=True)
    tab.get_by_role("columnheader", name="Idle", exact=True).get_by_role("link").click()
    assert tab.url.endswith("/?by=namespace&sort=idle")
    hours = [float(text.replace(",", "")) for text in column(tab, "Idle")]
    assert hours == sorted(hours, reverse=True)
    sorted_by = tab.locator("[aria-sort]")
    assert (sorted_by.count(), sorted_by.get_attribute("aria-sort")) == (1, "descending")
    tab.get_by_role("columnheader", name="Namespace").get_by_role("link").click()
    names = tab.locator("table").first.locator("tbody th[scope=row] a").all_inner_texts()
    assert names == sorted(names)


def test_an_idle_row_leads_to_its_namespace(watched: Watched) -> None:
    """Who holds eight GPUs and does nothing, since when, what it cost, and then the namespace itself."""
    tab = watched.open("/")
    tab.get_by_role("navigation", name="Pages").get_by_role("link", name="Idle now").click()
    row = tab.get_by_role("row").filter(has_text="pretrain-llm-0")
    assert row.locator("[data-label=GPUs]").inner_text().endswith("8")
    assert "18 Nov 2026, 09:37" in row.inner_text()
    assert "137.28" in row.inner_text()  # 4 h 46 min of eight GPUs at 3.60
    row.get_by_role("link", name="research").click()
    assert tab.url.endswith("/namespaces/research")
    assert tab.get_by_role("heading", level=1).inner_text().endswith("research")
    assert tab.get_by_role("row").filter(has_text="18 Nov 2026, 09:37").count() == 8


def test_idle_sorts_by_money_and_by_time(watched: Watched) -> None:
    tab = watched.open("/idle?atLeast=0")
    costs = [float(text.replace(",", "")) for text in column(tab, "Cost so far EUR")]
    assert costs == sorted(costs, reverse=True)
    tab.get_by_role("columnheader", name="Idle since").get_by_role("link").click()
    began = tab.locator("tbody time").evaluate_all("all => all.map(one => one.dateTime)")
    assert began == sorted(began)
    assert "atLeast=0" in tab.url


def test_what_is_not_known_is_not_called_idle(watched: Watched) -> None:
    """The notebook's node is silent: nobody knows whether it still idles."""
    tab = watched.open("/idle?atLeast=0")
    assert tab.get_by_text("notebook-0").count() == 0
    assert tab.get_by_text("east/gpu-4, last heard of").count() == 1


def test_gpus_lead_from_the_node_to_the_pod(watched: Watched) -> None:
    tab = watched.open("/gpus")
    tab.get_by_role("heading", name="gpu-3").get_by_role("link").click()
    assert tab.url.endswith("/gpus?cluster=east&node=gpu-3")
    assert tab.get_by_role("rowheader").count() == 3
    assert tab.get_by_role("row").filter(has_text="3g.40gb").count() == 2
    assert tab.get_by_role("row").filter(has_text="host user user-1000").count() == 1


def test_months_are_a_step_apart_and_have_addresses(watched: Watched) -> None:
    tab = watched.open("/namespaces/research")
    tab.get_by_role("link", name="Earlier").click()
    assert tab.url.endswith("/namespaces/research?month=2026-10")
    assert tab.get_by_text("No GPU time of research is booked in October 2026").count() == 1
    tab.get_by_role("link", name="Later").click()
    assert tab.url.endswith("month=2026-11")
    assert tab.get_by_role("link", name="Later").count() == 0


def test_the_keyboard_reaches_the_content_first(watched: Watched) -> None:
    tab = watched.open("/")
    tab.keyboard.press("Tab")
    assert tab.locator(":focus").inner_text() == "Skip to the content"
    tab.keyboard.press("Enter")
    assert tab.locator(":focus").get_attribute("id") == "main"
    tab.keyboard.press("Tab")
    assert tab.locator(":focus").inner_text() == "Earlier"


def test_colours_follow_the_system(chrome: Any, url: str) -> None:
    grounds = set()
    for options in (LIGHT, DARK):
        found = Watched(chrome, url, **options)
        grounds.add(found.open("/").evaluate("getComputedStyle(document.body).backgroundColor"))
        found.close()
    assert len(grounds) == 2


def test_a_statement_prints_on_a4(watched: Watched) -> None:
    """Upright A4, without the menus, black on white whatever the system's colours are."""
    tab = watched.open("/statement")
    printed = tab.pdf(prefer_css_page_size=True, print_background=False)
    boxes = {
        tuple(round(float(edge)) for edge in box.split()) for box in re.findall(rb"/MediaBox \[([^]]+)\]", printed)
    }
    assert boxes == {(0, 0, 595, 842)}
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.get_by_role("navigation").count() == 0
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.get_by_role("heading", level=1).is_visible()


def test_a_statement_can_be_had_as_a_file(watched: Watched) -> None:
    tab = watched.open("/statement?team=language")
    href = tab.get_by_role("link", name="CSV").get_attribute("href")
    assert "team=language" in href
    answer = tab.request.get(href)
    assert answer.status == 200
    assert "research" in answer.text()


def test_a_browser_logs_in_with_a_token_as_the_password(chrome: Any, filled: Engine, tmp_path: Path) -> None:
    """Its own dialogue asks, and from then on every page shows this reader's namespaces."""
    file = tmp_path / "tokens.toml"
    hashed = hashlib.sha256(b"s3cret").hexdigest()
    file.write_text(f'[[token]]\nname = "ben"\nsha256 = "{hashed}"\nrole = "viewer"\nnamespaces = ["research"]\n')
    with pages(filled, StaticTokens(file)) as app, serving(app) as url:
        found = Watched(chrome, url, http_credentials={"username": "anybody", "password": "s3cret"})
        tab = found.open("/?by=namespace")
        table = tab.get_by_role("region", name="GPU time by namespace")
        assert table.locator("tbody th[scope=row]").all_inner_texts() == ["research"]
        table.get_by_role("link", name="research").click()
        assert tab.get_by_role("heading", level=1).inner_text().endswith("research")
        found.close()
        stranger = chrome.new_context(base_url=url)
        assert stranger.request.get("/").status == 401
        stranger.close()
