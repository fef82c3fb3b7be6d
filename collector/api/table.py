"""Rows of an answer as CSV: the JSON's fields in columns, what is nested side by side, unknown empty."""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from gputally.collector.allocation.money import DIGITS
from gputally.collector.api.models import Quality, Span
from gputally.collector.exports.csv_text import as_lines

MEDIA_TYPE = "text/csv"
_UNIT = Decimal(1).scaleb(-DIGITS)


def as_csv(
    model: type[BaseModel], rows: Sequence[BaseModel], keys: Sequence[str], about: Mapping[str, Any]
) -> Response:
    """The rows as CSV; `keys` are the columns of their names. What every answer says of itself goes into headers."""
    text = as_lines(list(_columns(model, keys)), (_flat(row.model_dump()) for row in rows))
    return Response(text, media_type=MEDIA_TYPE, headers=_headers(about))


def _columns(model: type[BaseModel], keys: Sequence[str]) -> Iterator[str]:
    for name in model.model_fields:
        if name == "keys":
            yield from keys
        else:
            yield from (f"{name}_{part}" for part in _NESTED[name]) if name in _NESTED else (name,)


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in record.items():
        if name == "keys":
            found.update(value)
        elif name in _NESTED:
            found.update({f"{name}_{part}": (value or {}).get(part) for part in _NESTED[name]})
        elif name in _MAPS:
            found[name] = json.dumps(value, sort_keys=True) if value is not None else None
        else:
            found[name] = value
    return {name: _ratio(value) if isinstance(value, float) else value for name, value in found.items()}


def _ratio(value: float) -> str:
    """With as many digits as money; rounded down, so that 1 is printed only where nothing is missing."""
    return str(Decimal(repr(value)).quantize(_UNIT, ROUND_DOWN))


def _headers(about: Mapping[str, Any]) -> dict[str, str]:
    values = {**about, **about["window"].model_dump(), **about["period"].model_dump()}
    return {name: str(values[key]) for name, key in _HEADERS.items() if values[key] is not None}


_HEADERS = {
    "Gputally-Start": "start",
    "Gputally-End": "end",
    "Gputally-Currency": "currency",
    "Gputally-Capacity-Us": "capacity_us",
    "Gputally-Coverage": "coverage",
    "Gputally-Unpriced-Us": "unpriced_us",
    "Gputally-Period-Status": "status",
    "Gputally-Pending-Hours": "pending_hours",
    "Gputally-Ledger-Hash": "ledger_hash",
    "Gputally-Total-Rows": "total_rows",
}
# One column of JSON: what is in them differs from row to row.
_MAPS = ("reasons_us", "node_labels", "teams", "rules", "evidence")
_NESTED: Mapping[str, Sequence[str]] = {
    "step": tuple(Span.model_fields),
    "quality": tuple(Quality.model_fields),
}
