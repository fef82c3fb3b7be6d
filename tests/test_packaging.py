"""What is shipped is what is tested: the wheel, installed into an environment that has never seen this checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from deploy import release

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("accounting", "agent", "collector", "demo", "proto")
TOO_HEAVY_FOR_THE_AGENT = {
    "alembic",
    "kubernetes",
    "numpy",
    "psycopg",
    "pydantic",
    "pydantic_settings",
    "rich",
    "sqlalchemy",
    "typer",
}
IMPORT_GRAPH = """
import json, sys
import gputally.agent.main
import gputally.agent.neighbours, gputally.agent.running, gputally.agent.stream, gputally.agent.nvml.driver
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
import gputally
names = [m.name for m in pkgutil.walk_packages(gputally.__path__, "gputally.")]
for name in names:
    if not name.startswith("gputally.collector.migrations"):
        importlib.import_module(name)
print(json.dumps({"names": names, "from": list(gputally.__path__)}))
"""


def run(*command: str | Path) -> str:
    """The output of a command, run where no checkout is near; its errors fail the test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GPUTALLY_"))}
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        cwd="/",
        env=kept,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel of this checkout, as `make release` builds them: without a network."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel: pip install hatchling")
    return release.build(ROOT, tmp_path_factory.mktemp("dist"), PROJECT["version"])


@pytest.fixture(scope="module")
def wheel(published: tuple[Path, Path]) -> Path:
    return published[1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment: the wheel is installed, the libraries are lent by this one."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-index", wheel),
    )
    # A path file appends the libraries behind what is installed; it runs none of their own path files, so the
    # editable install of this checkout stays out.
    (Path(site) / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    shipped = {path for path in files if path.suffix != ".pyc"}
    assert {f"gputally/{path.relative_to(ROOT)}" for path in shipped} <= names
    assert {name.split("/")[1] for name in names if name.startswith("gputally/")} == set(PACKAGES)
    assert all(f"gputally/{package}/py.typed" in names for package in PACKAGES)
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docs", "src"))]


def test_whoever_has_the_sdist_builds_the_same_wheel(published: tuple[Path, Path], tmp_path: Path) -> None:
    """Byte for byte: it lacks no file, and no time or order of files is in it."""
    sdist, wheel = published
    assert release.wheel_of_sdist(sdist, tmp_path).read_bytes() == wheel.read_bytes()


def test_every_installed_module_can_be_imported(installed: Path) -> None:
    answer = json.loads(run(installed / "python", "-W", "error", "-c", IMPORT_EVERYTHING))
    assert all(str(installed.parent) in path for path in answer["from"]), "imported from the checkout"
    assert {f"gputally.{package}" for package in PACKAGES} <= set(answer["names"])


@pytest.mark.parametrize("script", sorted(PROJECT["scripts"]))
def test_every_command_says_how_it_is_used(installed: Path, script: str) -> None:
    assert "--" in run(installed / script, "--help")


def test_the_agent_loads_nothing_that_is_too_heavy_for_every_node(installed: Path) -> None:
    loaded = set(json.loads(run(installed / "python", "-c", IMPORT_GRAPH)))
    assert "grpc" in loaded
    assert loaded & TOO_HEAVY_FOR_THE_AGENT == set()


def test_every_dependency_is_pinned_to_hashes_and_no_pin_says_where_it_comes_from() -> None:
    """A version alone can be replaced by another file of the same name; an index line would send users elsewhere."""
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(name for extra in extras for name in extra)]
    names = {need.split(">=")[0].split("==")[0].split("[")[0].lower() for need in wanted} - {PROJECT["name"]}
    assert names <= set(pins("dev"))


@pytest.mark.parametrize("name", ["agent", "build", "collector", "dev", "run"])
def test_every_file_of_pins_is_part_of_what_is_tested(name: str) -> None:
    """An image must not get another version than the tests had."""
    assert set(pins(name).items()) <= set(pins("dev").items())


def pins(name: str) -> dict[str, str]:
    """Versions by package; every line is a pin or one of its hashes."""
    found: dict[str, str] = {}
    for line in (ROOT / "constraints" / f"{name}.txt").read_text().splitlines():
        if line.startswith("    --hash=sha256:"):
            assert found, "a hash before any package"
        elif not line.startswith("#"):
            package, version = line.removesuffix(" \\").partition(";")[0].split("==")
            assert "/" not in line
            assert line.endswith("\\"), f"{package} has no hash"
            found[package] = version.strip()
    return found
