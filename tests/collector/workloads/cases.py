"""The fixture pods of `tests/data/workloads`: what the API says of each, which owners can be read, whose it is."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gputally.collector.workloads.pod import Lookup, OwnerFacts, OwnerReference, PodFacts
from gputally.collector.workloads.read_pod import Wanted, read_owner, read_pod
from gputally.collector.workloads.rule_book import RuleBook
from gputally.collector.workloads.workload import Claim, Workload

DATA = Path(__file__).resolve().parents[2] / "data" / "workloads"
LONG = "x" * 5000  # what LONG stands for in a fixture


@dataclass(frozen=True)
class Case:
    """One fixture; `expected` names the fields that are known."""

    name: str
    pod: Mapping[str, Any]
    owners: tuple[Mapping[str, Any], ...]
    expected: Mapping[str, Any]

    def resolve(self, book: RuleBook) -> Workload:
        pod = read_pod(self.pod, book.wanted)
        assert pod is not None
        return book.resolve(pod, self.lookup(book.wanted))

    def facts(self, wanted: Wanted) -> PodFacts:
        found = read_pod(self.pod, wanted)
        assert found is not None
        return found

    def lookup(self, wanted: Wanted) -> Lookup:
        """Reads the owners that the fixture lists, as a cluster's API would: by version, kind and name."""
        objects = {
            (one["apiVersion"], one["kind"], one["metadata"]["name"]): read_owner(one, wanted) for one in self.owners
        }

        def read(namespace: str, reference: OwnerReference) -> OwnerFacts | None:
            assert namespace == self.pod["metadata"]["namespace"]
            return objects.get((reference.api_version, reference.kind, reference.name))

        return read


@cache
def documents() -> dict[str, Mapping[str, Any]]:
    """Every fixture file by its name."""
    return {path.stem: yaml.safe_load(path.read_text().replace("LONG", LONG)) for path in sorted(DATA.glob("*.yaml"))}


def cases() -> list[Case]:
    """Every fixture pod."""
    return [
        Case(f"{name}: {one['case']}", one["pod"], tuple(one.get("owners", ())), one["workload"])
        for name, document in documents().items()
        for one in document.get("cases", ())
    ]


def known(workload: Workload) -> dict[str, Any]:
    """The fields of a workload that are known, without the namespace; claims by their text."""
    found = {field.name: getattr(workload, field.name) for field in fields(workload) if field.name != "namespace"}
    texts = {name: value.text if isinstance(value, Claim) else value for name, value in found.items()}
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in texts.items()}
    return {name: value for name, value in lists.items() if value is not None and value != []}
