"""`gputally notify test` sends one message and prints what came of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.notify.receiver import SECRET, Reply, WebhookReceiver
from typer.testing import CliRunner, Result

from gputally.collector.cli.notify import app


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    server = WebhookReceiver()
    yield server
    server.close()


@pytest.fixture
def url_file(receiver: WebhookReceiver, tmp_path: Path) -> Path:
    path = tmp_path / "url"
    path.write_text(receiver.url)
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["test", *arguments])


def test_a_message_that_is_taken(receiver: WebhookReceiver, url_file: Path) -> None:
    done = run("--webhook-url-file", str(url_file), "--public-url", "https://gpu.example.com")
    assert (done.exit_code, done.stdout) == (0, "HTTP 200 OK\nok\n")
    (body,) = receiver.bodies
    assert (body["event"], body["link"]) == ("test", "https://gpu.example.com/idle")


def test_the_settings_of_the_collector_hold_here_too(
    receiver: WebhookReceiver, url_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the collector's pod no flag is needed."""
    monkeypatch.setenv("GPUTALLY_WEBHOOK_URL_FILE", str(url_file))
    monkeypatch.setenv("GPUTALLY_WEBHOOK_FORMAT", "slack")
    assert run().exit_code == 0
    assert "blocks" in json.loads(json.dumps(receiver.bodies[0]))


def test_a_message_that_is_not_taken(receiver: WebhookReceiver, url_file: Path) -> None:
    receiver.replies = [Reply(403, body=f"invalid_token for {SECRET}")]
    done = run("--webhook-url-file", str(url_file))
    assert (done.exit_code, done.stdout) == (1, "HTTP 403 Forbidden\ninvalid_token for …\n")
    assert SECRET not in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "there is no webhook: give --webhook-url-file, or GPUTALLY_WEBHOOK_URL_FILE"),
        (("--webhook-format", "teams"), "--webhook-format"),
        (("--public-url", "gpu.example.com"), "--public-url: expected a URL such as https://gpu.example.com"),
        (("--public-url", "https://gpu.example.com/?a=b"), "--public-url: expected a URL"),
        (("--public-url", "https://gpu.example.com/a|b"), "--public-url: expected a URL"),
    ],
)
def test_what_is_wrong_with_the_settings_is_said(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr
