"""TokenReview: read as the API server really answers, remembered for a minute at most, and never guessed."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kube_review import API_SERVER, FakeReviews, Token

from gputally.collector.auth.errors import Unauthenticated, Undecided
from gputally.collector.auth.memo import KEPT_S, REFUSAL_KEPT_S
from gputally.collector.auth.token_review import AWAY_S, PATH, TokenReviews, parse, request

RECORDINGS = Path(__file__).parent.parent / "data" / "kubernetes" / "tokenreview"
AUDIENCE = "gputally-collector"


def recording(name: str) -> Any:
    return json.loads((RECORDINGS / f"{name}.json").read_text())


class Api:
    """Answers in memory from the state of a `FakeReviews` that does not listen; can be away."""

    def __init__(self) -> None:
        self.reviews = FakeReviews(clock_s=lambda: self.now_s)
        self.reviews.stop()
        self.now_s = 1000.0
        self.away = False
        self.asked = 0

    async def review(self, path: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked += 1
        if self.away:
            raise Undecided("nobody answers")
        code, body = self.reviews.answer(path, f"Bearer {self.reviews.own_token}", dict(document))
        assert code == 201
        status: Mapping[str, Any] = body["status"]
        return status


@pytest.mark.parametrize(
    "name",
    ["valid", "bound-pod-running", "bound-pod-terminating", "bound-pod-deleted-first-answer"],
)
def test_a_token_that_the_api_server_vouches_for_is_its_users(name: str) -> None:
    """The user, and the node in `extra`, stand in the answer as recorded."""
    user = parse(recording(name)["response"]["status"], AUDIENCE)
    assert user.username == "system:serviceaccount:gputally:agent"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:gputally", "system:authenticated")
    assert user.extra_values("authentication.kubernetes.io/node-name") == ("labnode",)
    assert user.extra_values("no such key") == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong-audience", "invalid for the target audiences"),
        ("garbage", "invalid bearer token"),
        ("garbage-jwt", "cryptographic primitive"),
        ("expired-70s", "has expired"),
        ("bound-pod-deleted", "has been invalidated"),
        ("deleted-service-account", "not found"),
        ("legacy-secret-token", "invalid for the target audiences"),
        ("default-token-no-audience-asked", "not made for the audience gputally-collector"),
        ("legacy-secret-token-no-audience-asked", "not made for the audience gputally-collector"),
    ],
)
def test_a_token_that_it_does_not_vouch_for_is_refused_in_its_words(name: str, words: str) -> None:
    """A refusal is HTTP 201 without `authenticated`; and an answer for another audience than ours is a refusal."""
    with pytest.raises(Unauthenticated, match=words):
        parse(recording(name)["response"]["status"], AUDIENCE)


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"authenticated": "true", "audiences": [AUDIENCE], "user": {"username": "x"}},
        {"authenticated": True, "audiences": AUDIENCE, "user": {"username": "x"}},
        {"authenticated": True, "audiences": [AUDIENCE]},
        {"authenticated": True, "audiences": [AUDIENCE], "user": {"username": ""}},
        {"authenticated": True, "audiences": [AUDIENCE], "user": "x"},
    ],
)
def test_an_answer_that_is_not_quite_a_yes_is_a_no(status: dict[str, object]) -> None:
    with pytest.raises(Unauthenticated):
        parse(status, AUDIENCE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional={"authenticated": JSON, "audiences": JSON, "user": JSON, "error": JSON}))
def test_no_answer_breaks_the_reader(status: dict[str, Any]) -> None:
    """Whatever comes is a user with a name, for our audience, or a refusal."""
    try:
        user = parse(status, AUDIENCE)
    except Unauthenticated:
        return
    assert user.username
    assert status["authenticated"] is True
    assert AUDIENCE in status["audiences"]


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("valid", Token(node="labnode", pod="agent-jdnr5")),
        ("unbound-service-account", Token()),
        ("wrong-audience", Token(audiences=(API_SERVER,))),
        ("expired-70s", Token(node="labnode", pod="x", expires_s=-70)),
        ("expired-50s", Token(node="labnode", pod="x", expires_s=-50)),
        ("bound-pod-deleted", Token(node="labnode", pod="x", invalidated=True)),
        ("other-service-account", Token(username="system:serviceaccount:inference:default", node="labnode", pod="x")),
        ("garbage", None),
    ],
)
def test_the_fake_api_server_answers_as_the_recorded_one(name: str, token: Token | None) -> None:
    """What the tests believe of Kubernetes is what was seen of it."""
    recorded = recording(name)
    with FakeReviews() as fake:
        fake.tokens = {"REDACTED": token} if token else {}
        code, body = fake.answer(PATH, f"Bearer {fake.own_token}", request("REDACTED", AUDIENCE))
    assert request("REDACTED", AUDIENCE) == recorded["request"]
    assert code == recorded["http_status"]
    expected, status = recorded["response"]["status"], body["status"]
    assert status.get("error") == expected.get("error")
    assert status.get("authenticated") == expected.get("authenticated")
    assert status.get("audiences") == expected.get("audiences")
    assert status["user"].get("username") == expected["user"].get("username")
    assert status["user"].get("groups") == expected["user"].get("groups")
    assert set(status["user"].get("extra", ())) == set(expected["user"].get("extra", ()))


def test_the_audience_is_always_sent() -> None:
    """Without it the API server takes tokens that were made for anybody."""
    assert request("t", AUDIENCE)["spec"] == {"token": "t", "audiences": [AUDIENCE]}


def test_a_yes_is_kept_for_a_minute_and_no_longer() -> None:
    """A deleted pod's token is let in for at most so long."""

    async def play() -> None:
        api = Api()
        api.reviews.tokens["a.b.c"] = Token(node="gpu-1")
        reviews = TokenReviews(api, AUDIENCE, lambda: api.now_s)
        await reviews.user("a.b.c")
        api.reviews.invalidate("a.b.c")
        api.now_s += KEPT_S - 0.1
        assert (await reviews.user("a.b.c")).username.endswith(":agent")
        assert api.asked == 1
        api.now_s += 0.1
        with pytest.raises(Unauthenticated, match="invalidated"):
            await reviews.user("a.b.c")

    assert KEPT_S <= 60
    asyncio.run(play())


def test_a_no_is_kept_for_a_few_seconds() -> None:
    """A pod that is asked for a moment too early comes in at its next try."""

    async def play() -> None:
        api = Api()
        reviews = TokenReviews(api, AUDIENCE, lambda: api.now_s)
        for _ in range(3):
            with pytest.raises(Unauthenticated):
                await reviews.user("a.b.c")
        assert api.asked == 1
        api.reviews.tokens["a.b.c"] = Token()
        api.now_s += REFUSAL_KEPT_S
        await reviews.user("a.b.c")

    assert REFUSAL_KEPT_S <= 5
    asyncio.run(play())


def test_an_api_server_that_is_away_is_not_asked_by_everybody() -> None:
    """Nobody is let in meanwhile who is not known, and nobody is remembered as refused."""

    async def play() -> None:
        api = Api()
        api.reviews.tokens = {"a.b.c": Token(), "d.e.f": Token()}
        reviews = TokenReviews(api, AUDIENCE, lambda: api.now_s)
        await reviews.user("a.b.c")
        api.away = True
        for _ in range(3):
            with pytest.raises(Undecided, match="nobody answers"):
                await reviews.user("d.e.f")
        assert api.asked == 2
        assert await reviews.user("a.b.c")
        api.away = False
        api.now_s += AWAY_S
        assert await reviews.user("d.e.f")

    asyncio.run(play())


def test_tokens_are_told_apart() -> None:
    async def play() -> None:
        api = Api()
        api.reviews.tokens = {"a": Token(username="ann"), "b": Token(username="bob")}
        reviews = TokenReviews(api, AUDIENCE, lambda: api.now_s)
        assert [(await reviews.user(token)).username for token in "abab"] == ["ann", "bob", "ann", "bob"]

    asyncio.run(play())
