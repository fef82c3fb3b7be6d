"""docs/kubernetes.md: its commands and patches are those of the folders that it is about."""

import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from pathlib import Path

import pytest
import yaml
from tests.deploy.rendered import (
    DEPLOY,
    FOLDERS,
    ROOT,
    Object,
    all_folders,
    containers,
    new_site,
    pod_templates,
    render,
)
from tests.deploy.test_schemas import VERSIONS, found_in

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
SCRIPT = "deploy/new_site.py"


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, also those within a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", PAGE, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for _, text in found]


def commands() -> list[str]:
    return [line for text in blocks("sh") for line in text.replace("\\\n", "").splitlines()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Object]]:
    """(what the script wrote, rendered)"""
    folder = tmp_path_factory.mktemp("page") / "site"
    new_site(folder, "--driver", "host")
    return folder, render(folder)


@pytest.mark.parametrize("text", blocks("yaml"), ids=lambda text: re.sub(r"\W+", " ", text)[-40:])
def test_every_addition_to_a_kustomization_renders_and_is_valid(text: str, site: tuple[Path, list[Object]]) -> None:
    """Each in a kustomization around the one that the script wrote."""
    folder, before = site
    around = Path(tempfile.mkdtemp(dir=folder.parent))
    books = yaml.safe_load((DEPLOY / "collector" / "examples" / "books.yaml").read_text())["data"]
    for name, content in books.items():
        (around / name).write_text(content)
    (around / "kustomization.yaml").write_text(f"resources: [../{folder.name}]\n{text}")
    after = render(around)
    assert after != before
    assert found_in(after, VERSIONS[0]) == []


def test_the_first_command_does_what_the_page_says(tmp_path: Path) -> None:
    (words,) = (shlex.split(line) for line in commands() if SCRIPT in line)
    command = [sys.executable, str(ROOT / SCRIPT), *words[2:]]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    images = {each["image"] for _, pod in pod_templates(render(tmp_path / "site")) for each in containers(pod)}
    pushed = {shlex.split(line)[-1] for line in commands() if line.startswith("docker push")}
    assert {image for image in images if "gputally" in image} == pushed


def test_every_folder_stands_in_the_table() -> None:
    """By its path, or by its name beside a folder that stands beside it."""
    rows = re.findall(r"^\| (`deploy/.*?) \|", PAGE, re.MULTILINE)
    for folder in FOLDERS:
        place, _, name = folder.rpartition("/")
        assert any(f"`deploy/{folder}`" in row or (f"`deploy/{place}/" in row and f"`{name}`" in row) for row in rows)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"deploy/[\w/-]+\.yaml", PAGE))))
def test_every_file_that_is_named_is_there(path: str) -> None:
    assert (ROOT / path).is_file()


def test_the_images_are_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {
        each["image"]
        for objects in all_folders().values()
        for _, pod in pod_templates(objects)
        for each in containers(pod)
        if each["image"].startswith("gputally-")
    }
    assert images == {f"gputally-agent:{version}", f"gputally-collector:{version}"}
    assert f'TAG = "{version}"' in (ROOT / SCRIPT).read_text()


def test_the_versions_that_the_page_names_are_those_that_are_checked() -> None:
    assert f"Kubernetes\n{VERSIONS[0]}, {VERSIONS[1]} and {VERSIONS[2]}" in PAGE
