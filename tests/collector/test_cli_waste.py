"""`gputally waste`: the dearest first, for people and for programs; what cannot be asked is said."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests import wasteful
from typer.testing import CliRunner, Result

from gputally.collector.cli import main as cli

JULY = ("--month", "2026-07")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with no setting of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("GPUTALLY_DATABASE_URL", "GPUTALLY_TIMEZONE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def waste(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["waste", *arguments])


TABLE = """\
namespace  workload                  kind              GPU-hours   EUR
search     notebook.kubeflow/anns    forgotten             0.9 ~  3.06
search     pod/wide-0                over-asked            0.5    1.67
search     pytorchjob.kubeflow/bert  waiting-to-start      0.2    0.56
search     pytorchjob.kubeflow/bert  between-kernels       0.1    0.46
search     job/try                   after-the-end         0.1    0.28

                  GPU-hours   EUR
over-asked            0.5    1.67
waiting-to-start      0.2    0.56
after-the-end         0.1    0.28
forgotten             0.9 ~  3.06
between-kernels       0.1    0.46
idle                  1.8 ~  6.03

namespace  workload                  of used and idle  GPU-hours   EUR
search     job/try                   failed-attempts       0.3    0.84
search     pytorchjob.kubeflow/bert  straggling            0.1    0.46

~  some of it may turn out to be of another kind: its pod lives
"""


def test_the_table_tells_whose_idle_time_is_of_which_kind(engine: Engine, database_url: str) -> None:
    """The notebook still runs, so nobody knows yet whether it comes back; JSON has the same rows, in integers."""
    wasteful.fill(engine)
    assert waste("--database-url", database_url, *JULY).stdout == TABLE
    document = json.loads(waste("--database-url", database_url, *JULY, "--format", "json").stdout)
    first = document["rows"][0]
    assert (first["keys"]["workload"], first["kind"]) == ("notebook.kubeflow/anns", "forgotten")
    assert first["us"] == first["provisional_us"] == 110 * 30_000_000
    assert sum(row["us"] for row in document["rows"]) == sum(one["us"] for one in document["kinds"])
    assert [one["lens"] for one in document["lenses"]] == ["failed-attempts", "straggling"]


def test_a_filter_and_other_names(engine: Engine, database_url: str) -> None:
    wasteful.fill(engine, ["wide-0"])
    asked = ("--by", "device", "--filter", 'pod<~:"wide"')
    rows = json.loads(waste("--database-url", database_url, *JULY, *asked, "--format", "json").stdout)["rows"]
    assert [(row["keys"], row["kind"]) for row in rows] == [({"device": "GPU-node-of-wide-0-gpu-1"}, "over-asked")]
    nothing = waste("--database-url", database_url, "--month", "2026-06").stdout
    assert nothing == "No idle time of a pod is booked.\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--by", "states"), "expected one of"),
        (("--by", "state"), "idle time has no such name"),
        (("--filter", "pod"), "--filter at 'pod'"),
        (("--month", "13"), "expected YYYY-MM"),
    ],
)
def test_what_cannot_be_asked_is_said(migrated_file: Path, arguments: tuple[str, ...], says: str) -> None:
    done = waste("--database-url", f"sqlite:///{migrated_file}", *arguments)
    assert (done.exit_code, says in done.stderr) == (2, True), done.stderr
