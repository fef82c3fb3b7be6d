"""Chargeback: closed months by team from the ledger, their trend, the dearest idle pods; and the month that is open.

Money of a closed month is read from its frozen statement, as it was printed. An open month has no statement: its rates
are applied by the collector and not in SQL, so it is shown from the collector's metrics, by namespace, and apart.
"""

# ruff: noqa: S608 - queries are put together here, from nothing that comes from elsewhere
from typing import Any

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana_build import style, variable
from grafana_build.board import CHARGEBACK, OF_ROW, board, to_namespace, to_pages
from grafana_build.panel import curves, months, number, words
from grafana_build.sheet import Label, Sheet, Value, of_ledger, of_metrics
from grafana_build.source import Sql, down, once, series

_CURRENCY = "coalesce(currency, 'no prices') = '$currency'"
_MONTH = f"month = '$month' AND {_CURRENCY}"
_RECENT = f"month > to_char(now() - interval '25 months', 'YYYY-MM') AND {_CURRENCY}"
# Who is charged: a team, or in brackets who is none.
_CHARGED = "CASE WHEN payer <> 'pod' THEN '(' || payer || ')' ELSE coalesce(team, '(no team)') END"
_OF_TEAMS = f"{_MONTH} AND {_CHARGED} IN ($team)"
_OPEN = """\
**This month is open.** It has no statement yet: windows may still arrive, and prices may still change. What follows is
what a statement would say now, by namespace. By team: [the collector's Overview](${pages}/), and its
[statement so far](${pages}/statement)."""


def chargeback() -> Dashboard:
    """For who pays."""
    return board(
        CHARGEBACK,
        "Chargeback",
        "What closed months cost, by team, as their statements print it; and what the open month has come to.",
        [variable.data_source("postgresql"), variable.data_source("prometheus"), variable.pages(), *_choices()],
        {
            "$month, closed": [*_amount(), *_capacity(), _teams()],
            "Trend": [_trend(), _idle_trend()],
            "What stood idle, and where, in $month": [_idle(), _namespaces(), _models()],
            "The open month": [words("", _OPEN), _open_namespaces(), _budgets(), _burn()],
            "Every closed month": [_closed()],
        },
        page="/statement?month=${month}",
        since="now-30d",
    )


def _choices() -> list[Any]:
    currencies = "SELECT DISTINCT coalesce(currency, 'no prices') FROM statement_month ORDER BY 1"
    closed = f"SELECT month FROM statement_month WHERE {_CURRENCY} ORDER BY month DESC"
    teams = f"SELECT DISTINCT {_CHARGED} FROM statement_item WHERE {_MONTH} ORDER BY 1"
    return [
        variable.from_ledger("currency", "Currency", currencies),
        variable.from_ledger("month", "Closed month", closed),
        variable.from_ledger("team", "Charged to", teams, several=True),
    ]


def _amount() -> list[Any]:
    idle = "ceil(1000 * sum(amount) FILTER (WHERE state = 'idle') / NULLIF(sum(amount), 0)) / 1000"
    return [
        number(
            "Amount",
            "What the statement of the month comes to, in the chosen currency: all teams and the platform.",
            _of_month("amount"),
            style.MONEY,
            unknown=style.UNPRICED,
            decimals=2,
        ),
        number(
            "Idle",
            "What was held and not used: its part of the printed amount, rounded up.",
            Sql(f"SELECT {idle} AS value FROM statement_item WHERE {_MONTH}"),
            style.RATIO,
            unknown=style.UNPRICED,
            decimals=1,
        ),
        number(
            "Unpriced",
            "GPU-hours that no rate had a price for when the month was closed. They are in no amount.",
            _of_month("unpriced_us / 3600000000.0"),
            style.HOURS,
            decimals=1,
            thresholds=style.attention(above=1),
        ),
    ]


def _capacity() -> list[Any]:
    return [
        number(
            "GPU-hours",
            "The capacity of the month: the five states together, without corrections of earlier months.",
            _of_month("capacity_us / 3600000000.0"),
            style.HOURS,
            decimals=1,
        ),
        number(
            "Coverage",
            "1 - unobserved / capacity: how much of the month anybody saw, rounded down.",
            _of_month("trunc(coverage, 3)"),
            style.RATIO,
            decimals=1,
            thresholds=style.attention(below=0.95),
        ),
        number(
            "Energy",
            "What the devices drew, where it was measured: boards, not hosts.",
            _of_month("energy_mj / 3600000000.0"),
            style.KWH,
            decimals=0,
        ),
    ]


def _of_month(what: str) -> Sql:
    return Sql(f"SELECT {what} AS value FROM statement_month WHERE {_MONTH}")


def _teams() -> Any:
    text = (
        "The printed amounts of the statement, by who is charged: a team, or in brackets the platform (what nobody "
        "held, what could not be used), processes of the host, and namespaces without a team. They add up to the "
        "month's amount. Corrections of earlier months are in the month that billed them."
    )
    return of_ledger(_sheet("By team", text, width=24, height=9), _amounts(f'{_CHARGED} AS "Charged to"', _MONTH))


def _namespaces() -> Any:
    names = 'coalesce(namespace, \'(\' || payer || \')\') AS "Namespace", team AS "Team", cluster AS "Cluster"'
    text = "The same by namespace, for those who are chosen above."
    links = (Label("namespace", "Namespace", (to_namespace(OF_ROW), to_pages("Ledger", "/namespaces/${__value.raw}"))),)
    return of_ledger(_sheet("By namespace", text, labels=links), _amounts(names, _OF_TEAMS))


def _models() -> Any:
    names = 'model AS "Model", profile AS "MIG profile", min(price) FILTER (WHERE meter = \'gpu\') AS "Lowest price"'
    text = "The same by model of GPU and MIG profile, for those who are chosen above, with the lowest price of an hour."
    return of_ledger(_sheet("By model", text), _amounts(names, _OF_TEAMS, "model, profile"))


def _amounts(names: str, where: str, group: str = "") -> str:
    """Printed amounts by state, GPU-hours, and the part of measured time that was idle; NULL is not known, not 0."""
    by_state = ", ".join(f"sum(amount) FILTER (WHERE state = '{state}') AS \"{state}\"" for state in style.STATES)
    columns = group or ", ".join(str(at) for at in range(1, names.count(" AS ") + 1))
    return (
        f'SELECT {names}, sum(amount) AS "Amount", {by_state}, '
        "sum(amount) FILTER (WHERE meter <> 'gpu') AS \"energy\", "
        'sum(gpu_hours) AS "GPU-hours", '
        'sum(gpu_hours) FILTER (WHERE price IS NULL) AS "Unpriced hours", '
        "trunc(sum(us) FILTER (WHERE state = 'used') / NULLIF(sum(us) FILTER (WHERE state IN ('used', 'idle')), 0), 3) "
        'AS "Efficiency" '
        f'FROM statement_item WHERE {where} GROUP BY {columns} ORDER BY "Amount" DESC NULLS LAST'
    )


def _sheet(title: str, description: str, labels: tuple[Label, ...] = (), width: int = 24, height: int = 8) -> Sheet:
    money = [Value(state, style.MONEY, decimals=2, unknown="–", state=state) for state in style.STATES]
    values = [
        Value("Amount", style.MONEY, decimals=2, unknown=style.UNPRICED),
        *money,
        Value("energy", style.MONEY, decimals=2, unknown="–"),
        Value("Lowest price", style.MONEY, unknown=style.UNPRICED),
        Value("GPU-hours", style.NUMBER, decimals=1),
        Value("Unpriced hours", style.NUMBER, decimals=1, unknown="–"),
        Value("Efficiency", style.RATIO, decimals=1),
    ]
    return Sheet(title, description, values, labels, sort="Amount", width=width, height=height)


def _trend() -> Any:
    query = (
        f'SELECT month AS "Month", {_CHARGED} AS "Name", sum(amount) AS "Amount" '
        f"FROM statement_item WHERE {_RECENT} GROUP BY 1, 2 ORDER BY 1, 2"
    )
    text = "Printed amounts of the last 24 closed months, by who was charged. A month that is open is not among them."
    return months("Amount by month and team", text, query)


def _idle_trend() -> Any:
    query = (
        'SELECT month AS "Month", coalesce(state, \'energy\') AS "Name", sum(amount) AS "Amount" '
        f"FROM statement_item WHERE {_RECENT} GROUP BY 1, 2 ORDER BY 1, 2"
    )
    text = "The same by state: what was used, what stood idle, what nobody held; and energy where it has a price."
    return months("Amount by month and state", text, query)


def _idle() -> Any:
    query = (
        'SELECT namespace AS "Namespace", pod AS "Pod", team AS "Team", cluster AS "Cluster", '
        'amount AS "Amount", gpu_hours AS "Idle hours", unpriced_us / 3600000000.0 AS "Unpriced hours" '
        f"FROM statement_workload WHERE {_MONTH} AND coalesce(team, '(no team)') IN ($team) "
        'ORDER BY amount DESC NULLS LAST, "Idle hours" DESC LIMIT 20'
    )
    values = [
        Value("Amount", style.MONEY, decimals=2, unknown=style.UNPRICED),
        Value("Idle hours", style.NUMBER, decimals=1),
        Value("Unpriced hours", style.NUMBER, decimals=1),
    ]
    text = (
        "The twenty pods whose idle GPUs cost most in the month: held, measured, and no kernel of the owner was "
        "executing. Of the ten dearest of each namespace and team; corrections of earlier months are not among them."
    )
    links = (Label("namespace", "Namespace", (to_namespace(OF_ROW),)),)
    return of_ledger(Sheet("Dearest idle pods", text, values, links, sort="Amount"), query)


def _open_namespaces() -> Any:
    # Not by $currency, which the closed months have: before the first is closed there is none to choose.
    metric = "gputally_namespace_month_cost{PART}"
    by = "cluster, namespace, currency"
    values = [
        Value(
            title,
            style.MONEY,
            f"sum by ({by}) ({once(metric.replace('PART', part))})",
            decimals=2,
            unknown=style.UNPRICED,
            state=state,
        )
        for title, part, state in (
            ("Cost", "", ""),
            *((state, f'part="{state}"', state) for state in style.PAID_BY_OWNERS),
            ("energy", 'part=~"energy|overhead"', ""),
        )
    ]
    text = (
        "What each namespace's pods cost this month so far, in the rate card's currency, by state; energy is with what "
        "the building draws besides."
    )
    labels = [
        Label("cluster", "Cluster"),
        Label("namespace", "Namespace", (to_namespace(OF_ROW), to_pages("Ledger", "/namespaces/${__value.raw}"))),
        Label("currency", "Currency"),
    ]
    return of_metrics(Sheet("So far, by namespace", text, values, labels, sort="Cost", width=14, height=9))


def _budgets() -> Any:
    by = "scope, name, cluster, unit"
    forecast = 'gputally_budget_forecast_ratio{bound="BOUND"}'
    values = [
        Value("Spent", style.RATIO, down(f"max by ({by}) (gputally_budget_spent_ratio)", 100), decimals=0),
        *(
            Value(
                f"Forecast, {bound}",
                style.RATIO,
                down(f"max by ({by}) ({forecast.replace('BOUND', bound)})", 100),
                decimals=0,
            )
            for bound in ("low", "expected", "high")
        ),
    ]
    text = (
        "The part of each budget that is spent this month, and what it will come to: expected (like the mean day), low "
        "and high (like the least and the dearest day). Over 100 % is too much."
    )
    labels = [Label("scope", "Of"), Label("name", "Name"), Label("cluster", "Cluster"), Label("unit", "In")]
    sheet = Sheet("Budgets", text, values, labels, sort="Forecast, expected", width=10, height=9, unknown="no budget")
    return of_metrics(sheet)


def _burn() -> Any:
    cost = "gputally_capacity_month_cost"
    return curves(
        "The month so far",
        "What all GPUs cost this month so far by part, whoever pays. It begins anew with each month.",
        {
            f"{part} ({{{{currency}}}})": f"sum by (currency) ({once(series(cost, part=part))})"
            for part in (*style.STATES, *style.OTHER_PARTS)
        },
        style.MONEY,
        stacked=True,
        unknown=style.UNPRICED,
        width=24,
    )


def _closed() -> Any:
    query = (
        'SELECT month AS "Month", amount AS "Amount", capacity_us / 3600000000.0 AS "GPU-hours", '
        'trunc(coverage, 3) AS "Coverage", unpriced_us / 3600000000.0 AS "Unpriced hours", '
        'energy_mj / 3600000000.0 AS "Energy", carbon_g / 1000 AS "Carbon", '
        "(SELECT sum(item.amount) FROM statement_item AS item WHERE item.month = whole.month "
        'AND item.corrects IS NOT NULL) AS "Corrections in it", closed AS "Closed", content_hash AS "Hash" '
        f"FROM statement_month AS whole WHERE {_CURRENCY} ORDER BY month DESC"
    )
    values = [
        Value("Amount", style.MONEY, decimals=2, unknown=style.UNPRICED),
        Value("GPU-hours", style.NUMBER, decimals=1),
        Value("Coverage", style.RATIO, decimals=1),
        Value("Unpriced hours", style.NUMBER, decimals=1),
        Value("Energy", style.KWH, decimals=0),
        Value("Carbon", style.CO2, decimals=1, unknown="no factor"),
        Value("Corrections in it", style.MONEY, decimals=2, unknown="none"),
        Value("Closed", style.TIMESTAMP),
    ]
    text = (
        "Each closed month: what it came to, how much of it was seen, what of it corrects earlier months, and the "
        "SHA-256 of its statement, which `gputally statement show MONTH --format json | sha256sum` prints as well."
    )
    return of_ledger(Sheet("Closed months", text, values, sort="Month", height=7), query)
