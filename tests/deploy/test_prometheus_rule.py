"""The PrometheusRule is dashboards/prometheus, and cannot drift from it."""

import subprocess
import sys
from pathlib import Path

import yaml
from tests.deploy.rendered import DEPLOY, ROOT, all_folders, of_kind

FOLDER = DEPLOY / "collector" / "overlays" / "prometheusrule"
SOURCES = [ROOT / "dashboards" / "prometheus" / name for name in ("rules.yaml", "alerts.yaml")]


def test_it_holds_every_group_as_prometheus_has_it() -> None:
    groups = [group for path in SOURCES for group in yaml.safe_load(path.read_text())["groups"]]
    (rule,) = of_kind(all_folders()["collector/overlays/prometheusrule"], "PrometheusRule")
    assert rule["spec"]["groups"] == groups


def test_the_check_notices_what_is_out_of_date(tmp_path: Path) -> None:
    """In a copy of what it reads, with one line changed."""
    for path in (FOLDER / "generate.py", FOLDER / "prometheusrule.yaml", *SOURCES):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    command = [sys.executable, str(tmp_path / FOLDER.relative_to(ROOT) / "generate.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0
    alerts = tmp_path / SOURCES[1].relative_to(ROOT)
    alerts.write_text(alerts.read_text().replace("for: 15m", "for: 16m", 1))
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1
