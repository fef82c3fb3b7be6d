"""The commands of documents, to be looked at and run: those of shell blocks, and of programs in indented blocks."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Everything by which a line of an indented block is known to be a command; such blocks also hold files and output.
PROGRAMS = (
    *("gputally", "gputally-agent", "gputally-collector", "curl", "docker", "helm", "kubectl", "make", "nvidia-smi"),
    *("pg_dump", "pg_restore", "pip", "python", "python3", "psql", "scontrol", "sed", "sqlite3", "sudo", "systemctl"),
)
SHELLS = ("sh", "bash", "shell", "console")
_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(rf"^ {{4,}}((?:{'|'.join(PROGRAMS)}) .*)$", re.MULTILINE)
_CONTINUED = re.compile(r"\\\n\s*")
_COMMENT = re.compile(r"\s+# .*$")


def commands(text: str) -> list[str]:
    """Every command of a document, a line each, without comments; those of its shell blocks come first."""
    text = _CONTINUED.sub("", text)
    return [_COMMENT.sub("", line) for line in (*_of_blocks(text), *_INDENTED.findall(_FENCED.sub("", text)))]


def section(text: str, *headings: str) -> str:
    """What stands below headings of the second level, up to the next such one; '' is what stands above the first."""
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    found = {"": parts[0]} | {part.partition("\n")[0]: part for part in parts[1:]}
    return "".join(found[heading] for heading in headings)


def bash(command: str, folder: Path, env: Mapping[str, str]) -> str:
    """What a command prints; fails with all that it says where it ends badly."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def environment(home: Path, **settings: str) -> dict[str, str]:
    """The environment of a new user of these programs, without any setting of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GPUTALLY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    folders = {"HOME": str(home), "XDG_STATE_HOME": str(home), "TMPDIR": str(home)}
    return {**kept, **folders, "PATH": path, "NO_PROXY": "*", "NO_BROWSER": "1", **settings}


def _of_blocks(text: str) -> Iterator[str]:
    for _, language, block in _FENCED.findall(text):
        if language in SHELLS:
            yield from _lines(textwrap.dedent(block).splitlines())


def _lines(lines: Sequence[str]) -> Iterator[str]:
    return (line for line in lines if line and not line.startswith("#"))
