"""Lines as JSON: one object, in which each line is an object on a line of its own; unknown is null."""

import json
from typing import TextIO

from gputally.collector.exports.record import COLUMNS, Records
from gputally.collector.statement.ground import Ground


def write_json(ground: Ground, out: TextIO) -> None:
    """All lines of a month, as they are read; decimals are text, so that nothing is lost."""
    head = {
        "month": ground.month.name,
        "timezone": ground.zone.key,
        "status": "closed" if ground.closed else "open",
        "content_hash": ground.closed.content_hash if ground.closed else None,
    }
    out.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "lines": [')
    names = [column.name for column in COLUMNS]
    between = "\n"
    for columns in Records(ground).columns():
        for record in zip(*columns, strict=True):
            out.write(between + json.dumps(dict(zip(names, record, strict=True)), ensure_ascii=False))
            between = ",\n"
    out.write("\n]}\n")
