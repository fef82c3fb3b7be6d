"""`make release`: build what is published into dist/, check that it fits together, and say what a person does then.

Nothing is published here. What is left, in its order, stands in docs/release.md and is printed from there.
"""

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A manifest's, a kustomization's, a build argument, new_site.py's, a command's; :9856 is a port.
_OF_OURS = (
    r"image:\s*\S*gputally-(?:agent|collector):(\S+)|newTag:\s*\"?([\w.-]+)|^\s+VERSION: (\S+)"
    r"|^TAG = \"(.*)\"|gputally-(?:agent|collector):(\d+\.[\w.-]+)"
)
_BY_A_PERSON = "## By a person"


def main() -> int:
    """Build, check and tell; the exit status is 1 where something does not fit together."""
    released = version(ROOT)
    found = [*text_mistakes(ROOT, released), *git_mistakes(ROOT, released)]
    built = build(ROOT, ROOT / "dist", released)
    with tempfile.TemporaryDirectory() as folder:
        if wheel_of_sdist(built[0], Path(folder)).read_bytes() != built[1].read_bytes():
            found.append("the wheel that is built from the sdist is another one: is a file missing there?")
    for file in built:
        sys.stdout.write(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(ROOT)}\n")
    for mistake in found:
        sys.stderr.write(f"not ready: {mistake}\n")
    sys.stdout.write(f"\nLeft to do for {released}, by a person (docs/release.md):\n\n{left(ROOT)}\n")
    return 1 if found else 0


def version(root: Path) -> str:
    """The version of a checkout."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def text_mistakes(root: Path, released: str) -> Iterator[str]:
    """What the files of a checkout say about this version and should not say."""
    newest = re.search(r"^## (.+)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    if newest is None or not re.fullmatch(re.escape(released) + r" \(\d{4}-\d\d-\d\d\)", newest[1]):
        yield f"CHANGELOG.md: its newest section should be '## {released} (the day)'"
    if not (root / "tests" / "data" / "wire" / released / "batch.bin").is_file():
        yield f"what this version sends is not recorded: PYTHONPATH=. .venv/bin/python -m tests.wire_record {released}"
    for file in sorted([*(root / "deploy").rglob("*.yaml"), root / "deploy/new_site.py", root / "docs/kubernetes.md"]):
        found = re.findall(_OF_OURS, file.read_text(), re.MULTILINE)
        for named in sorted({"".join(names) for names in found} - {released}):
            yield f"{file.relative_to(root)}: names version {named} of an image"


def git_mistakes(root: Path, released: str) -> Iterator[str]:
    """Why this commit is not the one to release."""
    if _git(root, "status", "--porcelain"):
        yield "there are changes that are not committed"
    if _git(root, "tag", "--list", f"v{released}"):
        yield f"v{released} is tagged already: the next release has another version in pyproject.toml"


def build(root: Path, into: Path, released: str) -> tuple[Path, Path]:
    """The sdist and the wheel of a checkout."""
    _hatchling(root, "--target", "sdist", "--target", "wheel", "--directory", str(into))
    return into / f"gputally-{released}.tar.gz", into / f"gputally-{released}-py3-none-any.whl"


def wheel_of_sdist(sdist: Path, folder: Path) -> Path:
    """The wheel that whoever has only the sdist builds, below `folder`."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    source = folder / sdist.name.removesuffix(".tar.gz")
    _hatchling(source, "--target", "wheel", "--directory", str(folder))
    (wheel,) = folder.glob("*.whl")
    return wheel


def left(root: Path) -> str:
    """The steps that no program does, as docs/release.md has them."""
    _, _, section = (root / "docs" / "release.md").read_text().partition(f"{_BY_A_PERSON}\n")
    return section.partition("\n## ")[0].strip()


def _hatchling(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", *arguments], cwd=root, check=True, capture_output=True)


def _git(root: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
