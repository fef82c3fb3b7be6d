"""The two images, without an engine: the steps of their Dockerfiles are played in a folder, and what comes out starts.

What cannot be seen here: the base, whether the steps fit its Python, and sizes. `make images` shows those.
"""

import itertools
import json
import os
import re
import subprocess
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.dockerfiles import CannotInstall, Played, Stage, clean, stages
from tests.programs import Running, running, wait_until

from gputally.agent.command_line import SETTINGS

ROOT = Path(__file__).resolve().parent.parent
FILES = {name: stages(ROOT / f"Dockerfile.{name}") for name in ("agent", "collector")}
FOLDERS = {"agent": {"accounting", "agent", "proto"}, "collector": {"accounting", "collector", "proto"}}
COMMANDS = {"agent": {"gputally-agent"}, "collector": {"gputally", "gputally-collector"}}
NOT_FOR_THE_AGENT = ("sqlalchemy", "fastapi", "starlette", "uvicorn", "pydantic", "kubernetes")
STATE = "/var/lib/gputally"
START_S, WINDOW_S = 60, 60
each_image = pytest.mark.parametrize("name", ["agent", "collector"])


def first(name: str) -> Stage:
    """What stands before the first FROM."""
    return FILES[name][0]


def builder(name: str) -> Stage:
    return FILES[name][1]


def final(name: str) -> Stage:
    return FILES[name][-1]


# What is written there


@each_image
def test_the_base_is_pinned_by_its_version_and_can_be_replaced(name: str) -> None:
    """Both stages name one ARG: a digest, or a base of one's own, is a build argument."""
    assert re.fullmatch(r"PYTHON_IMAGE=\S+/python:3\.\d+\.\d+-slim-\w+", first(name).only("ARG"))
    assert [stage.base for stage in FILES[name][1:]] == ["${PYTHON_IMAGE} AS builder", "${PYTHON_IMAGE}"]


@each_image
def test_no_package_is_installed_without_its_hash_and_none_is_compiled(name: str) -> None:
    commands = [command for command in builder(name).texts("RUN") if " install " in command]
    assert len(commands) == 3
    for command in commands:
        assert "--require-hashes" in command or "--no-deps --no-index dist/gputally-*.whl" in command
    assert builder(name).pairs("ENV")["PIP_ONLY_BINARY"] == ":all:"


@each_image
def test_the_last_stage_installs_nothing_and_brings_no_tools(name: str) -> None:
    assert final(name).texts("COPY") == ["--from=builder /opt/gputally /opt/gputally"]
    assert [command.split()[0] for command in final(name).texts("RUN")] == ["install"]


@each_image
def test_it_runs_as_a_number_that_is_not_root_and_writes_to_one_volume(name: str) -> None:
    """A number, because Kubernetes refuses names under runAsNonRoot."""
    stage = final(name)
    uid, gid = stage.only("USER").split(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert stage.only("VOLUME") == STATE
    assert f"--owner {uid} --group {gid} --mode 0700 {STATE}" in stage.only("RUN")
    variables = stage.pairs("ENV")
    kept = variables["GPUTALLY_SPOOL_DIR"] if name == "agent" else variables["GPUTALLY_DATABASE_URL"]
    assert STATE in kept
    assert variables["PYTHONDONTWRITEBYTECODE"] == "1"


@each_image
def test_commands_are_lists_so_that_signals_reach_the_program(name: str) -> None:
    (command,) = json.loads(final(name).only("ENTRYPOINT"))
    assert command in COMMANDS[name]
    assert final(name).health_command()[0] == "python3"
    assert final(name).only("STOPSIGNAL") == "SIGTERM"


@each_image
def test_it_says_what_it_is_and_from_what_it_was_made(name: str) -> None:
    labels = final(name).pairs("LABEL")
    told = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
    assert told["licenses"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]
    assert (told["version"], told["revision"], told["base.name"]) == ("${VERSION}", "${REVISION}", "${PYTHON_IMAGE}")


def test_the_checks_ask_where_the_programs_answer_by_default() -> None:
    (listen,) = (setting.default for setting in SETTINGS if setting.field == "http_listen")
    assert health_port("agent") == listen.rpartition(":")[2]
    assert health_port("collector") == final("collector").pairs("ENV")["GPUTALLY_METRICS_LISTEN"].rpartition(":")[2]
    for name in FILES:
        assert health_port(name) in final(name).only("EXPOSE").split()


def health_port(name: str) -> str:
    (port,) = re.findall(r"'127\.0\.0\.1', (\d+)", " ".join(final(name).health_command()))
    return port


@each_image
def test_a_build_sees_what_it_copies(name: str) -> None:
    """.dockerignore is an allow-list: what is missing there is missing in the image."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in lines if line.startswith("!")]
    copied = [word for text in builder(name).texts("COPY") for word in text.split()[:-1]]
    assert "*" in lines
    assert [source for source in copied if not any(Path(source).match(pattern) for pattern in allowed)] == []


@each_image
def test_the_code_in_it_is_its_own(name: str) -> None:
    copied = {text.split()[0] for text in builder(name).texts("COPY") if text.split()[0] == text.split()[1]}
    assert copied == FOLDERS[name]


# What comes out of it


@dataclass(frozen=True, slots=True)
class Image:
    """An image whose builder was played, and the environment that its last stage gives to a process."""

    name: str
    home: Path
    environ: dict[str, str]

    def command(self, *arguments: str) -> list[str]:
        """The entry point with arguments."""
        (program,) = json.loads(final(self.name).only("ENTRYPOINT"))
        return [str(self.home / "bin" / program), *arguments]

    def python(self, code: str) -> str:
        """What a program prints in the image's Python."""
        command = [str(self.home / "bin" / "python"), "-c", code]
        return subprocess.run(command, cwd="/", env=self.environ, check=True, capture_output=True, text=True).stdout

    def healthy(self, port: str) -> bool:
        """Whether the image's own check passes, asked of the port that this process was given."""
        command = [word.replace(health_port(self.name), port) for word in final(self.name).health_command()]
        return subprocess.run(command, cwd="/", env=self.environ, check=False, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Image]]:
    """Both, each below a root of its own."""
    try:
        yield {name: built(name, tmp_path_factory.mktemp(name)) for name in FILES}
    except CannotInstall as error:
        pytest.skip(f"the images' packages cannot be fetched: let pip and uv reach a package index ({error})")


def built(name: str, root: Path) -> Image:
    # Compiling the collector's packages takes ten seconds, and shows nothing that the agent's do not.
    skipped = ("compileall",) if name == "collector" else ()
    played = Played(root, ROOT, skipped, clean(os.environ))
    played.play(builder(name))
    (root / STATE.lstrip("/")).mkdir(parents=True)
    variables = played.variables(final(name), clean(os.environ)["PATH"])
    return Image(name, root / "opt" / "gputally", {**clean(os.environ), **variables})


def pinned(name: str) -> set[str]:
    """The packages of the image's pins that this platform takes."""
    text = (ROOT / "constraints" / f"{name}.txt").read_text()
    return set(re.findall(r"^([a-z0-9-]+)==(?!.*sys_platform == 'win32')", text, re.MULTILINE))


def test_it_holds_its_own_packages_and_folders_and_no_others(images: dict[str, Image]) -> None:
    """The agent's weight is paid on every GPU node, and what is not there needs no updates."""
    listing = "import importlib.metadata as m; print(*(d.name.lower() for d in m.distributions()))"
    for name, image in images.items():
        assert {package.replace("_", "-") for package in image.python(listing).split()} == {*pinned(name), "gputally"}
        (site,) = (image.home / "lib").glob("python3*/site-packages")
        assert {path.name for path in (site / "gputally").iterdir() if path.is_dir()} == FOLDERS[name]
        assert {path.name for path in (image.home / "bin").glob("gputally*")} == COMMANDS[name]
    search = f"import importlib.util as u; print(*(n for n in {NOT_FOR_THE_AGENT} if u.find_spec(n)))"
    assert images["agent"].python(search).split() == []


def test_both_start_answer_and_count_together(images: dict[str, Image], tmp_path: Path) -> None:
    """The agent's image sends what it counts of simulated GPUs to the collector's; both end when they are told to."""
    agent, collector = images["agent"], images["collector"]
    before = {name: files(image.home) for name, image in images.items()}
    with ExitStack() as stack:
        listens = ("--grpc-listen", "--http-listen", "--metrics-listen")
        arguments = itertools.chain.from_iterable((flag, "127.0.0.1:0") for flag in listens)
        keeping = start(stack, collector, tmp_path, *arguments)
        told = said(keeping, r"agents on (\S+), metrics on http://127\.0\.0\.1:(\d+)/metrics")
        wait_until(lambda: collector.healthy(told[2]), START_S, "the collector's check")
        counting = start(
            stack, agent, tmp_path,
            *("--nvml", "simulated", "--scenario", str(ROOT / "demo" / "scenarios" / "node-a.json")),
            *("--node", "node-a", "--cluster", "demo", "--collector", told[1]),
            *("--http-listen", "127.0.0.1:0", "--window", "1s"),
        )  # fmt: skip
        listens_on = said(counting, r"and /readyz on port (\d+)")[1]
        wait_until(lambda: agent.healthy(listens_on), START_S, "the agent's check")
        wait_until(lambda: "gputally_namespace_gpu_seconds_total{" in metrics(told[2]), WINDOW_S, "time in the ledger")
        assert counting.stop() == 0
        assert keeping.stop() == 0
    assert {name: files(image.home) for name, image in images.items()} == before, "the root could not be read-only"


def start(stack: ExitStack, image: Image, folder: Path, *arguments: str) -> Running:
    return stack.enter_context(running(image.command(*arguments), folder / f"{image.name}.log", image.environ))


def said(program: Running, pattern: str) -> re.Match[str]:
    """The line of its log that fits, once it is there."""

    def found() -> re.Match[str] | None:
        assert program.process.poll() is None, program.log
        return re.search(pattern, program.log)

    match = wait_until(found, START_S, pattern)
    assert match
    return match


def metrics(port: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return str(answer.read().decode())


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}
