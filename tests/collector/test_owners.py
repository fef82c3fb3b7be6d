"""Owners are asked for once, what is refused or missing seldom, and everything that is remembered is bounded."""

from collections.abc import Callable

import pytest

from gputally.collector.cluster import owners as module
from gputally.collector.cluster.owners import AGAIN_US, Owners, Plurals
from gputally.collector.cluster.watch import ClusterError, NotThere, Refused
from gputally.collector.workloads.pod import OwnerFacts, OwnerReference


class Api:
    """Owners by name; what is not there raises, and so does all while there is trouble."""

    def __init__(self, *names: str) -> None:
        self.there = {name: OwnerFacts(f"uid-of-{name}") for name in names}
        self.trouble: Exception | None = None
        self.asked: list[str] = []

    def read(self, namespace: str, reference: OwnerReference) -> OwnerFacts | None:
        self.asked.append(f"{namespace}/{reference.kind}/{reference.name}")
        if self.trouble:
            raise self.trouble
        if reference.name not in self.there:
            raise NotThere("404")
        return self.there[reference.name]


class Clock:
    def __init__(self) -> None:
        self.us = 0

    def __call__(self) -> int:
        return self.us


def reference(name: str, kind: str = "Job") -> OwnerReference:
    return OwnerReference("batch/v1", kind, name, f"uid-of-{name}", True)


def ask(owners: Callable[[str, OwnerReference], OwnerFacts | None], *names: str) -> list[bool]:
    return [owners("search", reference(name)) is not None for name in names]


def test_an_owner_is_asked_for_once() -> None:
    api = Api("a")
    assert ask(Owners(api.read, Clock()), "a", "a") == [True, True]
    assert api.asked == ["search/Job/a"]


def test_one_of_the_same_name_with_another_uid_is_another() -> None:
    api = Api("a")
    owners = Owners(api.read, Clock())
    assert owners("search", reference("a")) is not None
    owners("search", OwnerReference("batch/v1", "Job", "a", "uid-of-its-follower"))
    assert len(api.asked) == 2


def test_one_that_is_not_there_is_asked_for_again_after_a_while() -> None:
    api, clock = Api(), Clock()
    owners = Owners(api.read, clock)
    assert ask(owners, "a", "a") == [False, False]
    assert len(api.asked) == 1
    api.there["a"] = OwnerFacts("uid-of-a")
    clock.us += AGAIN_US
    assert ask(owners, "a") == [True]


@pytest.mark.parametrize("trouble", [Refused("403"), ClusterError("403")])
def test_a_refusal_is_for_all_of_a_kind_and_told_once(trouble: ClusterError, caplog: pytest.LogCaptureFixture) -> None:
    """So is an API that does not answer for this kind: nobody waits for it again and again."""
    caplog.set_level("INFO")
    api, clock = Api("a", "b"), Clock()
    owners = Owners(api.read, clock)
    api.trouble = trouble
    assert ask(owners, "a", "b") == [False, False]
    clock.us += AGAIN_US
    assert ask(owners, "a", "b") == [False, False]
    assert len(api.asked) == 2
    assert [record.message for record in caplog.records] == [
        "owners of the kind Job.batch are not read, so labels are believed: 403"
    ]
    api.trouble = None
    clock.us += AGAIN_US
    assert ask(owners, "a", "b") == [True, True]


def test_what_fails_for_one_kind_is_asked_for_another() -> None:
    api = Api("a")
    owners = Owners(api.read, Clock())
    api.trouble = ClusterError("away")
    assert ask(owners, "a") == [False]
    api.trouble = None
    assert owners("search", reference("a", "CronJob")) is not None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    api = Api("a", "b", "c")
    owners = Owners(api.read, Clock())
    ask(owners, "a", "b", "a", "c", "a", "b")
    assert [name[-1] for name in api.asked] == ["a", "b", "c", "b"]


def test_how_a_kind_is_called_is_asked_once_and_no_answer_after_a_while() -> None:
    asked: list[str] = []

    def names(_api: str, kind: str) -> str | None:
        asked.append(kind)
        if kind == "Missing":
            raise NotThere("404")
        return {"Job": "jobs"}.get(kind)

    clock = Clock()
    plurals = Plurals(names, clock)
    for _ in range(2):
        assert [plurals("batch/v1", kind) for kind in ("Job", "Other", "Missing")] == ["jobs", None, None]
    assert asked == ["Job", "Other", "Missing"]
    clock.us += AGAIN_US
    plurals("batch/v1", "Other")
    assert asked[-1] == "Other"
