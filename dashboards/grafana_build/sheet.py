"""Tables: of metrics, a query for each column, joined by their labels; of SQL, as the query has them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model

from grafana_build import style
from grafana_build.panel import by_state
from grafana_build.source import LEDGER, METRICS, Sql, ref_id, rows

_Property = model.DynamicConfigValue


@dataclass(frozen=True, slots=True)
class Label:
    """A column of the rows' labels. `links` are titles and addresses that a cell leads to."""

    name: str
    title: str
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Value:
    """A column of numbers. `expr` is its query (of a table in SQL: empty), `state` colours its bars."""

    title: str
    unit: str
    expr: str = ""
    decimals: float | None = None
    unknown: str = style.NOT_MEASURED
    state: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a table holds. Rows are sorted by `sort`, the largest first; `unknown` stands where there are none."""

    title: str
    description: str
    values: Sequence[Value]
    labels: Sequence[Label] = field(default_factory=tuple)
    sort: str = ""
    width: int = 24
    height: int = 8
    unknown: str = style.NOT_KNOWN


def of_metrics(sheet: Sheet) -> table.Panel:
    """A row for each set of labels that the queries' series have."""
    made = _empty(sheet).datasource(METRICS)
    for at, value in enumerate(sheet.values):
        made = made.with_target(rows(value.expr, at))
    made = made.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    return made.with_transformation(_organize(sheet))


def states(expr: str, which: Sequence[str] = tuple(style.STATES)) -> list[Value]:
    """A column of GPUs for each state, from a query with STATE in it."""
    each = by_state(expr, which).items()
    return [Value(state, style.GPUS, of_state, decimals=1, state=state) for state, of_state in each]


def of_ledger(sheet: Sheet, query: str) -> table.Panel:
    """The rows of a query whose columns are called like the sheet's."""
    return _empty(sheet).datasource(LEDGER).with_target(Sql(query))


def _empty(sheet: Sheet) -> table.Panel:
    made = table.Panel().title(sheet.title).description(sheet.description).span(sheet.width).height(sheet.height)
    made = made.no_value(sheet.unknown).cell_height(looks.TableCellHeight.SM)
    if sheet.sort:
        made = made.sort_by([common.TableSortByFieldState().display_name(sheet.sort).desc(True)])
    for label in sheet.labels:
        if label.links:
            made = made.override_by_name(label.title, [_links(label)])
    for value in sheet.values:
        made = made.override_by_name(value.title, list(_properties(value)))
    return made


def _organize(sheet: Sheet) -> model.DataTransformerConfig:
    """Names for people, in the order of the sheet, and no label that it does not name."""
    # Grafana calls numbers "Value #A" and so on, but "Value" where only one query has found anything.
    numbers = {"Value": sheet.values[0].title} | {
        f"Value #{ref_id(at)}": value.title for at, value in enumerate(sheet.values)
    }
    names = {label.name: label.title for label in sheet.labels} | numbers
    options = {
        "excludeByName": dict.fromkeys(["Time", *sorted(_grouped(sheet) - names.keys())], True),
        "includeByName": {},
        "indexByName": {name: at for at, name in enumerate(names)},
        "renameByName": names,
    }
    return model.DataTransformerConfig(id_val="organize", options=options)


def _grouped(sheet: Sheet) -> set[str]:
    """The labels that the queries' series can have."""
    found = re.findall(r"\b(?:by|group_left) \(([\w, ]+)\)", " ".join(value.expr for value in sheet.values))
    return {label for labels in found for label in labels.split(", ")}


def _links(label: Label) -> _Property:
    return _Property(id_val="links", value=[{"title": title, "url": url} for title, url in label.links])


def _properties(value: Value) -> list[_Property]:
    found = [_Property(id_val="unit", value=value.unit), _Property(id_val="noValue", value=value.unknown)]
    if value.decimals is not None:
        found.append(_Property(id_val="decimals", value=value.decimals))
    if value.state:
        bar = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
        found += [_Property(id_val="custom.cellOptions", value=bar), _Property(id_val="min", value=0)]
        found.append(style.colour_of(value.state)[0])
    return found
