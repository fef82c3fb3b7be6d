"""A receiver, and the file with its URL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.notify.receiver import WebhookReceiver


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    """A receiver that takes everything until a test says otherwise."""
    server = WebhookReceiver()
    yield server
    server.close()


@pytest.fixture
def url_file(receiver: WebhookReceiver, tmp_path: Path) -> Path:
    """The file that --webhook-url-file names."""
    path = tmp_path / "url"
    path.write_text(receiver.url + "\n")
    return path
