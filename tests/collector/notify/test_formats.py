"""How a message is written: nobody's names are anything but names, and nothing is longer than Slack takes."""

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.notify.formats import escaped, written
from gputally.collector.notify.message import Event, Level, Message, clean
from gputally.collector.notify.options import Format

HELLO = Message(
    Event.IDLE_SPELL, "a/b", Level.WARNING, 0, "a & b", ("one", "two"), "https://gpu.example.com/idle", {"x": 1}
)


def slack(message: Message) -> Any:
    return json.loads(written(message, Format.SLACK))


def test_json_has_the_words_and_the_figures() -> None:
    document = json.loads(written(HELLO, Format.JSON))
    assert document == {
        "version": 1,
        "id": HELLO.id,
        "event": "idle-spell",
        "level": "warning",
        "subject": "a/b",
        "at": "1970-01-01T00:00:00Z",
        "title": "a & b",
        "text": "a & b\none\ntwo",
        "link": "https://gpu.example.com/idle",
        "details": {"x": 1},
    }


def test_slack_has_the_words_and_a_link() -> None:
    document = slack(HELLO)
    section, context = document["blocks"]
    assert section["text"] == {"type": "mrkdwn", "text": "*a &amp; b*\none\ntwo", "verbatim": True}
    assert context["elements"][0]["text"] == "warning | <https://gpu.example.com/idle|see the page>"
    assert document["text"] == "a &amp; b\none\ntwo"


def test_a_name_mentions_nobody_and_links_nowhere() -> None:
    evil = "<!channel> <https://evil.example|payroll> *bold* `code`"
    section = slack(Message(Event.IDLE_SPELL, "s", Level.WARNING, 0, evil, (evil,)))["blocks"][0]["text"]
    assert section["verbatim"]
    assert "<" not in section["text"]
    assert section["text"].count("*") == 2


@given(st.text(max_size=50), st.lists(st.text(max_size=2000), max_size=8))
def test_slack_takes_it_whatever_it_says(title: str, lines: list[str]) -> None:
    """A text object holds 3000 characters, and is not empty."""
    message = Message(Event.DIGEST, "s", Level.WARNING, 0, title, tuple(lines))
    document = slack(message)
    texts = [document["blocks"][0]["text"]["text"], document["blocks"][1]["elements"][0]["text"], document["text"]]
    assert all(len(text) <= 3000 for text in texts)
    assert not any(re.search(r"[<>]|&(?!amp;|lt;|gt;)", text) for text in texts)
    assert all(texts[:2])


@given(st.lists(st.text(max_size=200), max_size=4), st.integers(2, 300))
def test_what_is_cut_is_cut_between_letters(lines: list[str], most: int) -> None:
    """Half an escape would be read as something else."""
    text = escaped(lines, most)
    assert len(text) <= most
    assert not re.search(r"&(?!amp;|lt;|gt;)", text)


@given(st.text(max_size=400), st.integers(1, 200))
def test_a_cleaned_name_is_printable_and_no_longer_than_asked(text: str, most: int) -> None:
    assert clean(text, most).isprintable()
    assert len(clean(text, most)) <= most


@given(st.text(max_size=50), st.sampled_from(Level), st.integers(0, 2**62))
def test_a_message_waits_as_it_was_made(subject: str, level: Level, made_us: int) -> None:
    message = Message(Event.BUDGET, subject, level, made_us, "t", ("a",), None, {"n": [1, None]})
    assert Message.of_json(message.to_json()) == message
    assert Message.of_json(message.to_json()).id == message.id
