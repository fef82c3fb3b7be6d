"""The report is aligned, breaks lines for a terminal only, and says the same as JSON."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from gputally.agent.doctor.finding import Finding, Level, fail, ok, warn
from gputally.agent.doctor.report import as_json, as_text, verdict

FOUND = (
    ok("clock", "3 ms behind"),
    warn("spool", "is memory", "a disk"),
    fail("pid-namespace", "a container's", "hostPID"),
)
WORD = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)
FINDINGS = st.lists(
    st.builds(Finding, WORD, st.sampled_from(Level), st.lists(WORD, min_size=1).map(" ".join), WORD | st.just("")),
    min_size=1,
)


def test_levels_names_and_words_stand_in_columns() -> None:
    text = as_text("prod", "gpu-1", FOUND, columns=None, colours=False)
    assert text == (
        "node gpu-1 of cluster prod\n"
        "\n"
        "ok    clock          3 ms behind\n"
        "warn  spool          is memory\n"
        "                     → a disk\n"
        "FAIL  pid-namespace  a container's\n"
        "                     → hostPID\n"
        "\n"
        "usage will not be complete: 1 FAIL, 1 warn"
    )


def test_colours_change_nothing_but_colours() -> None:
    plain, coloured = (as_text("c", "n", FOUND, columns=80, colours=on) for on in (False, True))
    assert plain != coloured
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == plain


@given(FINDINGS, st.integers(60, 200))
def test_a_terminals_lines_are_no_longer_than_it_is_wide_and_lose_no_word(
    findings: list[Finding], columns: int
) -> None:
    narrow = as_text("c", "n", findings, columns=columns, colours=False)
    whole = as_text("c", "n", findings, columns=None, colours=False)
    assert narrow.split() == whole.split()
    assert max(map(len, narrow.splitlines())) <= max(columns, 70)


def test_json_says_the_same() -> None:
    told = json.loads(as_json("prod", "gpu-1", FOUND))
    assert {key: told[key] for key in ("cluster", "node", "complete")} == {
        "cluster": "prod",
        "node": "gpu-1",
        "complete": False,
    }
    assert told["findings"][0] == {"check": "clock", "level": "ok", "found": "3 ms behind", "change": None}
    assert told["findings"][2]["level"] == "fail"
    assert json.loads(as_json("c", "n", FOUND[:1]))["complete"] is True


def test_the_verdict_counts() -> None:
    assert verdict(FOUND[:1]) == "usage will be complete"
    assert verdict(FOUND[:2]) == "usage may not be complete: 1 warn"
