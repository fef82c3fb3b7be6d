"""A card from YAML: exact prices, all mistakes at once with their lines, and no text that makes it crash."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rate_cards import CARD, JANUARY_US, UTC, card

from gputally.collector.files.yaml_file import FileMistakes, Mistakes
from gputally.collector.rates.card import NANO, Match, Quantity
from gputally.collector.rates.parse import parse_card, read_card


def mistakes_of(text: str, zone: ZoneInfo = UTC) -> list[str]:
    with pytest.raises(FileMistakes) as caught:
        parse_card(text.encode(), zone)
    return [f"{mistake.line}: {mistake.text}" for mistake in caught.value.mistakes]


def test_a_card_is_read_with_the_lines_of_its_rules() -> None:
    found = card()
    assert found.currency == "EUR"
    assert [(rule.line, rule.value, rule.match) for rule in found.rules] == [
        (6, 4 * NANO, Match(model="h100")),
        (9, 3_500_000_000, Match(model="h100")),
        (12, 3 * NANO, Match(model="h100", team="research")),
        (15, 1_500_000_000, Match(model="h100", node_labels=(("capacity", "spot"),))),
    ]
    assert found.rules[0].valid_from_us == JANUARY_US


def test_energy_and_carbon_are_rules_of_their_own() -> None:
    text = """
version: 1
currency: USD
energy:
  - valid_from: 2026-01-01
    per_kwh: 0.123456
    pue: 1.25
carbon:
  - match: {node_labels: {region: eu}}
    valid_from: 2026-01-01T05:00:00Z
    g_co2e_per_kwh: 350.5
"""
    assert [(rule.quantity, rule.value) for rule in card(text).rules] == [
        (Quantity.KWH, 123_456_000),
        (Quantity.PUE, 1_250_000_000),
        (Quantity.CARBON, 350_500_000_000),
    ]


def test_every_mistake_is_told_at_once_with_its_line() -> None:
    text = """\
version: 2
currency: euro
price: 1
models:
  h100: [NVIDIA H100 PCIe]
  hopper: [nvidia-h100-pcie]
prices:
  - match: {modell: h100}
    valid_from: 2026-01-01T00:30:00Z
    per_gpu_hour: -1
  - match: {model: h100}
    per_gpu_hour: 1.0000000001
  - match: h100
    valid_from: 2026-01-02
    valid_to: 2026-01-01
energy:
  - valid_from: 2026-01-01
    pue: 0.9
"""
    assert mistakes_of(text) == [
        "1: version 2: this program reads version 1",
        "2: currency euro: expected three capital letters of ISO 4217, such as EUR",
        "3: unknown field price: did you mean prices?",
        "6: models: hopper and h100 share the spelling h100-pcie",
        "8: unknown field modell: did you mean model?",
        (
            "9: valid_from 2026-01-01T00:30:00Z: no ledger hour of UTC begins there; the nearest are "
            "2026-01-01T00:00:00+00:00 or 2026-01-01T01:00:00+00:00"
        ),
        "10: per_gpu_hour -1: expected a number such as 2.50, not negative, without a unit",
        "11: valid_from is missing",
        "12: per_gpu_hour 1.0000000001: at most 9 digits after the point",
        "13: match: expected fields (namespace, team, profile, model, node_labels, cluster)",
        "13: per_gpu_hour is missing",
        "15: valid_to is not after valid_from",
        "18: pue 0.9: expected 1 to 10",
    ]


@pytest.mark.parametrize("price", ["1e3", ".5", "1_000", "1,50", "0x10", "nan", "inf", "1.", "EUR 2", "١"])
def test_a_price_has_one_way_to_be_written(price: str) -> None:
    """What looks like a number to one program and not to another is no price."""
    text = CARD.replace("4.00", price, 1)
    assert [mistake for mistake in mistakes_of(text) if "per_gpu_hour" in mistake]


def test_free_is_a_price() -> None:
    assert card(CARD.replace("4.00", "0")).rules[0].value == 0


def test_an_hour_of_another_zone_is_no_hour_here() -> None:
    text = CARD.replace("2026-07-15", "2026-07-15T00:00:00Z")
    assert card(text)
    assert "no ledger hour of Asia/Kolkata begins there" in mistakes_of(text, ZoneInfo("Asia/Kolkata"))[0]


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "[]", "prices", "version: 1\n", "version: 1\nprices: [~, 1, []]\n"]
)
def test_a_file_that_is_no_card_is_refused(text: str) -> None:
    assert mistakes_of(text)


def test_a_label_may_have_an_empty_value_if_it_says_so() -> None:
    assert card(CARD.replace("spot", '""')).rules[3].match.node_labels == (("capacity", ""),)
    assert mistakes_of(CARD.replace("{capacity: spot}", "{capacity: }")) == [
        '15: node_labels: capacity: expected a text ("" for an empty one)'
    ]


_WORDS = st.sampled_from([*CARD.split(), "{", "}", "[", "]", ":", "-", "~", '""', "energy:", "pue:", "9" * 40, "\x01"])


@given(at=st.integers(0, len(CARD)), length=st.integers(0, 40), text=st.lists(_WORDS, max_size=4).map(" ".join))
def test_a_card_that_was_cut_and_pasted_is_read_or_told(at: int, length: int, text: str) -> None:
    """Whatever is in it: rules, or mistakes with a line of the file; never an exception."""
    content = CARD[:at] + text + CARD[at + length :]
    mistakes = Mistakes()
    found = read_card(content.encode(), UTC, mistakes)
    assert found is not None or mistakes
    assert all(1 <= mistake.line <= content.count("\n") + 1 for mistake in mistakes.all), mistakes.all
