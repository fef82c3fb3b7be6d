"""Readers known to Kubernetes see the namespaces whose pods they may list, in that cluster, and no others."""

import asyncio
import json
from collections.abc import Collection
from pathlib import Path

import pytest
from tests.collector.test_auth_token_review import Api
from tests.kube_review import FakeReviews, Token

from gputally.collector.auth import kube_readers
from gputally.collector.auth.access_review import PATH, AccessReviews, request
from gputally.collector.auth.errors import Unauthenticated, Undecided
from gputally.collector.auth.kube_api import MAX_WAITING
from gputally.collector.auth.kube_readers import KubeReaders
from gputally.collector.auth.memo import KEPT_S
from gputally.collector.auth.reader import Reader, Role
from gputally.collector.auth.token_review import TokenReviews, User

RECORDINGS = Path(__file__).parent.parent / "data" / "kubernetes" / "subjectaccessreview"
PROD = frozenset({"prod"})


class World:
    """A cluster, its RBAC, and what the ledger knows."""

    def __init__(self) -> None:
        self.api = Api()
        self.api.reviews.tokens = {
            name: Token(username=name, audiences=("gputally",)) for name in ("ann", "bob", "ops", "root")
        }
        self.known: list[str] = ["vision", "speech", "search"]
        grants = self.api.reviews
        grants.grant("ann", "list", "pods/vision")
        grants.grant("ann", "list", "pods/elsewhere")
        grants.grant("ops", "list", "pods/")
        grants.grant("root", "list", "pods/")
        grants.grant("root", "update", "/gputally/admin")
        reviews = TokenReviews(self.api, "gputally", lambda: self.api.now_s)
        self.readers = KubeReaders(reviews, AccessReviews(self.api), "prod", self.namespaces, lambda: self.api.now_s)

    async def namespaces(self) -> Collection[str]:
        return self.known

    async def ask(self, token: str) -> Reader:
        return await self.readers.authenticate(f"Bearer {token}")


def play(token: str) -> Reader:
    return asyncio.run(World().ask(token))


def test_a_team_sees_its_own_namespaces_in_this_cluster() -> None:
    """Of those that the ledger knows; the same name in another cluster is somebody else's."""
    assert play("ann") == Reader("ann", Role.VIEWER, frozenset({"vision"}), PROD)


def test_whoever_may_list_no_pods_sees_nothing() -> None:
    assert play("bob") == Reader("bob", Role.VIEWER, frozenset(), PROD)


def test_whoever_may_list_all_pods_sees_the_cluster() -> None:
    assert play("ops") == Reader("ops", Role.VIEWER, None, PROD)


def test_an_admin_is_made_by_rbac() -> None:
    assert play("root") == Reader("root", Role.ADMIN, None, PROD)


def test_a_stranger_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        play("eve")


def test_a_right_that_is_taken_away_is_gone_after_a_minute() -> None:
    async def scenario() -> None:
        world = World()
        assert (await world.ask("ann")).namespaces == {"vision"}
        world.api.reviews.grants.clear()
        asked = world.api.asked
        assert (await world.ask("ann")).namespaces == {"vision"}
        assert world.api.asked == asked
        world.api.now_s += KEPT_S
        assert (await world.ask("ann")).namespaces == frozenset()

    asyncio.run(scenario())


def test_while_rbac_cannot_be_asked_nobody_sees_anything() -> None:
    """An answer that is missing is neither yes nor no."""

    async def scenario() -> None:
        world = World()
        await world.ask("ann")
        world.api.now_s += KEPT_S
        world.api.away = True
        with pytest.raises(Undecided):
            await world.ask("ann")

    asyncio.run(scenario())


def test_a_reader_of_many_namespaces_fills_no_queue() -> None:
    """More questions than may wait would be turned away, this reader's and everybody's."""

    class Counting(AccessReviews):
        waiting = most = 0

        async def may_list_pods(self, user: User, namespace: str) -> bool:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            await asyncio.sleep(0)
            self.waiting -= 1
            return namespace.endswith("7")

    async def scenario() -> None:
        world = World()
        world.known = [f"team-{number}" for number in range(kube_readers.MAX_NAMESPACES)]
        access = Counting(world.api)
        reviews = TokenReviews(world.api, "gputally", lambda: world.api.now_s)
        readers = KubeReaders(reviews, access, "prod", world.namespaces, lambda: world.api.now_s)
        reader = await readers.authenticate("Bearer ann")
        assert len(reader.namespaces or ()) == kube_readers.MAX_NAMESPACES / 10
        assert access.most < MAX_WAITING / 4

    asyncio.run(scenario())


def test_too_many_namespaces_hide_the_rest_and_say_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kube_readers, "MAX_NAMESPACES", 2)
    assert play("ann").namespaces == frozenset()  # vision is the last of three
    assert "3 namespaces are more than" in caplog.text


def test_a_denial_wins() -> None:
    class Denies:
        async def review(self, path: str, document: object) -> dict[str, object]:
            return {"allowed": True, "denied": True}

    assert not asyncio.run(AccessReviews(Denies()).may_list_pods(User("a", "", (), ()), ""))


@pytest.mark.parametrize("name", ["allowed", "denied", "allowed-admin", "denied-non-resource"])
def test_the_fake_api_server_answers_as_the_recorded_one(name: str) -> None:
    recorded = json.loads((RECORDINGS / f"{name}.json").read_text())
    spec = recorded["request"]["spec"]
    attributes = {key: spec[key] for key in ("resourceAttributes", "nonResourceAttributes") if key in spec}
    asked = request(User(spec["user"], "", tuple(spec["groups"]), ()), attributes)
    with FakeReviews() as fake:
        fake.grant("system:serviceaccount:gputally:agent", "list", "pods/")
        code, body = fake.answer(PATH, f"Bearer {fake.own_token}", asked)
    assert (code, body["status"]["allowed"]) == (recorded["http_status"], recorded["response"]["status"]["allowed"])
    assert {key: asked["spec"][key] for key in spec} == spec  # type: ignore[index]
