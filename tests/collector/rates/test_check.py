"""What rules say together: every tie is found, none is made up, gaps and unknown models are told."""

from hypothesis import given
from tests.rate_cards import CARD, H100, JULY_US, UTC, cards, with_prices

from gputally.collector.rates.card import Card, Quantity, Use
from gputally.collector.rates.check import check, ties
from gputally.collector.rates.match import Book, matches, specificity

SPOT, BIG = "{node_labels: {capacity: spot}}", "{node_labels: {type: big}}"
BOTH = "{node_labels: {capacity: spot, type: big}}"


def errors(text: str) -> list[str]:
    return [f"{one.line}: {one.text}" for one in check(text.encode(), UTC, None, JULY_US).errors]


def warnings(text: str, fleet: list[str] | None = None) -> list[str]:
    return [f"{one.line}: {one.text}" for one in check(text.encode(), UTC, fleet, JULY_US).warnings]


def test_a_good_card_has_nothing_wrong() -> None:
    assert errors(CARD) == warnings(CARD, [H100]) == []


def test_rules_that_a_node_could_match_both_are_a_tie() -> None:
    (error,) = errors(with_prices(SPOT, BIG))
    assert error.startswith("7: per_gpu_hour: as specific as line 4, and both match a node that has all their labels")


def test_a_rule_with_the_labels_of_both_decides_a_tie() -> None:
    assert errors(with_prices(SPOT, BIG, BOTH)) == []


def test_it_decides_only_while_it_is_in_force() -> None:
    late = BOTH + "\n    valid_from: 2026-02-01\n    per_gpu_hour: 1"
    (error,) = errors(with_prices(SPOT, BIG, late))
    assert "from 2026-01-01T00:00:00+00:00" in error
    ended = BOTH + "\n    valid_from: 2026-01-01\n    valid_to: 2026-03-01\n    per_gpu_hour: 1"
    (error,) = errors(with_prices(SPOT, BIG, ended))
    assert "from 2026-03-01T00:00:00+00:00" in error


def test_rules_that_no_node_matches_both_are_no_tie() -> None:
    assert errors(with_prices(SPOT, "{node_labels: {capacity: reserved}}")) == []
    assert errors(with_prices("{model: a, node_labels: {x: '1'}}", "{model: b, node_labels: {y: '1'}}")) == []


def test_one_match_twice_from_one_instant_is_an_overlap() -> None:
    assert errors(with_prices("{model: a}", "{model: A}")) == [
        "7: per_gpu_hour of model a: line 4 is valid from the same instant"
    ]


def test_a_gap_within_a_series_is_told() -> None:
    first = "{model: a}\n    valid_from: 2026-01-01\n    valid_to: 2026-02-01\n    per_gpu_hour: 1"
    second = "{model: a}\n    valid_from: 2026-03-01\n    per_gpu_hour: 1"
    assert warnings(with_prices(first, second)) == [
        "8: per_gpu_hour of model a: no rule of its own from 2026-02-01T00:00:00+00:00 to 2026-03-01T00:00:00+00:00"
    ]


def test_models_that_only_one_side_knows_are_told() -> None:
    findings = check(CARD.encode(), UTC, ["Tesla T4"], JULY_US)
    assert [f"{one.line}: {one.text}" for one in findings.warnings] == [
        "1: no rule for Tesla T4, which is in this fleet: its time would be unpriced"
    ]
    assert {one.text for one in findings.notes} == {"model h100: not seen in this fleet"}
    assert warnings(with_prices("{}"), ["Tesla T4"]) == []


def test_mistakes_of_the_text_and_of_the_rules_are_told_together() -> None:
    text = with_prices("{model: a}", "{model: a}") + "unknown: 1\n"
    assert len(errors(text)) == 2


@given(found=cards(most=5))
def test_a_tie_that_is_told_is_one(found: Card) -> None:
    """A node with the labels of both finds two rules of which neither is more specific."""
    book = Book(found)
    for tie in ties(book.shelves(Quantity.GPU_HOUR)):
        one, other = tie.first.match, tie.second.match
        labels = tuple(sorted({*one.node_labels, *other.node_labels}))
        use = Use(one.cluster or "", one.model or "", one.profile or "", one.namespace, one.team, labels)
        assert matches(one, use)
        assert matches(other, use)
        assert specificity(one) == specificity(other)
        winner = book.at(Quantity.GPU_HOUR, use, tie.from_us)
        assert winner in (tie.first, tie.second)
