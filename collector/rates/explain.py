"""Which rule prices a use, and why the others do not."""

from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from gputally.collector.allocation.period import instant
from gputally.collector.rates.card import Quantity, Rule, Use
from gputally.collector.rates.match import Book, Shelf, mismatches


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a rule. `why` is empty for the one that holds."""

    rule: Rule
    holds: bool
    why: str


def explain(book: Book, quantity: Quantity, use: Use, us: int, zone: ZoneInfo) -> list[Verdict]:
    """Every rule of a quantity, the most specific first: at most one holds, and it is the one `Book.at` finds."""
    holding = book.at(quantity, use, us)
    named = book.named(use)
    return [verdict for shelf in book.shelves(quantity) for verdict in _verdicts(shelf, holding, named, us, zone)]


def _verdicts(shelf: Shelf, holding: Rule | None, use: Use, us: int, zone: ZoneInfo) -> Iterator[Verdict]:
    wrong = mismatches(shelf.match, use)
    current = shelf.series.at(us)
    for span in shelf.series.spans:
        rule = span.entry
        if rule is holding:
            yield Verdict(rule, holds=True, why="")
        elif wrong:
            yield Verdict(rule, holds=False, why="does not match: " + "; ".join(wrong))
        elif rule is current and holding is not None:
            yield Verdict(rule, holds=False, why=f"line {holding.line} is more specific")
        elif us < rule.valid_from_us:
            yield Verdict(rule, holds=False, why=f"valid only from {instant(rule.valid_from_us, zone)}")
        elif rule.valid_to_us is not None and us >= rule.valid_to_us:
            yield Verdict(rule, holds=False, why=f"ended {instant(rule.valid_to_us, zone)}")
        else:
            yield Verdict(rule, holds=False, why=f"replaced at {instant(span.to_us, zone)} by a later rule")
