"""Lines as Parquet, group by group: whatever the month, one group of rows is in memory. Needs pyarrow, an extra."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from gputally.collector.exports.record import COLUMNS, Column, Kind, Records, Value
from gputally.collector.statement import block
from gputally.collector.statement.ground import Ground

ROWS = 10_000  # of a group
_PRECISION = 38  # decimal digits, 9 of them behind the point

_Columns: TypeAlias = list[Sequence[Value]]

MISSING = "Parquet needs pyarrow: pip install 'gputally[parquet]'"


class ParquetMissing(RuntimeError):
    """pyarrow is not installed; the message says how it is."""


def write_parquet(ground: Ground, path: Path) -> None:
    """All lines of a month into a file; raises ParquetMissing."""
    arrow, parquet = load()
    schema = _schema(arrow)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for some in _some(Records(ground).columns(), -(-ROWS // block.ROWS)):
            batches = [_batch(arrow, schema, columns) for columns in some]
            writer.write_table(arrow.Table.from_batches(batches, schema), row_group_size=ROWS)


def _some(found: Iterator[_Columns], count: int) -> Iterator[list[_Columns]]:
    while some := list(islice(found, count)):
        yield some


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


def _batch(arrow: Any, schema: Any, columns: _Columns) -> Any:
    arrays = [
        _array(arrow, column, field.type, values)
        for column, field, values in zip(COLUMNS, schema, columns, strict=True)
    ]
    return arrow.RecordBatch.from_arrays(arrays, schema=schema)


def _array(arrow: Any, column: Column, kind: Any, values: Sequence[Value]) -> Any:
    if column.kind is Kind.DECIMAL:
        return arrow.array(values, arrow.string()).cast(kind)
    if column.kind is Kind.INSTANT:
        instants = {value: datetime.fromisoformat(str(value)) for value in set(values)}
        return arrow.array([instants[value] for value in values], kind)
    return arrow.array(values, kind)
