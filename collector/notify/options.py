"""The settings of messages, and what they may be; the collector and `gputally notify` share them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field


class Format(StrEnum):
    """Who reads messages."""

    JSON = "json"
    SLACK = "slack"


def _page_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("expected a URL such as https://gpu.example.com")
    if not text.isascii() or not text.isprintable() or set(text) & set('<>|" '):
        raise ValueError("expected a URL of letters, digits and signs that a URL may have")
    return text


def _no_url(path: Path) -> Path:
    """Paths are named in logs, and the URL is a secret."""
    if path.parts[:1] in (("http:",), ("https:",)):
        raise ValueError("expected a file that holds the URL, not the URL itself")
    return path


WebhookFile = Annotated[
    Annotated[Path, AfterValidator(_no_url)] | None,
    Field(
        description=(
            "FILE with the URL of a webhook that is told of idle spells and budgets; it is a secret, and read again "
            "for each message. Try it with `gputally notify test`. Default: none, nobody is told."
        )
    ),
]
WebhookFormat = Annotated[
    Format,
    Field(
        description=(
            "What the webhook takes: json (a document for programs), or slack (for Slack's incoming webhooks). "
            "Default: json."
        )
    ),
]
IdleAfter = Annotated[
    int,
    Field(
        ge=5,
        le=1440,
        description=(
            "Minutes that a pod leaves GPUs idle before the webhook is told; after four times as many it is told "
            "again, as critical. Default: 30, and so two hours, as the alert ReservedGpuIdle."
        ),
    ),
]
PublicUrl = Annotated[
    Annotated[str, AfterValidator(_page_url)] | None,
    Field(
        description=(
            "URL under which people reach the pages, for the links in messages: behind a proxy it is not "
            "--http-listen. Default: none, no links."
        )
    ),
]
