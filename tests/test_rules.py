"""dashboards/prometheus: promtool agrees, every metric exists, every alert is tested and explained."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from gputally.accounting.states import OwnerKind, State
from gputally.agent.exposition import text as of_agent
from gputally.agent.exposition.device import REASONS
from gputally.agent.snapshot import Snapshot, StreamState
from gputally.collector.exposition import books, itself, page
from gputally.collector.ingest.stream import IngestStats
from gputally.collector.ingest.writer import WriterStats
from gputally.collector.month import Month

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "dashboards" / "prometheus"
RULES, ALERTS = FOLDER / "rules.yaml", FOLDER / "alerts.yaml"
TESTS = sorted((FOLDER / "tests").glob("*.yaml"))
PAGE = (ROOT / "docs" / "operations.md").read_text()
METRICS = (ROOT / "docs" / "metrics.md").read_text()

Rule = dict[str, Any]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def rules(path: Path) -> list[Rule]:
    return [rule for group in load(path)["groups"] for rule in group["rules"]]


def alert_id(alert: Rule) -> str:
    """What tells a rule from the others: an alert may have several."""
    labels = alert["labels"]
    return " ".join([alert["alert"], labels["severity"], labels.get("cause", "")]).strip()


EVERY_ALERT = pytest.mark.parametrize("alert", rules(ALERTS), ids=alert_id)
EVERY_RULE = pytest.mark.parametrize(
    "rule", [*rules(RULES), *rules(ALERTS)], ids=lambda rule: rule["record"] if "record" in rule else alert_id(rule)
)


def promtool(*arguments: str) -> str:
    """What promtool complains of; empty where it is content."""
    program = shutil.which("promtool")
    if not program:
        pytest.skip("promtool is missing; install it with: apt-get install prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=100, check=False)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("path", [RULES, ALERTS], ids=lambda path: path.name)
def test_promtool_finds_nothing_wrong_with_the_rules(path: Path) -> None:
    assert promtool("check", "rules", str(path)) == ""


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_rules_and_alerts_do_what_their_cases_say(path: Path) -> None:
    assert promtool("test", "rules", str(path)) == ""


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_cases_run_with_all_groups_in_one_order(path: Path) -> None:
    """Else promtool takes any order, and an alert may see what was recorded a minute ago."""
    groups = [group["name"] for file in (RULES, ALERTS) for group in load(file)["groups"]]
    assert load(path)["group_eval_order"] == groups


# Names: a rule over a metric that is not there is silent for ever.


def shown() -> set[str]:
    """The names of everything that the two processes show to Prometheus."""
    work = itself.Work(IngestStats(), WriterStats(), settled=0)
    month = Month(start_us=0, read_us=0)
    registry = page.make_registry(lambda: books.Books((), 0), lambda: work, lambda: month)
    text = of_agent.render(Snapshot("node", stream=StreamState())) + generate_latest(registry)
    return set(re.findall(r"^# TYPE (\S+)", text.decode(), re.MULTILINE))


def texts(rule: Rule) -> str:
    """Where a rule can name a metric: its expression, and the queries in its annotations."""
    return "\n".join([rule["expr"], *rule.get("annotations", {}).values()])


@EVERY_RULE
def test_every_metric_of_ours_exists(rule: Rule) -> None:
    assert set(re.findall(r"\bgputally_\w+", texts(rule))) - shown() == set()


@EVERY_RULE
def test_every_recorded_metric_is_recorded(rule: Rule) -> None:
    recorded = {each["record"] for each in rules(RULES)}
    assert set(re.findall(r"\bgputally:[\w:]+", texts(rule))) - recorded == set()


@EVERY_RULE
def test_every_metric_of_others_is_named_in_operations(rule: Rule) -> None:
    others = set(re.findall(r"\bkube_\w+", texts(rule)))
    assert {name for name in others if f"`{name}`" not in PAGE} == set()


def labels_of(name: str) -> set[str]:
    """The labels of a metric as docs/metrics.md has them from the code, and the one that Prometheus may add."""
    row = re.search(rf"^\| `{name}` \|[^|]*\|([^|]*)\|", METRICS, re.MULTILINE)
    assert row, f"docs/metrics.md lacks {name}"
    return {"cluster", *re.findall(r"\w+", row[1])}


@EVERY_RULE
def test_series_are_chosen_by_labels_that_they_have(rule: Rule) -> None:
    for name, matchers in re.findall(r"\b(gputally_\w+)\{([^}]*)\}", texts(rule)):
        assert set(re.findall(r"(\w+)(?:=~?|!=|!~)", matchers)) <= labels_of(name)


@EVERY_RULE
def test_the_values_of_labels_are_words_of_the_code(rule: Rule) -> None:
    known: dict[str, list[str]] = {"state": [*State], "owner_kind": [*OwnerKind], "reason": [*REASONS.values()]}
    for label, values in known.items():
        for matched in re.findall(rf'\b{label}=~?"([^"]+)"', rule["expr"]):
            assert any(re.fullmatch(matched, value) for value in values), f"{label}={matched}"


# Every alert says what is wrong and what to do, and is tested both ways.


@EVERY_ALERT
def test_an_alert_has_a_severity_and_words_for_people(alert: Rule) -> None:
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert {"summary", "description", "runbook_url"} <= alert["annotations"].keys()


@EVERY_ALERT
def test_an_alert_leads_to_its_section_of_operations(alert: Rule) -> None:
    assert alert["annotations"]["runbook_url"] == f"docs/operations.md#{alert['alert'].lower()}"
    assert re.search(rf"^### {alert['alert']}$", PAGE, re.MULTILINE)


def test_every_section_about_an_alert_is_about_one_that_exists() -> None:
    section = PAGE.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    headings = set(re.findall(r"^### (.+)$", section, re.MULTILINE))
    assert headings == {alert["alert"] for alert in rules(ALERTS)}


def cases(name: str) -> Iterator[list[set[str]]]:
    """For each promtool test of an alert: which of its rules fire, evaluation by evaluation."""
    for path in TESTS:
        for test in load(path)["tests"]:
            timed = [case for case in test.get("alert_rule_test", []) if case["alertname"] == name]
            if timed:
                yield [
                    {alert_id({"alert": name, "labels": fired["exp_labels"]}) for fired in case["exp_alerts"]}
                    for case in timed
                ]


@EVERY_ALERT
def test_an_alert_is_seen_silent_then_firing_then_resolved(alert: Rule) -> None:
    this = alert_id(alert)
    seen = [[this in fired for fired in each] for each in cases(alert["alert"])]
    assert any(any(fires) and not fires[0] and not fires[-1] for fires in seen)
