"""An allocation's answer as JSON: a thousand rows of thirty fields, written column by column.

Models would check each field and write it again, which takes longer than the database.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gputally.collector.api import models

_NO_ROWS = '"rows":[]}'
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def answer_text(answer: models.AllocationAnswer, columns: Mapping[str, Sequence[Any]]) -> str:
    """An answer that has no rows yet, with the rows whose fields, as models.Row has them, are in `columns`."""
    text = answer.model_dump_json()
    assert text.endswith(_NO_ROWS)  # noqa: S101 - they are the last field
    return f'{text.removesuffix(_NO_ROWS)}"rows":[{rows_text(columns)}]}}'


def rows_text(columns: Mapping[str, Sequence[Any]]) -> str:
    """The rows with commas between them."""
    texts = {name: _TEXTS.get(name, _numbers)(columns[name]) for name in models.Row.model_fields}
    alike = {name: of[0] for name, of in texts.items() if name != "keys" and len(set(of)) == 1}
    row = "{" + ",".join(f'"{name}":{_literal(alike[name]) if name in alike else "%s"}' for name in texts) + "}"
    varying = [of for name, of in texts.items() if name not in alike]
    return ",".join([row % values for values in zip(*varying, strict=True)])


def _literal(text: object) -> str:
    """As part of a template."""
    return str(text).replace("%", "%%")


def _numbers(values: Sequence[Any]) -> Sequence[Any]:
    """As Python prints them, which JSON reads."""
    return ["null" if value is None else value for value in values] if None in values else values


def _decimals(values: Sequence[str | None]) -> Sequence[str]:
    return ["null" if value is None else f'"{value}"' for value in values]


def _spans(values: Sequence[models.Span]) -> Sequence[str]:
    known = {id(value): value for value in values}
    texts = {at: value.model_dump_json() for at, value in known.items()}
    return [texts[id(value)] for value in values]


def _names(values: Sequence[Mapping[str, str]]) -> Sequence[str]:
    """Objects of texts."""
    return ["{" + ",".join([f"{_JSON(key)}:{_JSON(name)}" for key, name in value.items()]) + "}" for value in values]


def _repeated(values: Sequence[str]) -> Sequence[str]:
    """Texts of which there are few."""
    texts = {value: _JSON(value) for value in set(values)}
    return [texts[value] for value in values]


def _qualities(values: Sequence[models.Quality | None]) -> Sequence[str]:
    return ["null" if value is None else value.model_dump_json() for value in values]


_TEXTS: Mapping[str, Callable[[Sequence[Any]], Sequence[Any]]] = {
    "step": _spans,
    "keys": _names,
    "owner": _repeated,
    "quality": _qualities,
    **{name: _decimals for name, field in models.Row.model_fields.items() if field.annotation == models.Cost},
}
