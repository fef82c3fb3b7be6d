"""The HTTP edge against a real server: what is sent, what becomes of it, and that the URL stays a secret."""

import ssl
from pathlib import Path

import pytest
from tests.certificates import Authority
from tests.collector.notify.receiver import SECRET, Reply, WebhookReceiver
from tests.ports import OwnPort

from gputally.collector.notify.answer import Failure
from gputally.collector.notify.webhook import Webhook, WebhookUrlError, read_url

BODY = b'{"title": "hello"}'


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_message_is_one_post_of_json(receiver: WebhookReceiver, url_file: Path) -> None:
    answer = Webhook(url_file).send(BODY)
    assert (answer.failure, answer.said, answer.body) == (None, "HTTP 200 OK", "ok")
    assert receiver.bodies == [{"title": "hello"}]
    assert receiver.paths == [SECRET]
    assert receiver.headers[0]["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("reply", "failure", "after_s"),
    [
        (Reply(500), Failure.BROKEN, None),
        (Reply(503, {"Retry-After": "7"}), Failure.BROKEN, 7),
        (Reply(429, {"Retry-After": "30"}), Failure.BUSY, 30),
        (Reply(403), Failure.ADDRESS, None),
        (Reply(400, {"Retry-After": "7"}, "invalid_payload"), Failure.MESSAGE, None),
    ],
)
def test_what_the_receiver_says_is_what_is_done(
    receiver: WebhookReceiver, url_file: Path, reply: Reply, failure: Failure, after_s: int | None
) -> None:
    receiver.replies = [reply]
    answer = Webhook(url_file).send(BODY)
    assert (answer.failure, answer.after_s, answer.body) == (failure, after_s, reply.body)
    assert str(reply.status) in answer.said


def test_a_redirect_is_not_followed(receiver: WebhookReceiver, url_file: Path) -> None:
    """It could lead to another house, and take the message there."""
    receiver.replies = [Reply(status, {"Location": receiver.url}) for status in (301, 302, 307, 308)]
    answers = [Webhook(url_file).send(BODY) for _ in range(4)]
    assert {answer.failure for answer in answers} == {Failure.REDIRECT}
    assert (receiver.bodies, len(receiver.paths)) == ([], 4)


def test_a_receiver_that_says_nothing_is_given_up(receiver: WebhookReceiver, url_file: Path) -> None:
    receiver.silent.set()
    answer = Webhook(url_file, timeout_s=0.2).send(BODY)
    assert (answer.failure, answer.said) == (Failure.UNREACHABLE, "no answer in time")


def test_nobody_there_is_an_answer_and_no_error(url_file: Path) -> None:
    nobodys = OwnPort()
    url_file.write_text(f"http://{nobodys.address}{SECRET}")
    answer = Webhook(url_file).send(BODY)
    assert (answer.failure, answer.said) == (Failure.UNREACHABLE, "Connection refused")


def test_what_speaks_no_http_is_an_answer_and_no_error(receiver: WebhookReceiver, url_file: Path) -> None:
    receiver.replies = [Reply(99)]
    answer = Webhook(url_file).send(BODY)
    assert answer.failure is Failure.UNREACHABLE
    assert SECRET not in answer.said


def test_a_url_that_was_replaced_is_used(receiver: WebhookReceiver, url_file: Path) -> None:
    """Slack's URLs are revoked and made anew."""
    webhook = Webhook(url_file)
    url_file.write_text("")
    assert webhook.send(BODY).failure is Failure.ADDRESS
    url_file.write_text(receiver.url + "-new")
    assert webhook.send(BODY).failure is None
    assert receiver.paths == [SECRET + "-new"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hooks.slack.com/services/secret",
        "ftp://host/secret",
        "file:///etc/secret",
        "https://",
        "https://user:secret@host/",
        "https://host/secret path",
        "https://host/secret\nhttps://host/secret",
        "https://host:0/secret",
        "https://host:99999/secret",
        "https://" + "a" * 64 + ".example/secret",
        "https://host/" + "secret" * 500,
        "https://höst/secret",
    ],
)
def test_what_is_no_url_is_told_without_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text(text, "latin-1")
    with pytest.raises(WebhookUrlError) as raised:
        read_url(path)
    assert "secret" not in str(raised.value)
    assert Webhook(path).send(BODY).failure is Failure.ADDRESS


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    answer = Webhook(tmp_path / "none").send(BODY)
    assert answer.said == f"--webhook-url-file {tmp_path / 'none'}: No such file or directory"


def test_a_receiver_that_repeats_the_request_repeats_no_secret(receiver: WebhookReceiver, url_file: Path) -> None:
    receiver.replies = [Reply(404, body=f"no such path: {SECRET}\n\x1b[31m")]
    answer = Webhook(url_file).send(BODY)
    assert answer.body == "no such path: … �[31m"


def test_of_a_long_answer_little_is_read(receiver: WebhookReceiver, url_file: Path) -> None:
    receiver.replies = [Reply(500, body="x" * 100_000)]
    assert len(Webhook(url_file).send(BODY).body) == 1024


def test_a_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stands between could read the URL, and write into the channel."""
    authority = Authority()
    certificate, key = authority.issue(ips=["127.0.0.1"]).write(tmp_path, "receiver")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver = WebhookReceiver(context)
    path = tmp_path / "url"
    path.write_text(receiver.url)
    try:
        stranger = Webhook(path).send(BODY)
        (tmp_path / "ca.pem").write_bytes(authority.pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        known = Webhook(path).send(BODY)
    finally:
        receiver.close()
    assert (stranger.failure, stranger.said.partition(":")[0]) == (
        Failure.UNREACHABLE,
        "its certificate is not trusted",
    )
    assert known.failure is None
    assert len(receiver.bodies) == 1
