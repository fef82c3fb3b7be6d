"""The committed code is what the definitions give, and the check says so when it is not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROTO = Path(__file__).parents[2] / "proto"

pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed: pip install 'gputally[dev]'")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, folder / "generate.py", *arguments], capture_output=True, text=True, check=False, timeout=100
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the definitions and their code, to change as one likes."""
    return Path(shutil.copytree(PROTO, tmp_path / "proto", ignore=shutil.ignore_patterns("__pycache__")))


def test_the_committed_code_is_what_the_definitions_give() -> None:
    done = run(PROTO, "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_changed_definition_fails_the_check_which_writes_nothing(copy: Path) -> None:
    definition = copy / "telemetry.proto"
    definition.write_text(definition.read_text().replace("uint64 waited_us", "uint64 held_back_us"))
    before = (copy / "telemetry_pb2.py").read_bytes()
    done = run(copy, "--check")
    assert done.returncode == 1
    assert "telemetry_pb2.py" in done.stderr
    assert "run `make proto`" in done.stderr
    assert "podresources" not in done.stderr
    assert (copy / "telemetry_pb2.py").read_bytes() == before


def test_generating_mends_what_the_check_found(copy: Path) -> None:
    (copy / "telemetry_pb2.pyi").unlink()
    (copy / "podresources_pb2_grpc.py").write_text("")
    assert run(copy).returncode == 0
    assert run(copy, "--check").returncode == 0
    assert (copy / "podresources_pb2_grpc.py").read_bytes() == (PROTO / "podresources_pb2_grpc.py").read_bytes()


def test_a_definition_that_cannot_be_read_changes_nothing(copy: Path) -> None:
    (copy / "telemetry.proto").write_text("nonsense")
    before = (copy / "telemetry_pb2.py").read_bytes()
    done = run(copy)
    assert done.returncode == 1
    assert "protoc failed" in done.stderr
    assert (copy / "telemetry_pb2.py").read_bytes() == before
