"""How a message is written: JSON for programs, or the blocks of a Slack incoming webhook."""

import json
from collections.abc import Iterable
from typing import Any

from gputally.collector.notify.figures import instant
from gputally.collector.notify.message import Event, Message
from gputally.collector.notify.options import Format

VERSION = 1  # of the JSON document; it rises where a receiver would have to change
_SECTION_MOST = 2900  # characters, escaped; Slack takes 3000 in a text object
_TITLE_MOST = 600
# Slack reads these three in any text. Links, mentions and formatting by names are off in verbatim text without them.
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Marks of formatting: a look-alike leaves the rest of the message as it is meant. A single _ inside a name is none.
_MARKS = str.maketrans({"*": "\N{ASTERISK OPERATOR}", "~": "\N{TILDE OPERATOR}", "`": "\N{PRIME}"})


def written(message: Message, form: Format) -> bytes:
    """The body of the request."""
    document = _slack(message) if form is Format.SLACK else _json(message)
    return json.dumps(document).encode()


def _json(message: Message) -> dict[str, Any]:
    return {
        "version": VERSION,
        "id": message.id,
        "event": message.event.value,
        "level": message.level.value,
        "subject": message.subject,
        "at": instant(message.made_us),
        "title": message.title,
        "text": "\n".join([message.title, *message.lines]),
        "link": message.link,
        "details": dict(message.details),
    }


def _slack(message: Message) -> dict[str, Any]:
    title = escaped([message.title], _TITLE_MOST)
    lines = escaped(message.lines, _SECTION_MOST - len(title))
    level = "" if message.event is Event.TEST else message.level.value
    link = "" if message.link is None else f"<{message.link}|see the page>"
    below = " | ".join(filter(None, (level, link))) or "no --public-url, no link"
    return {
        "text": f"{title}\n{lines}".rstrip(),  # for notifications, and for receivers that know no blocks
        "blocks": [
            {"type": "section", "text": _mrkdwn(f"*{title}*\n{lines}".rstrip())},
            {"type": "context", "elements": [_mrkdwn(below)]},
        ],
    }


def _mrkdwn(text: str) -> dict[str, Any]:
    """`verbatim`: Slack makes no link or mention of what looks like one."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def escaped(lines: Iterable[str], most: int) -> str:
    """Lines as Slack's mrkdwn, of at most so many characters; what is beyond is cut between letters."""
    found: list[str] = []
    length = 0
    for letter in "\n".join(lines).translate(_MARKS):
        piece = _ESCAPED.get(letter, letter)
        if length + len(piece) > most - 1:
            return "".join([*found, "…"])
        found.append(piece)
        length += len(piece)
    return "".join(found)
