"""Patterns: what people need is accepted, and nothing that a text could keep busy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.workloads.pattern import BadPattern, compile_pattern
from gputally.collector.workloads.pod import LONGEST

HOSTILE = ("a" * LONGEST, "ab" * (LONGEST // 2), "a" * (LONGEST - 1) + "!", "-" * LONGEST)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("(.+)-(?:2[89][0-9]{6}|3[0-9]{7})", "nightly-29394000", "nightly"),
        (r"team-([a-z]+)\.example", "team-red.example", "red"),
        (r"([^/]+)/.*", "a/b/c", "a"),
        ("(a|b)?c", "bc", "b"),
        (r"\d{4}-(\w+)", "2026-x", "x"),
        (r"([\]\-x]+)", "]-x", "]-x"),
    ],
)
def test_what_people_write_is_accepted(pattern: str, text: str, found: str) -> None:
    matched = compile_pattern(pattern).fullmatch(text)
    assert matched is not None
    assert matched.group(1) == found


@pytest.mark.parametrize(
    "pattern",
    [
        *("(a+)+", "(a*)*b", "(?:a|a)*", "(a|b){2}", "a**", "a+?", "a*+", "(?:x+y)?{3}"),
        *(".*.*.*", "a?b?c?d?e?", "(?:a|b|c|d|e|f)", "a{2,}b*c+"),
        *(r"(a)\1", "(?=a)b", "(?!a)b", "(?<=a)b", "(?i)a", "(?P<n>a)", "(?#x)", "(?>a)", r"\bx", r"\x41"),
        *("(a)(b)", "(a", "a)", "[a", "*a", "a{,5}", "a{9999}", "{", "[a--b]", "[[a]", "x" * 201),
    ],
)
def test_what_could_take_long_or_mean_something_else_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compile_pattern(pattern)


@given(st.text(alphabet="ab.*+?{}()|[]^$\\-1,:d", max_size=24))
def test_no_accepted_pattern_is_busy_for_long(text: str) -> None:
    """The matcher has no limit of its own, so this test would hang where the rules are too generous."""
    try:
        pattern = compile_pattern(text)
    except BadPattern:
        return
    assert pattern.groups <= 1
    for hostile in HOSTILE:
        pattern.fullmatch(hostile)
