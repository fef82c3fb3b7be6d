"""A service account's token names the node of its pod, or lets nobody in."""

import asyncio

import pytest
from tests.collector.test_auth_token_review import AUDIENCE, Api, recording
from tests.collector.test_auth_vouched import jwt
from tests.kube_review import Token

from gputally.collector.auth.agent import Identity
from gputally.collector.auth.errors import Forbidden, Unauthenticated, Undecided
from gputally.collector.auth.memo import KEPT_S
from gputally.collector.auth.service_account import TokenAgents, node_of, username
from gputally.collector.auth.token_review import AWAY_S, TokenReviews, parse
from gputally.collector.auth.vouched import VouchedTokens

Metadata = tuple[tuple[str, str | bytes], ...]


class Sent:
    """A call with this metadata."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}


def door(api: Api) -> TokenAgents:
    vouched = VouchedTokens(lambda: api.now_s, lambda: api.now_s)
    return TokenAgents(TokenReviews(api, AUDIENCE, lambda: api.now_s), vouched, ["gputally/agent"], "prod")


def identify(api: Api, *metadata: tuple[str, str | bytes]) -> Identity:
    return asyncio.run(door(api).identify(Sent(*metadata)))


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


@pytest.fixture
def api() -> Api:
    api = Api()
    api.reviews.tokens = {
        "on.gpu.1": Token(node="gpu-1", pod="agent-x"),
        "by.hand.made": Token(),
        "of.somebody.else": Token(username="system:serviceaccount:inference:default", node="gpu-1"),
        "for.api.server": Token(audiences=("https://kubernetes.default.svc.cluster.local",), node="gpu-1"),
    }
    return api


def test_an_agents_token_is_the_node_of_its_pod_in_this_cluster(api: Api) -> None:
    assert identify(api, ("user-agent", "x"), bearer("on.gpu.1")) == Identity("prod", "gpu-1")


def test_a_token_without_a_node_is_forbidden(api: Api) -> None:
    """Somebody with the right to create tokens must not write for every node."""
    with pytest.raises(Forbidden, match="names no node"):
        identify(api, bearer("by.hand.made"))


def test_the_token_of_another_service_account_is_forbidden(api: Api) -> None:
    with pytest.raises(Forbidden, match="inference:default is not a service account of agents"):
        identify(api, bearer("of.somebody.else"))


def test_a_token_for_another_audience_is_refused(api: Api) -> None:
    with pytest.raises(Unauthenticated, match="audiences"):
        identify(api, bearer("for.api.server"))


def test_while_nobody_can_tell_nobody_comes_in(api: Api) -> None:
    api.away = True
    with pytest.raises(Undecided):
        identify(api, bearer("on.gpu.1"))


def test_an_outage_of_the_api_server_sends_nobody_away_whose_token_is_good(api: Api) -> None:
    """What it says when it is back holds again at once, a refusal for good."""
    token = jwt({"exp": int(api.now_s) + 600})
    api.reviews.tokens[token] = Token(node="gpu-1", expires_s=api.now_s + 600)

    async def story() -> None:
        agents, call = door(api), Sent(bearer(token))
        assert await agents.identify(call) == Identity("prod", "gpu-1")
        api.away = True
        api.now_s += 300
        assert await agents.identify(call) == Identity("prod", "gpu-1")
        with pytest.raises(Undecided):
            await agents.identify(Sent(bearer("on.gpu.1")))
        api.away = False
        api.reviews.tokens[token] = Token(node="gpu-1", invalidated=True)
        api.now_s += AWAY_S
        with pytest.raises(Unauthenticated):
            await agents.identify(call)
        api.away = True
        api.now_s += KEPT_S
        with pytest.raises(Undecided):
            await agents.identify(call)

    asyncio.run(story())


def test_a_refusal_counts_though_whoever_asked_has_left(api: Api) -> None:
    """Else a token that was revoked would be believed in an outage, if only each of its calls is broken off early."""
    token = jwt({"exp": int(api.now_s) + 600})
    api.reviews.tokens[token] = Token(node="gpu-1", expires_s=api.now_s + 600)

    async def story() -> None:
        agents, call = door(api), Sent(bearer(token))
        await agents.identify(call)
        api.now_s += KEPT_S
        api.reviews.tokens[token] = Token(node="gpu-1", invalidated=True)
        asked = asyncio.ensure_future(agents.identify(call))
        await asyncio.sleep(0)
        asked.cancel()
        while len(asyncio.all_tasks()) > 1:  # what goes on without it
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # who waits for the last of them is told
        api.away = True
        api.now_s += KEPT_S
        with pytest.raises(Undecided):
            await agents.identify(call)

    asyncio.run(story())


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer "),),
        (("authorization", "on.gpu.1"),),
        (("authorization", b"Bearer on.gpu.1"),),
        (bearer("on.gpu.1"), bearer("on.gpu.1")),
        (bearer("no-token"),),
        (bearer("a.b.c.d"),),
        (bearer("ü.b.c"),),
        (bearer("a.b." + "c" * 20_000),),
    ],
)
def test_what_is_no_token_is_refused_without_a_question(api: Api, metadata: Metadata) -> None:
    """The API server is not bothered with what strangers make up."""
    with pytest.raises(Unauthenticated):
        identify(api, *metadata)
    assert api.asked == 0


@pytest.mark.parametrize("name", ["valid", "unbound-service-account", "other-service-account"])
def test_recorded_users_have_a_node_or_have_none(name: str) -> None:
    user = parse(recording(name)["response"]["status"], AUDIENCE)
    bound = recording(name)["token_claims"]["kubernetes.io"].get("node")
    if bound:
        assert node_of(user) == bound["name"]
    else:
        with pytest.raises(Forbidden):
            node_of(user)


def test_two_nodes_are_none() -> None:
    user = parse(recording("valid")["response"]["status"], AUDIENCE)
    twice = type(user)(user.username, user.uid, (), (("authentication.kubernetes.io/node-name", ("a", "b")),))
    with pytest.raises(Forbidden):
        node_of(twice)


def test_the_username_is_the_api_servers() -> None:
    assert username("gputally/agent") == "system:serviceaccount:gputally:agent"
