"""The FOCUS Foundation's validator accepts our rows, and would not accept others."""

import os
from pathlib import Path

import pytest
from tests.collector.exports.focus_validator import SUCCEEDED, NotInstallable, install, validate
from tests.statements import AUGUST, JULY, UTC, apply, book, close
from tests.windows import MINUTE_US, START_US, device, pod, reserved, unallocated, window

from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import migrate
from gputally.collector.exports.focus import Options, write_focus
from gputally.collector.exports.focus_columns import Version
from gputally.collector.statement.ground import ground

ENVIRONMENT = "GPUTALLY_FOCUS_VALIDATOR"  # a folder to keep the validator's environment in; made where it is missing


@pytest.fixture(scope="module")
def python() -> Path:
    """The validator's Python."""
    folder = os.environ.get(ENVIRONMENT)
    if not folder:
        pytest.skip(f"set {ENVIRONMENT} to a folder: focus-validator 1.0.0 is installed there, from PyPI")
    try:
        return install(Path(folder))
    except NotInstallable as error:
        pytest.skip(f"focus-validator 1.0.0 cannot be installed: {error}")


@pytest.mark.timeout(700)
def test_a_month_and_its_corrections_are_valid(python: Path, tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'gputally.sqlite'}")
    migrate(engine)
    half = MINUTE_US // 2
    book(engine, [window(device(reserved(pod(), half // 2, half // 2, energy_mj=9_000), unallocated(half)))])
    apply(engine)
    close(engine)
    book(engine, [window(device(reserved(pod("vision"), half, half)), node="node-b", start_us=START_US)])
    for month in (JULY, AUGUST):
        path = tmp_path / f"{month.name}.csv"
        with ground(engine, UTC, month) as found:
            assert write_focus(found, path, Options(Version.V1_0)).rows
        assert SUCCEEDED in validate(python, path)
    engine.dispose()
    broken = tmp_path / "broken.csv"
    broken.write_text((tmp_path / "2026-07.csv").read_text().replace("Compute", "GPUs"))
    assert SUCCEEDED not in validate(python, broken)
