"""Every command of the chargeback guide runs, in its order, and ends well."""

import re
import shlex
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.statements import AUGUST, JULY, book
from tests.windows import MINUTE_US, device, pod, reserved, unallocated, window
from typer.testing import CliRunner

from gputally.collector.cli.main import app
from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import migrate

GUIDE = Path(__file__).parent.parent / "docs" / "chargeback.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_guide_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'gputally.sqlite'}"
    engine = open_database(url)
    migrate(engine)
    half = MINUTE_US // 2
    parts = [device(reserved(pod(), half // 2, half // 2), unallocated(half)), device(unallocated(half), uuid="GPU-1")]
    book(engine, [window(*parts), window(device(unallocated(MINUTE_US)), start_us=AUGUST.start_us)], ZoneInfo("UTC"))
    engine.dispose()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUTALLY_DATABASE_URL", url)
    monkeypatch.delenv("GPUTALLY_TIMEZONE", raising=False)
    monkeypatch.setattr("gputally.collector.cli.statement.now_us", lambda: JULY.end_us * 2)
    (tmp_path / "teams.yaml").write_text(blocks("yaml")[0])
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) > 12
    for command in commands:
        program, _, target = command.partition(" > ")
        done = CliRunner().invoke(app, shlex.split(program)[1:])
        assert done.exit_code == 0, f"{command}: {done.stderr or done.exception}"
        if target:
            (tmp_path / target).write_text(done.stdout)
    assert (tmp_path / "focus-2026-07.csv.metadata.json").exists()
    assert "engines" in (tmp_path / "engines.html").read_text()
