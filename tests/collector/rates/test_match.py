"""The most specific rule wins, and which that is does not depend on the order of the card."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rate_cards import H100, JANUARY_US, JULY_US, card, cards, instants, matches, uses

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.rates.card import Card, Match, Quantity, Use
from gputally.collector.rates.check import ties
from gputally.collector.rates.match import Book, specificity
from gputally.collector.rates.match import matches as fits

DAY_US = 24 * HOUR_US


def line_of(use: Use, us: int = JANUARY_US) -> int | None:
    rule = Book(card()).at(Quantity.GPU_HOUR, use, us)
    return None if rule is None else rule.line


def test_the_general_price_holds_until_its_successor() -> None:
    assert line_of(Use("east", H100)) == 6
    assert line_of(Use("east", H100), JULY_US + 14 * DAY_US - HOUR_US) == 6
    assert line_of(Use("east", H100), JULY_US + 14 * DAY_US) == 9


def test_what_was_negotiated_beats_where_it_stands() -> None:
    spot = (("capacity", "spot"), ("zone", "x"))
    assert line_of(Use("east", H100, node_labels=spot)) == 15
    assert line_of(Use("east", H100, team="research", node_labels=spot)) == 12


def test_no_rule_is_no_price() -> None:
    assert line_of(Use("east", "Tesla T4")) is None
    assert line_of(Use("east", H100), JANUARY_US - HOUR_US) is None


def test_a_specific_rule_that_has_ended_leaves_the_general_one() -> None:
    text = """
version: 1
currency: EUR
prices:
  - valid_from: 2026-01-01
    per_gpu_hour: 1
  - match: {model: t4}
    valid_from: 2026-01-01
    valid_to: 2026-01-02
    per_gpu_hour: 2
"""
    book = Book(card(text))
    lines = [book.at(Quantity.GPU_HOUR, Use("east", "t4"), JANUARY_US + day * DAY_US) for day in (0, 1)]
    assert [rule and rule.line for rule in lines] == [7, 5]


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (Match(namespace="a"), Match(team="t", profile="p", model="m", cluster="c")),
        (Match(team="t"), Match(profile="p", model="m", cluster="c")),
        (Match(profile="p"), Match(model="m", cluster="c")),
        (Match(model="m"), Match(node_labels=(("a", "1"), ("b", "2")), cluster="c")),
        (Match(node_labels=(("a", "1"), ("b", "2"))), Match(node_labels=(("a", "1"),), cluster="c")),
        (Match(node_labels=(("a", "1"),)), Match(cluster="c")),
        (Match(cluster="c"), Match()),
    ],
)
def test_the_order_of_specificity(winner: Match, loser: Match) -> None:
    assert specificity(winner) > specificity(loser)


@given(one=matches(), other=matches(), use=uses())
def test_two_matches_that_meet_differ_in_specificity_or_only_in_labels(one: Match, other: Match, use: Use) -> None:
    """So a tie can come from labels alone, which is where `check` looks for it."""
    if one != other and fits(one, use) and fits(other, use) and specificity(one) == specificity(other):
        assert one.plain == other.plain
        assert dict(one.node_labels).keys() != dict(other.node_labels).keys()


@given(found=cards(), use=uses(), us=instants())
def test_the_winner_is_the_most_specific_in_force(found: Card, use: Use, us: int) -> None:
    """Against the definition, spelt out: of the rules that match, the latest begun of each match, the greatest."""
    book = Book(found)
    rule = book.at(Quantity.GPU_HOUR, use, us)
    latest = {}
    for one in sorted(found.rules, key=lambda one: (one.valid_from_us, one.line)):
        if fits(one.match, book.named(use)) and one.valid_from_us <= us:
            latest[one.match] = one
    in_force = [one for one in latest.values() if one.valid_to_us is None or us < one.valid_to_us]
    assert (rule is None) == (not in_force)
    if rule is not None:
        assert rule in in_force
        assert all(specificity(one.match) <= specificity(rule.match) for one in in_force)


@given(found=cards(), use=uses(), us=instants())
def test_without_a_tie_exactly_one_rule_is_the_most_specific(found: Card, use: Use, us: int) -> None:
    """Specificity is a total order on every card that `check` lets pass: no tie goes undetected."""
    book = Book(found)
    shelves = [shelf for shelf in book.shelves(Quantity.GPU_HOUR) if fits(shelf.match, book.named(use))]
    in_force = [shelf for shelf in shelves if shelf.series.at(us) is not None]
    most = max((specificity(shelf.match) for shelf in in_force), default=None)
    if sum(specificity(shelf.match) == most for shelf in in_force) > 1:
        assert list(ties(book.shelves(Quantity.GPU_HOUR)))


@given(found=cards(), use=uses(), us=instants(), seed=st.randoms(use_true_random=False))
def test_the_order_of_the_card_does_not_matter(found: Card, use: Use, us: int, seed: object) -> None:
    rules = list({(rule.match, rule.valid_from_us): rule for rule in found.rules}.values())
    shuffled = sorted(rules, key=lambda rule: hash((str(seed), rule.line)))
    answers = {Book(Card("EUR", {}, tuple(order))).at(Quantity.GPU_HOUR, use, us) for order in (rules, shuffled)}
    assert len(answers) == 1
