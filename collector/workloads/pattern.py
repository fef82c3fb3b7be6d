"""Regular expressions that cannot take long, whatever text a tenant makes them read.

Python's matcher tries alternatives one after the other, so a pattern that somebody meant well, such as `(a+)+`, can be
kept busy for years by a text of forty characters. Texts here have at most 253 characters, and a pattern has at most two
repetitions whose number is open and four other choices: the worst that is left is half a million steps, a few
milliseconds.
Groups are not repeated; there are no references to groups, no looking ahead or back, and no flags.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

MOST_CHARACTERS = 200
MOST_REPETITIONS = 2  # of an open number: * + {2,} {2,5}
MOST_CHOICES = 4  # ? and |

_TOKEN = re.compile(
    r"\\[^0-9A-Za-z]|\\[dws]"  # a sign by itself, or a class
    r"|\[\^?\]?(?:\\[^0-9A-Za-z]|\\[dws]|[^\]\\\[])*\]"
    r"|\(\?:|\((?!\?)|\)"
    r"|[*+?|^$]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\}"
    r"|[^\\\[\](){}*+?|^$]",
    re.ASCII,
)
_SET_OPERATIONS = ("--", "&&", "||", "~~")  # a later Python may read them as such, in a class
_EXACT = re.compile(r"\{[0-9]+\}", re.ASCII)


class BadPattern(ValueError):
    """A pattern that is not accepted; the text says why."""


def compile_pattern(text: str) -> re.Pattern[str]:
    """The pattern, which has at most one group; raises BadPattern. It is meant for `fullmatch`."""
    if len(text) > MOST_CHARACTERS:
        raise BadPattern(f"longer than {MOST_CHARACTERS} characters")
    _check(list(_tokens(text)))
    try:
        pattern = re.compile(text, re.ASCII)
    except (re.error, OverflowError) as error:
        raise BadPattern(f"not a regular expression: {error}") from error
    if pattern.groups > 1:
        raise BadPattern("more than one group: write (?:...) for those that are not taken")
    return pattern


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise BadPattern(f"not accepted in a pattern: {text[at : at + 3]}")
        yield found.group()
        at = found.end()


def _check(tokens: list[str]) -> None:
    if any(two in token for token in tokens for two in _SET_OPERATIONS if token[0] == "["):
        raise BadPattern(f"{' '.join(_SET_OPERATIONS)} are not accepted in a class")
    choices = sum(token in ("?", "|") for token in tokens)
    repetitions = sum(_repeats(token) and token != "?" and not _EXACT.fullmatch(token) for token in tokens)  # noqa: S105
    if repetitions > MOST_REPETITIONS:
        raise BadPattern(f"more than {MOST_REPETITIONS} repetitions (* + {{2,}})")
    if choices > MOST_CHOICES:
        raise BadPattern(f"more than {MOST_CHOICES} choices (? and |)")
    for before, token in pairwise(tokens):
        if _repeats(token) and (_repeats(before) or (before == ")" and token != "?")):  # noqa: S105 - no password
            raise BadPattern(f"{token} after {before}: neither a repetition nor a group can be repeated")


def _repeats(token: str) -> bool:
    return token in ("*", "+", "?") or (token[0] == "{" and len(token) > 1)
