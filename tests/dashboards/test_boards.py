"""The dashboards as files: made by the code, about metrics that exist, with words and colours that mean one thing."""

import re
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from tests.dashboards.boards import BOARDS, FOLDER, ROOT, Json, panels, queries, variables, written
from tests.dashboards.colours import SIGHTS, least_distance
from tests.test_rules import ALERTS, RULES, Rule, alert_id, labels_of, rules, shown

from gputally.accounting.states import OwnerKind, State

DASHBOARDS = ROOT / "dashboards"
PAGE = (ROOT / "docs" / "dashboards.md").read_text()
STYLE = (ROOT / "collector" / "web" / "static" / "gputally.css").read_text()
PROVISIONED = {
    source["uid"]: source["type"]
    for path in (DASHBOARDS / "provisioning" / "datasources").glob("*.yaml")
    for source in yaml.safe_load(path.read_text())["datasources"]
}
METRIC = [query for query in queries() if not query.is_sql]
EVERY_BOARD = pytest.mark.parametrize("board", BOARDS)
LABEL = re.compile(r'(\w+)(?:=~?|!=|!~)"')
DERIVED = {"le", "instance", "alertname", "alertstate", "severity"}  # of histograms, and of Prometheus itself


def build(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(folder / "build.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_files_are_what_the_code_makes_and_drift_is_told(tmp_path: Path) -> None:
    """`make dashboards` writes them anew; what changed by hand, is missing, or is nobody's is named."""
    copy = tmp_path / "dashboards"
    shutil.copytree(DASHBOARDS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert (build(copy, "--check").returncode, build(copy, "--check").stderr) == (0, "")
    changed, missing, strange = (copy / "grafana" / f"{name}.json" for name in ("fleet", "node", "strange"))
    changed.write_text(changed.read_text().replace("Idle now", "Idle later"))
    missing.unlink()
    strange.write_text("{}")
    drifted = build(copy, "--check")
    assert drifted.returncode == 1
    assert re.findall(r"^(\w+)\.json", drifted.stderr, re.MULTILINE) == ["fleet", "node", "strange"]
    assert build(copy).returncode == 0
    assert {path.name: path.read_text() for path in (copy / "grafana").iterdir()} == {
        path.name: path.read_text() for path in FOLDER.iterdir()
    }


# Names: a panel about a metric that is not there is empty for ever.


def every_query_text(board: str) -> str:
    asked = [query.text for query in METRIC if query.board == board]
    chosen = [variable["query"] for variable in variables(board) if variable["type"] == "query"]
    return "\n".join([*asked, *(query["query"] for query in chosen if isinstance(query, dict))])


@EVERY_BOARD
def test_every_metric_exists(board: str) -> None:
    recorded = {rule["record"] for rule in rules(RULES)}
    named = {re.sub(r"_bucket$", "", name) for name in re.findall(r"\bgputally[_:][\w:]+", every_query_text(board))}
    assert named - shown() - recorded == set()


@EVERY_BOARD
def test_series_are_chosen_by_labels_that_they_have(board: str) -> None:
    for name, matchers in re.findall(r"\b(gputally_\w+)\{([^}]*)\}", every_query_text(board)):
        assert set(LABEL.findall(matchers)) <= labels_of(re.sub(r"_bucket$", "", name)) | DERIVED, name


@EVERY_BOARD
def test_series_are_grouped_by_labels_of_the_vocabulary(board: str) -> None:
    """Of joins and recorded series nobody can say by a look, so each label has to be one of docs/metrics.md."""
    metrics = (ROOT / "docs" / "metrics.md").read_text()
    grouped = re.findall(r"\b(?:by|on|without|group_left|group_right) \(([\w, ]+)\)", every_query_text(board))
    for label in {label for labels in grouped for label in labels.split(", ")} - DERIVED:
        assert re.search(rf"^\| `{label}` \|", metrics, re.MULTILINE), label


@EVERY_BOARD
def test_states_and_owners_are_words_of_the_code(board: str) -> None:
    for label, known in (("state", [*State]), ("owner_kind", [*OwnerKind]), ("part", [*State, "energy", "overhead"])):
        assert set(re.findall(rf'\b{label}="([^"]+)"', every_query_text(board))) <= set(map(str, known))


def test_what_is_not_known_is_not_made_0() -> None:
    made_up = re.compile(r"vector\(|absent\(|coalesce\([^)]*, *0", re.IGNORECASE)
    assert [str(query) for query in queries() if made_up.search(query.text)] == []


def test_the_alerts_that_are_shown_are_those_that_there_are() -> None:
    [firing] = {query.text for query in METRIC if query.panel == "Alerts that fire"}
    [names] = re.findall(r'alertname=~"([^"]+)"', firing)
    assert set(names.split("|")) == {alert["alert"] for alert in rules(ALERTS)}


# Words.


@EVERY_BOARD
def test_every_panel_says_what_it_means_and_what_it_says_of_the_unknown(board: str) -> None:
    assert BOARDS[board]["description"]
    for panel in panels(board):
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["description"].rstrip(".") != panel["description"], (
            f"{panel['title']}: a sentence ends with a stop"
        )
        if panel["type"] != "text":
            assert panel["title"]
            assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]


@EVERY_BOARD
def test_every_number_has_a_unit(board: str) -> None:
    for panel in panels(board):
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        if panel["type"] in ("stat", "timeseries", "barchart"):
            assert defaults["unit"], panel["title"]


def tables(board: str) -> list[Json]:
    return [panel for panel in panels(board) if panel["type"] == "table"]


@EVERY_BOARD
def test_a_table_is_sorted_by_a_column_that_it_has(board: str) -> None:
    for table in tables(board):
        [sort] = table["options"]["sortBy"]
        assert sort["desc"]
        columns = " ".join(written(table["transformations"] if "transformations" in table else table["targets"]))
        assert sort["displayName"] in columns, table["title"]


@EVERY_BOARD
def test_a_table_with_money_is_sorted_by_money(board: str) -> None:
    """But for the list of months, which is one in time."""
    for table in tables(board):
        money = {
            override["matcher"]["options"]
            for override in table["fieldConfig"]["overrides"]
            if {"id": "unit", "value": "locale"} in override["properties"]
        }
        assert not money or table["options"]["sortBy"][0]["displayName"] in money | {"Month"}, table["title"]


# Colours.


def colours() -> dict[str, str]:
    """Of the states on the pages, in the light; unobserved time is hatched there, in the colour of the lines here."""
    light = STYLE.partition("@media")[0]
    found = dict(re.findall(r"--([\w-]+): (#\w{6})", light))
    return {state: found["hatch" if state == "unobserved" else state] for state in State}


def fixed(panel: Json) -> dict[str, str]:
    """The colours of a panel's series or columns by name, and of a number of one state."""
    named = {
        re.sub(r"^/\^(\w+).*", r"\1", override["matcher"]["options"]): each["value"]["fixedColor"]
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "color"
    }
    whole = panel["fieldConfig"]["defaults"].get("color", {})
    return {**named, panel["title"].lower(): whole["fixedColor"]} if whole.get("mode") == "fixed" else named


@EVERY_BOARD
def test_a_state_has_one_colour_everywhere_which_is_that_of_the_pages(board: str) -> None:
    for panel in panels(board):
        if panel["type"] != "text":
            wrong = {name: colour for name, colour in fixed(panel).items() if colour != colours().get(name, colour)}
            assert wrong == {}, panel["title"]
            legends = {target.get("legendFormat", "").removesuffix(" ({{currency}})") for target in panel["targets"]}
            curves = set(State) if "{{part}}" in legends else set(State) & legends
            assert curves <= fixed(panel).keys(), panel["title"]


@pytest.mark.parametrize("sight", SIGHTS)
def test_states_and_parts_can_be_told_apart_by_whoever_sees_fewer_colours(sight: str) -> None:
    [whole] = [panel for panel in panels("chargeback") if panel["title"] == "The month so far"]
    assert set(State) < fixed(whole).keys()
    assert least_distance(list(fixed(whole).values()), sight) > 20


@EVERY_BOARD
def test_no_sum_of_money_goes_over_currencies(board: str) -> None:
    for panel in panels(board):
        for target in panel.get("targets", ()):
            expr = target.get("expr", "")
            assert "month_cost" not in expr or re.search(r"sum by \([^)]*\bcurrency\)", expr), panel["title"]


@EVERY_BOARD
def test_an_agent_that_is_replaced_halves_nothing(board: str) -> None:
    """Each of its two series has a part of the time: the greater of them is not all of it."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            for labels in re.findall(r"max by \(([^)]*)\) \(rate\(", target.get("expr", "")):
                assert "instance" in labels.split(", "), panel["title"]


@EVERY_BOARD
def test_what_is_missing_is_not_rounded_away(board: str) -> None:
    """99.96 % would be printed as 100 %, where a report says 99.9 %."""
    rounded = {
        "Coverage",
        "Coverage, this month",
        "Efficiency",
        "Efficiency, day",
        "Budget spent",
        "Spent",
        "Unobserved",
    }
    for panel in panels(board):
        queries = [target.get("expr") or target.get("rawSql", "") for target in panel.get("targets", ())]
        columns = {override["matcher"]["options"] for override in panel.get("fieldConfig", {}).get("overrides", ())}
        if rounded & {panel["title"], *columns}:
            assert re.search(r"floor|ceil|trunc", " ".join(queries)), panel["title"]


# What leads where.


@EVERY_BOARD
def test_data_sources_are_variables_whose_first_choice_is_provisioned(board: str) -> None:
    chosen = {one["name"]: one for one in variables(board) if one["type"] == "datasource"}
    for found in re.findall(r"'uid': '([^']+)'", str(BOARDS[board]["panels"])):
        assert found in {f"${{{name}}}" for name in chosen}
    for one in chosen.values():
        assert PROVISIONED[one["current"]["value"]] == one["query"]


def test_uids_are_stable_and_links_lead_to_them() -> None:
    """Links, alerts and bookmarks name them."""
    uids = {board: found["uid"] for board, found in BOARDS.items()}
    assert uids == {name: f"gputally-{name}" for name in ("chargeback", "fleet", "namespace", "node", "pipeline")}
    linked = {name for board in BOARDS.values() for text in written(board) for name in re.findall(r"/d/([\w-]+)", text)}
    assert linked <= set(uids.values())


@pytest.mark.parametrize("alert", rules(ALERTS), ids=alert_id)
def test_an_alert_leads_to_the_dashboard_of_what_it_is_about(alert: Rule) -> None:
    path, _, chosen = alert["annotations"]["dashboard_url"].partition("?")
    [board] = [name for name, found in BOARDS.items() if path == f"/d/{found['uid']}"]
    there = {variable["name"] for variable in variables(board)}
    for name, label in re.findall(r"var-(\w+)=\{\{ \$labels\.(\w+) \}\}", chosen):
        assert name == label in there
    assert chosen.count("=") == chosen.count("{{")


@EVERY_BOARD
def test_every_variable_that_is_used_is_there(board: str) -> None:
    there = {one["name"] for one in variables(board)}
    used = {name for text in written(BOARDS[board]["panels"]) for name in re.findall(r"\$\{?([a-z]\w*)", text)}
    assert used <= there


@EVERY_BOARD
def test_panels_are_numbered_and_none_lies_on_another(board: str) -> None:
    every = BOARDS[board]["panels"]
    assert [panel["id"] for panel in every] == list(range(1, len(every) + 1))
    places = [panel["gridPos"] for panel in every]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_the_provider_finds_the_folder_of_the_dashboards() -> None:
    [provider] = yaml.safe_load((DASHBOARDS / "provisioning" / "dashboards" / "gputally.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards/gputally"
    assert provider["options"]["path"] in PAGE


def test_the_page_has_the_colour_that_asks_for_a_look() -> None:
    found = {colour for board in BOARDS.values() for colour in re.findall(r"'color': '(#\w+)'", str(board["panels"]))}
    assert found == set(re.findall(r"\(`(#\w+)`\)", PAGE))


@EVERY_BOARD
def test_every_dashboard_is_described(board: str) -> None:
    assert f"`{BOARDS[board]['uid']}`" in PAGE
