"""How things look: one colour for each state on all dashboards and pages, words for what is not known, units."""

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

# In the order of docs/accounting.md. The colours are those of collector/web/static/gputally.css (light), which people
# with any common colour-vision deficiency can tell apart; the hatching of unobserved time is its line's dashes here.
STATES = {
    "used": "#3b6fd4",
    "idle": "#e0802f",
    "unallocated": "#c3cedb",
    "unavailable": "#a3324a",
    "unobserved": "#76818f",
}
OTHER_PARTS = {"energy": "#e8d010", "overhead": "#28d088"}  # of money, besides the states
PAID_BY_OWNERS = ("used", "idle", "unobserved")  # who holds a GPU pays for nothing else
_ATTENTION = "#cc3311"
_CALM = "text"  # the theme's colour of text

NOT_MEASURED = "not measured"
NOT_KNOWN = "not known"
UNPRICED = "unpriced"
NONE_SEEN = "none seen"

# Grafana's names of units.
GPUS = COUNT = NUMBER = "short"
MONEY = "locale"  # with separators of thousands; the currency stands beside it, for no sum goes over currencies
# Grafana's own hours become days, and a hundred GPU-hours are not four days.
RATIO, SECONDS, HOURS, BYTES, WATTS, KWH = "percentunit", "s", "suffix: GPU-h", "bytes", "watt", "kwatth"
CELSIUS, HERTZ, CO2, PER_SECOND, YES_NO, TIMESTAMP = "celsius", "hertz", "masskg", "cps", "bool_yes_no", "dateTimeAsIso"


def colour_of(name: str) -> list[model.DynamicConfigValue]:
    """What a series or column looks like that is about a state or a part of money; unobserved is dashed as well."""
    known = {**STATES, **OTHER_PARTS}
    fixed = model.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": known[name]})
    if name != "unobserved":
        return [fixed]
    dashes = {"fill": "dash", "dash": [4, 4]}
    return [fixed, model.DynamicConfigValue(id_val="custom.lineStyle", value=dashes)]


def attention(above: float | None = None, below: float | None = None) -> build.ThresholdsConfig:
    """The colour that asks for a look, at `above` and more, or at less than `below`; never the only sign."""
    steps = [model.Threshold(value=None, color=_CALM if below is None else _ATTENTION)]
    if below is not None:
        steps.append(model.Threshold(value=below, color=_CALM))
    if above is not None:
        steps.append(model.Threshold(value=above, color=_ATTENTION))
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


CALM = attention()
