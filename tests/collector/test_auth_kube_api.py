"""One POST to the Kubernetes API: over TLS that is checked, with a token that is read each time, and with an end."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.certificates import Authority, replace_file
from tests.kube_review import FakeReviews, Token

from gputally.collector.auth import kube_api
from gputally.collector.auth.errors import Undecided
from gputally.collector.auth.kube_api import KubeApi
from gputally.collector.auth.token_review import PATH, request

QUESTION = request("a.b.c", "gputally-collector")


@pytest.fixture
def fake() -> Iterator[FakeReviews]:
    with FakeReviews(tokens={"a.b.c": Token(node="gpu-1")}) as fake:
        yield fake


@pytest.fixture
def own_token(tmp_path: Path, fake: FakeReviews) -> Path:
    return replace_file(tmp_path / "token", fake.own_token.encode() + b"\n")


def ask(api: KubeApi) -> object:
    async def play() -> object:
        try:
            return await api.review(PATH, QUESTION)
        finally:
            api.close()

    return asyncio.run(play())


def test_a_review_is_its_status(fake: FakeReviews, own_token: Path) -> None:
    status = ask(KubeApi(fake.url, own_token, None))
    assert isinstance(status, dict)
    assert status["authenticated"] is True
    assert fake.asked == [QUESTION]


def test_the_own_token_is_read_again_each_time(fake: FakeReviews, own_token: Path) -> None:
    async def play() -> None:
        api = KubeApi(fake.url, own_token, None)
        await api.review(PATH, QUESTION)
        fake.own_token = "rotated"
        with pytest.raises(Undecided, match="own token"):
            await api.review(PATH, QUESTION)
        replace_file(own_token, b"rotated")
        await api.review(PATH, QUESTION)
        api.close()

    asyncio.run(play())


@pytest.mark.parametrize("content", [b"", b"two\nlines-of-secret", b"\xffsecret", b"nul\0secret"])
def test_a_file_without_a_token_is_told_without_what_it_holds(
    fake: FakeReviews, own_token: Path, content: bytes
) -> None:
    own_token.write_bytes(content)
    with pytest.raises(Undecided, match="holds no token") as caught:
        ask(KubeApi(fake.url, own_token, None))
    assert "secret" not in str(caught.value)
    assert fake.asked == []


def test_a_missing_token_file_is_named(fake: FakeReviews, tmp_path: Path) -> None:
    with pytest.raises(Undecided, match=r"No such file.*gone"):
        ask(KubeApi(fake.url, tmp_path / "gone", None))


def test_a_collector_that_may_not_ask_is_told_what_to_bind(fake: FakeReviews, own_token: Path) -> None:
    fake.permitted = False
    with pytest.raises(Undecided, match="system:auth-delegator"):
        ask(KubeApi(fake.url, own_token, None))


@pytest.mark.parametrize("code", [400, 404, 422, 429, 500, 503, 200, 302])
def test_any_other_status_is_no_answer(fake: FakeReviews, own_token: Path, code: int) -> None:
    fake.trouble = (code, {"status": {"authenticated": True}})
    with pytest.raises(Undecided, match=str(code)):
        ask(KubeApi(fake.url, own_token, None))


@pytest.mark.parametrize("body", [{}, {"status": "x"}, {"status": None}])
def test_an_answer_without_a_status_is_none(fake: FakeReviews, own_token: Path, body: dict[str, object]) -> None:
    fake.trouble = (201, body)
    with pytest.raises(Undecided, match="no review"):
        ask(KubeApi(fake.url, own_token, None))


def test_an_api_that_is_away_is_undecided(fake: FakeReviews, own_token: Path) -> None:
    fake.stop()
    with pytest.raises(Undecided, match="gives no answer: Connection refused"):
        ask(KubeApi(fake.url, own_token, None))


def test_the_api_must_be_the_one_that_its_authority_vouches_for(tmp_path: Path, own_token: Path) -> None:
    """Whoever stands between must not get the tokens, nor say who anybody is. A new authority is taken at once."""
    authority, stranger = Authority(), Authority("stranger")
    certificate, key = authority.issue(dns=["localhost"]).write(tmp_path, "api")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    ca = replace_file(tmp_path / "ca.crt", stranger.pem)

    async def play(fake: FakeReviews) -> None:
        api = KubeApi(fake.url, own_token, ca)
        with pytest.raises(Undecided, match="not trusted"):
            await api.review(PATH, QUESTION)
        assert fake.asked == []
        replace_file(ca, authority.pem)
        assert (await api.review(PATH, QUESTION))["authenticated"] is True
        api.close()

    with FakeReviews(tls=tls, tokens={"a.b.c": Token()}) as fake:
        asyncio.run(play(fake))


def test_more_questions_than_can_wait_are_sent_away(
    fake: FakeReviews, own_token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers with made-up tokens fill neither the memory nor the API server."""
    monkeypatch.setattr(kube_api, "MAX_WAITING", 3)

    async def play() -> None:
        api = KubeApi(fake.url, own_token, None)
        waiting = [asyncio.ensure_future(api.review(PATH, QUESTION)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Undecided, match="too many"):
            await api.review(PATH, QUESTION)
        assert api.turned_away == 1
        await asyncio.gather(*waiting)
        await api.review(PATH, QUESTION)
        api.close()

    asyncio.run(play())
