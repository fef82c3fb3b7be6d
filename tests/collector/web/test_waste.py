"""The overview's first line: what is held and idle at this moment, and nothing that nobody knows."""

import re
from html import unescape

from fastapi import FastAPI
from tests.collector.web.fixtures import text


def callout(page: str) -> str:
    """The line in words; empty where there is none."""
    found = re.search(r'<p class="callout">(.*?)</p>', page, re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", found[1]))) if found else ""


def test_it_says_how_many_what_they_cost_and_who_has_the_most(app: FastAPI) -> None:
    """Eight idle H100 at 3.60, three sevenths of an A100 at 1.90; a silent node counts nowhere."""
    said = callout(text(app, "/"))
    assert said.startswith("8.43 of 15.86 GPUs that are held do nothing at this moment, for 29.61 EUR an hour: ")
    assert "research/pretrain-llm-0 has 8, playground/demo-1 has 0.43" in said
    assert "notebook-0" not in said


def test_it_is_of_now_and_of_everybody(app: FastAPI) -> None:
    assert callout(text(app, "/", month="2026-10")) == ""
    assert callout(text(app, "/", team="language")) == ""


def test_a_reader_sees_what_is_theirs(guarded: FastAPI) -> None:
    assert callout(text(guarded, "/", "research")).startswith("8 of 8 GPUs")
    assert callout(text(guarded, "/", "nothing")) == ""
