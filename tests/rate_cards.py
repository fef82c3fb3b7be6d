"""Rate cards for tests: a small written one, and strategies for any card, match and use over a few names."""

from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.rates.card import NANO, Card, Match, Quantity, Rule, Use
from gputally.collector.rates.parse import parse_card

UTC = ZoneInfo("UTC")
JANUARY_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
JULY_US = 1_782_864_000_000_000  # 2026-07-01T00:00:00Z
H100 = "NVIDIA H100 80GB HBM3"

CARD = """\
version: 1
currency: EUR
models:
  h100: [NVIDIA H100 80GB HBM3]
prices:
  - match: {model: h100}
    valid_from: 2026-01-01
    per_gpu_hour: 4.00
  - match: {model: h100}
    valid_from: 2026-07-15
    per_gpu_hour: 3.50
  - match: {model: h100, team: research}
    valid_from: 2026-01-01
    per_gpu_hour: 3.00
  - match: {model: h100, node_labels: {capacity: spot}}
    valid_from: 2026-01-01
    per_gpu_hour: 1.50
"""

_NAMES = {
    "namespace": ["search", "vision"],
    "team": ["red", "blue"],
    "profile": ["1g.10gb", "3g.40gb"],
    "model": ["h100", "a100"],
    "cluster": ["east", "west"],
}
_LABELS = [("zone", "x"), ("zone", "y"), ("spot", "yes"), ("type", "big")]


def card(text: str = CARD, zone: ZoneInfo = UTC) -> Card:
    """The card of a text."""
    return parse_card(text.encode(), zone)


def with_prices(*entries: str) -> str:
    """The text of a card with these entries of prices, each from January at 1."""
    rest = "\n    valid_from: 2026-01-01\n    per_gpu_hour: 1"
    lines = [f"  - match: {entry}{'' if 'valid_from' in entry else rest}" for entry in entries]
    return "\n".join(["version: 1", "currency: EUR", "prices:", *lines, ""])


def matches() -> st.SearchStrategy[Match]:
    """Any match over a few names."""
    plain = {name: st.none() | st.sampled_from(values) for name, values in _NAMES.items()}
    return st.builds(Match, **plain, node_labels=_labels())


def uses() -> st.SearchStrategy[Use]:
    """Any use over the same names."""
    plain = {name: st.sampled_from(values) for name, values in _NAMES.items() if name in ("cluster", "model")}
    open_ = {name: st.none() | st.sampled_from(_NAMES[name]) for name in ("namespace", "team")}
    profile = st.just("") | st.sampled_from(_NAMES["profile"])
    return st.builds(Use, **plain, **open_, profile=profile, node_labels=_labels())


def cards(most: int = 8) -> st.SearchStrategy[Card]:
    """Any card of GPU-hour prices, those with ties and overlaps among them."""
    return st.lists(_rules(), max_size=most).map(_numbered)


def instants() -> st.SearchStrategy[int]:
    """Ledger hours around the edges of the rules."""
    return st.integers(0, 12).map(lambda hour: JANUARY_US + hour * HOUR_US)


def _labels() -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    return st.lists(st.sampled_from(_LABELS), max_size=3, unique_by=lambda pair: pair[0]).map(
        lambda pairs: tuple(sorted(pairs))
    )


@st.composite
def _rules(draw: st.DrawFn) -> Rule:
    start = draw(st.integers(0, 10))
    length = draw(st.none() | st.integers(1, 6))
    end = None if length is None else JANUARY_US + (start + length) * HOUR_US
    value = draw(st.integers(0, 9 * NANO))
    return Rule(Quantity.GPU_HOUR, draw(matches()), value, JANUARY_US + start * HOUR_US, end, 0)


def _numbered(rules: list[Rule]) -> Card:
    numbered = (
        Rule(rule.quantity, rule.match, rule.value, rule.valid_from_us, rule.valid_to_us, line)
        for line, rule in enumerate(rules, 5)
    )
    return Card("EUR", {}, tuple(numbered))
