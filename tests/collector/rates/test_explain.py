"""An explanation agrees with the match, and gives every other rule a reason."""

from hypothesis import given
from tests.rate_cards import H100, JANUARY_US, JULY_US, UTC, card, cards, instants, uses

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.rates.card import Card, Quantity, Use
from gputally.collector.rates.explain import explain
from gputally.collector.rates.match import Book


def test_every_rule_has_its_reason() -> None:
    verdicts = explain(Book(card()), Quantity.GPU_HOUR, Use("east", H100, team="ops"), JULY_US, UTC)
    assert [(verdict.rule.line, verdict.holds, verdict.why) for verdict in verdicts] == [
        (12, False, "does not match: team is ops, not research"),
        (15, False, "does not match: node label capacity is absent, not spot"),
        (6, True, ""),
        (9, False, "valid only from 2026-07-15T00:00:00+00:00"),
    ]


def test_a_price_that_was_replaced_or_beaten_is_told_so() -> None:
    late = JULY_US + 30 * 24 * HOUR_US
    verdicts = explain(Book(card()), Quantity.GPU_HOUR, Use("east", H100, team="research"), late, UTC)
    why = {verdict.rule.line: verdict.why for verdict in verdicts}
    assert why[6] == "replaced at 2026-07-15T00:00:00+00:00 by a later rule"
    assert why[9] == "line 12 is more specific"


def test_before_the_first_rule_nothing_holds() -> None:
    verdicts = explain(Book(card()), Quantity.GPU_HOUR, Use("east", H100), JANUARY_US - HOUR_US, UTC)
    assert not any(verdict.holds for verdict in verdicts)
    assert all(verdict.why for verdict in verdicts)


@given(found=cards(), use=uses(), us=instants())
def test_the_explanation_agrees_with_the_match(found: Card, use: Use, us: int) -> None:
    book = Book(found)
    verdicts = explain(book, Quantity.GPU_HOUR, use, us, UTC)
    rule = book.at(Quantity.GPU_HOUR, use, us)
    assert [verdict.rule for verdict in verdicts if verdict.holds] == ([] if rule is None else [rule])
    assert all(verdict.why for verdict in verdicts if not verdict.holds)
    assert len(verdicts) == len(found.rules)
