"""`make release` is silent about a checkout that fits together, and names each thing that does not."""

import re
from pathlib import Path

import pytest
from deploy import release

ROOT = Path(__file__).resolve().parent.parent
FITS = {
    "CHANGELOG.md": "# Changelog\n\n## 1.2.0 (2026-12-01)\n\n- All of it.\n\n## 1.1.0 (2026-11-01)\n",
    "tests/data/wire/1.2.0/batch.bin": "windows",
    "deploy/a/deployment.yaml": "  image: registry.example/gputally-agent:1.2.0\n  value: gputally-collector:9856\n",
    "deploy/a/kustomization.yaml": "images:\n- name: gputally-agent\n  newTag: 1.2.0\n",
    "deploy/new_site.py": 'TAG = "1.2.0"\n',
    "docs/kubernetes.md": "docker push gputally-agent:1.2.0\nAgents send to gputally-collector:9856.\n",
}


def mistakes(folder: Path, **changed: str) -> list[str]:
    """What is said about the files that fit, but for those that are changed."""
    for name, text in {**FITS, **changed}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return list(release.text_mistakes(folder, "1.2.0"))


def test_nothing_is_said_where_all_agrees(tmp_path: Path) -> None:
    assert mistakes(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("CHANGELOG.md", "## 1.2.0 (unreleased)\n", "CHANGELOG.md: its newest section should be '## 1.2.0 (the day)'"),
        ("CHANGELOG.md", "## 1.1.0 (2026-11-01)\n", "CHANGELOG.md: its newest section should be '## 1.2.0 (the day)'"),
        ("deploy/b.yaml", "image: gputally-agent:1.1.0\n", "deploy/b.yaml: names version 1.1.0 of an image"),
        ("deploy/b.yaml", "    newTag: latest\n", "deploy/b.yaml: names version latest of an image"),
        ("deploy/b.yaml", "    args:\n      VERSION: 1.1.0\n", "deploy/b.yaml: names version 1.1.0 of an image"),
        ("deploy/new_site.py", 'TAG = "1.1.0"\n', "deploy/new_site.py: names version 1.1.0 of an image"),
        ("docs/kubernetes.md", "push gputally-agent:1.1.0\n", "docs/kubernetes.md: names version 1.1.0 of an image"),
    ],
)
def test_what_was_forgotten_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    assert mistakes(tmp_path, **{name: text}) == [said]


def test_a_release_that_recorded_nothing_is_not_ready(tmp_path: Path) -> None:
    """The next one is tested against what this one sends."""
    mistakes(tmp_path)
    (tmp_path / "tests/data/wire/1.2.0/batch.bin").unlink()
    (said,) = release.text_mistakes(tmp_path, "1.2.0")
    assert "python -m tests.wire_record 1.2.0" in said


def test_the_manifests_name_this_version() -> None:
    """Between releases too: what is on the main branch can be installed as it stands."""
    version = release.version(ROOT)
    assert [said for said in release.text_mistakes(ROOT, version) if "of an image" in said] == []
    assert re.match(rf"{re.escape(version)} \(", (ROOT / "CHANGELOG.md").read_text().partition("\n## ")[2])


def test_what_a_person_does_is_told() -> None:
    assert re.findall(r"^\d+\. ", release.left(ROOT), re.MULTILINE) == [f"{n}. " for n in range(1, 11)]
