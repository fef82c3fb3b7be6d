"""Rows that are written by columns are what the models say of them, whatever names there are."""

import json

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gputally.collector.api import models
from gputally.collector.api.rows_text import rows_text

_COSTS = {name for name, field in models.Row.model_fields.items() if field.annotation == models.Cost}
_SPANS = st.sampled_from([models.Span(start="2026-07-01T00:00:00Z", end=end) for end in ("2026-07-02", "2026-07-03")])
_TEXTS = st.text() | st.sampled_from(['"', "\\", "%s", "%", "\r\n\t\x00\x7f", "\u2028\u2029", "训练", "</script>", "𝄞"])
_QUALITIES = st.builds(models.Quality, **dict.fromkeys(list(models.Quality.model_fields)[1:], st.floats(0, 1)))
_ROWS = st.builds(
    models.Row,
    step=_SPANS,
    keys=st.dictionaries(st.sampled_from(["namespace", "pod"]), _TEXTS),
    owner=_TEXTS,
    coverage=st.none() | st.floats(0, 1),
    efficiency=st.none() | st.floats(0, 1),
    quality=st.none() | _QUALITIES,
    **dict.fromkeys(_COSTS, st.none() | st.sampled_from(["0.000000", "-1.500000", "12345678901234567890.000001"])),
)


@given(st.lists(_ROWS, max_size=5))
def test_a_reader_finds_what_models_would_write(rows: list[models.Row]) -> None:
    columns = {name: [getattr(row, name) for row in rows] for name in models.Row.model_fields}
    written = f"[{rows_text(columns)}]"
    written.encode()  # as it is sent
    assert json.loads(written) == json.loads(TypeAdapter(list[models.Row]).dump_json(rows))
    assert all(list(row) == list(models.Row.model_fields) for row in json.loads(written))
