"""What `kubectl kustomize` makes of each folder below deploy/, rendered once a process, several at a time."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
OLDEST = (1, 27)  # the first kubectl with kustomize 5
NEEDED = (
    "kubectl 1.27 or newer is missing (its kustomize renders the manifests; Debian 12 has 1.20, which is too old): "
    "https://kubernetes.io/docs/tasks/tools/"
)
FOLDERS = sorted(path.parent.relative_to(DEPLOY).as_posix() for path in DEPLOY.rglob("kustomization.yaml"))

Object = dict[str, Any]


@cache
def kubectl() -> str:
    """The program; skips the test where it is missing or too old."""
    found = shutil.which("kubectl")
    if not found:
        pytest.skip(NEEDED)
    command = [found, "version", "--client", "--output=json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    version = re.search(r'"gitVersion": "v(\d+)\.(\d+)', done.stdout)
    if not version or (int(version[1]), int(version[2])) < OLDEST:
        pytest.skip(NEEDED)
    return found


def render(folder: Path) -> list[Object]:
    """The objects of a folder, as they would be applied."""
    done = subprocess.run(
        [kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@cache
def all_folders() -> dict[str, list[Object]]:
    """The objects of every folder below deploy/."""
    kubectl()
    with ThreadPoolExecutor(4) as threads:
        return dict(zip(FOLDERS, threads.map(lambda name: render(DEPLOY / name), FOLDERS), strict=True))


def new_site(folder: Path, *words: str) -> None:
    """Let new_site.py write a folder."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is missing; install it with: apt-get install openssl")
    command = [sys.executable, str(DEPLOY / "new_site.py"), str(folder), "--cluster", "prod", *words]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def named(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of a kind and name."""
    (found,) = (each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def of_kind(objects: list[Object], *kinds: str) -> Iterator[Object]:
    """The objects of some kinds."""
    return (each for each in objects if each["kind"] in kinds)


def pod_template(workload: Object) -> Object | None:
    """The pod that an object makes; None where it makes none."""
    spec = workload.get("spec", {})
    template: Object | None = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return template


def pod_templates(objects: list[Object]) -> Iterator[tuple[Object, Object]]:
    """(the object, the pod that it makes) of all that make any."""
    for each in objects:
        template = pod_template(each)
        if template:
            yield each, template


def containers(template: Object) -> list[Object]:
    """All containers of a pod, those that run before the others first."""
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]
