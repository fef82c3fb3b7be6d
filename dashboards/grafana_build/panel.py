"""The kinds of panels. Each has a description, a unit, and words for what is not known: nothing unknown shows as 0."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from grafana_foundation_sdk.builders import barchart, common, stat, text, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.text import TextMode

from grafana_build import style
from grafana_build.source import LEDGER, METRICS, Sql, now, over_time

_Coloured = TypeVar("_Coloured", timeseries.Panel, barchart.Panel)
_COLOURS = {**style.STATES, **style.OTHER_PARTS}
_SHORTEST_STEP = "5m"  # windows are committed once a minute: a rate over less is made of one or two of them
_BESIDE_NAMES = ("lastNotNull", "max")


def number(
    title: str,
    description: str,
    ask: str | Sql,
    unit: str,
    *,
    unknown: str = style.NOT_MEASURED,
    legend: str = "",
    decimals: float | None = None,
    state: str = "",
    thresholds: build.ThresholdsConfig = style.CALM,
    width: int = 4,
) -> stat.Panel:
    """One number of now, or one for each value of the legend's label; `ask` is PromQL, or SQL with one row."""
    made = stat.Panel().title(title).description(description).span(width).height(4).unit(unit).no_value(unknown)
    made = made.graph_mode(looks.BigValueGraphMode.NONE).color_mode(looks.BigValueColorMode.VALUE)
    made = made.text_mode(looks.BigValueTextMode.VALUE_AND_NAME if legend else looks.BigValueTextMode.VALUE)
    made = made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).thresholds(thresholds)
    if decimals is not None:
        made = made.decimals(decimals)
    if state:
        made = made.color_scheme(_fixed(style.STATES[state]))
    if isinstance(ask, Sql):
        return made.datasource(LEDGER).with_target(ask)
    return made.datasource(METRICS).with_target(now(ask, legend or "__auto"))


def curves(
    title: str,
    description: str,
    asks: Mapping[str, str],
    unit: str,
    *,
    stacked: bool = False,
    unknown: str = style.NOT_MEASURED,
    width: int = 12,
    height: int = 9,
    least: float | None = 0,
) -> timeseries.Panel:
    """Curves by legend: a name or a template such as {{node}}, and its PromQL. States and parts have their colours."""
    made = timeseries.Panel().title(title).description(description).span(width).height(height).unit(unit)
    made = made.no_value(unknown).datasource(METRICS).interval(_SHORTEST_STEP).show_points(looks.VisibilityMode.AUTO)
    made = made.color_scheme(build.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    made = made.legend(_legend()).tooltip(_tooltip()).line_width(1)
    if least is not None:
        made = made.min(least)
    if stacked:
        made = made.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL)).fill_opacity(70)
    for at, (legend, expr) in enumerate(asks.items()):
        made = made.with_target(over_time(expr, legend, at))
    return _coloured(made, asks)


def by_state(expr: str, states: Iterable[str] = style.STATES) -> dict[str, str]:
    """A query with STATE in it, for each state: in one order, so that stacks look alike."""
    return {state: expr.replace("STATE", state) for state in states}


def months(title: str, description: str, query: str) -> barchart.Panel:
    """Bars by month: SQL with the columns Month, a name, and an amount."""
    made = barchart.Panel().title(title).description(description).span(12).height(10).unit(style.MONEY)
    made = made.no_value(style.UNPRICED).datasource(LEDGER).decimals(2).legend(_legend()).tooltip(_tooltip())
    made = made.color_scheme(build.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME)).x_field("Month")
    made = made.stacking(looks.StackingMode.NORMAL).fill_opacity(80)
    made = made.with_target(Sql(query)).with_transformation(_matrix()).with_transformation(_named_month())
    return _coloured(made, _COLOURS)


def words(title: str, content: str, *, width: int = 24, height: int = 3) -> text.Panel:
    """A few sentences in Markdown."""
    made = text.Panel().title(title).description(content).span(width).height(height)
    return made.mode(TextMode.MARKDOWN).content(content).transparent(True)


def _coloured(made: _Coloured, legends: Iterable[str]) -> _Coloured:
    """States and parts of money have their colours, also where a currency in brackets follows their names."""
    for legend in legends:
        first = legend.partition(" ")[0]
        for name in _COLOURS if first == "{{part}}" else _COLOURS.keys() & {first}:
            if legend == name:
                made = made.override_by_name(name, style.colour_of(name))
            else:
                made = made.override_by_regexp(rf"/^{name} \(/", style.colour_of(name))
    return made


def _fixed(colour: str) -> build.FieldColor:
    return build.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(colour)


def _legend() -> common.VizLegendOptions:
    made = common.VizLegendOptions().display_mode(looks.LegendDisplayMode.TABLE)
    return made.placement(looks.LegendPlacement.BOTTOM).show_legend(True).calcs(list(_BESIDE_NAMES))


def _tooltip() -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING)


def _matrix() -> model.DataTransformerConfig:
    """A row for each month, a column for each name; what is not there is null."""
    options = {"rowField": "Month", "columnField": "Name", "valueField": "Amount", "emptyValue": "null"}
    return model.DataTransformerConfig(id_val="groupingToMatrix", options=options)


def _named_month() -> model.DataTransformerConfig:
    return model.DataTransformerConfig(id_val="organize", options={"renameByName": {"Month\\Name": "Month"}})
