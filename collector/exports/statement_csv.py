"""A statement's items as CSV: one line each, unknown empty. GPU-hours and kilowatt-hours add up, and so do amounts."""

from gputally.collector.exports.csv_text import as_lines
from gputally.collector.rates.card import exact
from gputally.collector.statement.document import amount_text
from gputally.collector.statement.item import ItemKey
from gputally.collector.statement.rounding import DIGITS
from gputally.collector.statement.view import View

_NAMES = [name for name in ItemKey._fields if name not in ("price", "rate_version")]
COLUMNS = ("month", *_NAMES, "quantity", "unit", "price", "rate_version", "currency", "amount")


def as_csv(view: View) -> str:
    """The items in their order; what spreading moves comes last, its state is `spread`."""
    rows: list[dict[str, object]] = []
    of = view.statement
    constant = {"month": of.month, "currency": of.currency}
    for item, text in zip(view.items, view.hours(DIGITS), strict=True):
        price = None if item.key.price is None else exact(item.key.price)
        unit = "GPU-hours" if item.key.is_time else "kWh"
        amount = amount_text(item.amount, of.digits)
        rows.append(
            {**constant, **item.key._asdict(), "quantity": text, "unit": unit, "price": price, "amount": amount}
        )
    for share in view.shares:
        names = {name: getattr(share, name) for name in ("cluster", "namespace", "namespace_uid", "team")}
        rows.append({**constant, **names, "state": "spread", "amount": amount_text(share.amount, of.digits)})
    return as_lines(COLUMNS, rows)
