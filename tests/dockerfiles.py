"""Dockerfiles, read and played without an engine: the instructions that ours use, and no others."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

_PLACES = ("/opt/gputally", "/var/lib/gputally")  # the folders of an image that are played below another root
_PYTHON = """\
#!/bin/sh
# The image's python3. What it asks of pip, uv does with the same hashes, in a tenth of the time.
case "$1 $2 $3" in
"-m pip --python") python=$4 verb=$5; shift 5; exec {uv} pip "$verb" --python "$python" "$@" ;;
*) exec {python} "$@" ;;
esac
"""


class CannotInstall(Exception):
    """Packages could not be fetched; the message is the installer's."""


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: its keyword in capitals, and the rest of it in one line."""

    keyword: str
    text: str


@dataclass(frozen=True, slots=True)
class Stage:
    """What one FROM begins."""

    base: str
    steps: list[Step] = field(default_factory=list)

    def texts(self, keyword: str) -> list[str]:
        """What stands behind each instruction of this kind, in their order."""
        return [step.text for step in self.steps if step.keyword == keyword]

    def only(self, keyword: str) -> str:
        """What stands behind the one instruction of this kind."""
        (text,) = self.texts(keyword)
        return text

    def pairs(self, keyword: str) -> dict[str, str]:
        """The names and values of LABEL or ENV, as they are written."""
        words = (word.partition("=") for text in self.texts(keyword) for word in shlex.split(text))
        return {name: value for name, _, value in words}

    def health_command(self) -> list[str]:
        """The command of HEALTHCHECK, which must not need a shell."""
        command: list[str] = json.loads(self.only("HEALTHCHECK").partition("CMD ")[2])
        return command


def stages(file: Path) -> list[Stage]:
    """The stages of a Dockerfile; what stands before the first FROM is a stage of no base."""
    found = [Stage("")]
    for step in _steps(file.read_text()):
        if step.keyword == "FROM":
            found.append(Stage(step.text))
        else:
            found[-1].steps.append(step)
    return found


def _steps(text: str) -> Iterator[Step]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        keyword, _, rest = line.partition(" ")
        yield Step(keyword, rest.strip())


@dataclass(slots=True)
class Played:
    """A builder stage below `root`, which stands for /. `skipped` are words of commands that are not run."""

    root: Path
    context: Path
    skipped: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    _folder: Path = field(init=False)

    def __post_init__(self) -> None:
        shims = self.root / "shims"
        shims.mkdir(parents=True)
        uv = Path(sys.executable).with_name("uv")
        (shims / "python3").write_text(_PYTHON.format(uv=uv, python=sys.executable))
        (shims / "python3").chmod(0o755)
        self.environ["PATH"] = f"{shims}:{self.environ['PATH']}"
        self._folder = self.root

    def play(self, stage: Stage) -> None:
        """Carry out each instruction; raises CannotInstall where packages cannot be fetched."""
        for step in stage.steps:
            _PLAYERS[step.keyword](self, step.text)

    def here(self, text: str) -> str:
        """The text with the image's folders below the root."""
        for place in _PLACES:
            text = text.replace(place, f"{self.root}{place}")
        return text

    def variables(self, stage: Stage, path: str) -> dict[str, str]:
        """What a process of this stage finds in its environment; `path` is the base's PATH."""
        return {name: Template(self.here(value)).substitute(PATH=path) for name, value in stage.pairs("ENV").items()}

    def _env(self, text: str) -> None:
        for word in shlex.split(text):
            name, _, value = word.partition("=")
            self.environ[name] = value

    def _workdir(self, text: str) -> None:
        self._folder = self.root / text.lstrip("/")
        self._folder.mkdir(parents=True)

    def _copy(self, text: str) -> None:
        *sources, into = text.split()
        for source in sources:
            target = self._folder / into
            if (self.context / source).is_dir():
                shutil.copytree(self.context / source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.context / source, target)

    def _run(self, text: str) -> None:
        if any(word in text for word in self.skipped):
            return
        command = ["bash", "-ec", self.here(text)]
        done = subprocess.run(command, cwd=self._folder, env=self.environ, capture_output=True, text=True, check=False)
        if done.returncode and ("Failed to fetch" in done.stderr or "Failed to download" in done.stderr):
            raise CannotInstall(done.stderr.strip().splitlines()[-1].strip())
        assert done.returncode == 0, f"{text}: {done.stderr or done.stdout}"


_PLAYERS = {"ENV": Played._env, "WORKDIR": Played._workdir, "COPY": Played._copy, "RUN": Played._run}


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what belongs to this checkout and its interpreter."""
    return {name: value for name, value in environ.items() if not name.startswith(("PYTHON", "GPUTALLY_", "VIRTUAL_"))}
