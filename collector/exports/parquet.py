"""Lines as Parquet, group by group: whatever the month, one group of rows is in memory. Needs pyarrow, an extra."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from gputally.collector.exports.record import COLUMNS, Column, Kind, Records, Value
from gputally.collector.statement.ground import Ground

ROWS = 20_000  # of a group
_PRECISION = 38  # decimal digits, 9 of them behind the point

MISSING = "Parquet needs pyarrow: pip install 'gputally[parquet]'"


class ParquetMissing(RuntimeError):
    """pyarrow is not installed; the message says how it is."""


def write_parquet(ground: Ground, path: Path) -> None:
    """All lines of a month into a file; raises ParquetMissing."""
    arrow, parquet = load()
    schema = _schema(arrow)
    records = iter(Records(ground))
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(records, ROWS)):
            writer.write_table(arrow.Table.from_arrays(list(_arrays(arrow, schema, batch)), schema=schema))


def load() -> tuple[ModuleType, ModuleType]:
    """pyarrow and its parquet module; raises ParquetMissing."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ParquetMissing(MISSING) from error
    return pyarrow, pyarrow.parquet


def _schema(arrow: Any) -> Any:
    kinds = {
        Kind.TEXT: arrow.string(),
        Kind.INTEGER: arrow.int64(),
        Kind.DECIMAL: arrow.decimal128(_PRECISION, 9),
        Kind.INSTANT: arrow.timestamp("us", tz="UTC"),
    }
    return arrow.schema([arrow.field(of.name, kinds[of.kind], metadata={"comment": of.comment}) for of in COLUMNS])


def _arrays(arrow: Any, schema: Any, batch: Sequence[tuple[Value, ...]]) -> Iterator[Any]:
    for field, column, values in zip(schema, COLUMNS, zip(*batch, strict=True), strict=True):
        yield arrow.array([_value(column, value) for value in values], field.type)


def _value(column: Column, value: Value) -> object:
    if value is None:
        return None
    if column.kind is Kind.DECIMAL:
        return Decimal(str(value))
    if column.kind is Kind.INSTANT:
        return datetime.fromisoformat(str(value)).astimezone(UTC)
    return value
