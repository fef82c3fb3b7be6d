"""What people and dashboards may read of closed months in SQL: three views of the frozen documents, PostgreSQL only.

A role that may read these views sees what was billed and nothing else. They read the documents and not the lines: the
amounts of a document are rounded to add up to its total, and a document has thousands of items where a month has
millions of lines. A month is found by the key of its table. OFFSET 0 keeps PostgreSQL from parsing a document anew for
each column.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_MONTH = """
CREATE VIEW statement_month AS
SELECT
    month,
    to_timestamp(start_us / 1000000.0) AS starts,
    to_timestamp(end_us / 1000000.0) AS ends,
    zone,
    to_timestamp(closed_us / 1000000.0) AS closed,
    content_hash,
    body ->> 'currency' AS currency,
    (body ->> 'amount')::numeric AS amount,
    (body ->> 'capacity_us')::bigint AS capacity_us,
    (body ->> 'unpriced_us')::bigint AS unpriced_us,
    (body ->> 'coverage')::numeric AS coverage,
    (body ->> 'energy_mj')::bigint AS energy_mj,
    (body -> 'carbon' ->> 'carbon_g')::numeric AS carbon_g
FROM statement
CROSS JOIN LATERAL (SELECT document::jsonb AS body OFFSET 0) AS of_it
"""

_ITEM = """
CREATE VIEW statement_item AS
SELECT
    month,
    body ->> 'currency' AS currency,
    NULLIF(item.corrects, '') AS corrects,
    item.payer,
    NULLIF(item.team, '') AS team,
    NULLIF(item.cost_center, '') AS cost_center,
    item.cluster,
    NULLIF(item.namespace, '') AS namespace,
    NULLIF(item.namespace_uid, '') AS namespace_uid,
    item.model,
    NULLIF(item.profile, '') AS profile,
    item.meter,
    NULLIF(item.state, '') AS state,
    item.us,
    item.gpu_hours,
    item.mj,
    item.kwh,
    item.price,
    item.amount,
    item.exact
FROM statement
CROSS JOIN LATERAL (SELECT document::jsonb AS body OFFSET 0) AS of_it
CROSS JOIN LATERAL jsonb_to_recordset(body -> 'items') AS item(
    corrects text, payer text, team text, cost_center text, cluster text, namespace text, namespace_uid text,
    model text, profile text, meter text, state text, us bigint, gpu_hours numeric, mj bigint, kwh numeric,
    price numeric, amount numeric, exact numeric
)
"""

# The cost of a workload is a text of 1/3.6×10^18 of the currency, as `rates.cost` counts.
_WORKLOAD = """
CREATE VIEW statement_workload AS
SELECT
    month,
    body ->> 'currency' AS currency,
    workload.cluster,
    workload.namespace,
    NULLIF(workload.namespace_uid, '') AS namespace_uid,
    NULLIF(workload.team, '') AS team,
    NULLIF(workload.cost_center, '') AS cost_center,
    workload.pod,
    workload.idle_us,
    workload.gpu_hours,
    workload.unpriced_us,
    CASE
        WHEN workload.unpriced_us < workload.idle_us THEN round(workload.cost::numeric / 3600000000000000000, 9)
    END AS amount
FROM statement
CROSS JOIN LATERAL (SELECT document::jsonb AS body OFFSET 0) AS of_it
CROSS JOIN LATERAL jsonb_to_recordset(body -> 'idle_workloads') AS workload(
    cluster text, namespace text, namespace_uid text, team text, cost_center text, pod text,
    idle_us bigint, gpu_hours numeric, unpriced_us bigint, cost text
)
"""

_OF_EACH = {
    "month": "YYYY-MM in the billing time zone",
    "currency": "ISO 4217 code of the rate card; NULL: there was none",
    "team": "NULL: not known, or nobody's",
    "cost_center": "NULL: not known, or nobody's",
    "namespace_uid": "NULL: not known, or no namespace",
}
_COMMENTS = {
    "statement_month": {
        "": "Closed months, one row each; they never change",
        "starts": "the first instant of the month",
        "ends": "the first instant after it",
        "zone": "the billing time zone",
        "closed": "when it was closed",
        "content_hash": "SHA-256 of the statement as JSON, hexadecimal",
        "amount": "what the statement comes to, in the currency; NULL: nothing has a price",
        "capacity_us": "the five states of the month together, without corrections, microseconds",
        "unpriced_us": "the part of it that has no price and is in no amount, microseconds",
        "coverage": "1 - unobserved / capacity; NULL: there was no capacity",
        "energy_mj": "energy, millijoules; NULL: none was measured",
        "carbon_g": "CO2e of that energy, grams; NULL: not known",
    },
    "statement_item": {
        "": "The printed lines of closed months",
        "corrects": "the closed month that the item corrects; NULL: it is the month's own",
        "payer": "who pays: pod, host or platform",
        "cluster": "the cluster's name",
        "namespace": "the namespace of the pods that pay; NULL: host or platform",
        "model": "NVML's product name",
        "profile": "of a MIG instance, such as 1g.10gb; NULL: none",
        "meter": "gpu: time; energy; energy-overhead: what the building draws besides",
        "state": "used, idle, unallocated, unavailable or unobserved; NULL: energy",
        "us": "time, microseconds, below 0 in some corrections; NULL: energy",
        "gpu_hours": "the same in hours as printed, which adds up; NULL: energy",
        "mj": "energy, millijoules; NULL: time",
        "kwh": "the same in kilowatt-hours as printed, which adds up; NULL: time",
        "price": "of a GPU-hour or kilowatt-hour; NULL: unpriced, which is not 0",
        "amount": "as printed: all items of a month add up to its amount; NULL: unpriced",
        "exact": "the cost before it is rounded, in 1/3.6x10^18 of the currency; NULL: unpriced",
    },
    "statement_workload": {
        "": "The dearest idle pods of closed months, ten of each namespace and team",
        "cluster": "the cluster's name",
        "namespace": "the pod's namespace",
        "pod": "its name",
        "idle_us": "time that it held and did not use, microseconds",
        "gpu_hours": "the same in hours",
        "unpriced_us": "the part of it that has no price, microseconds",
        "amount": "what the rest cost, rounded to nine decimals; NULL: nothing of it has a price",
    },
}


def upgrade() -> None:
    """Make the views. SQLite has no roles to read them, and no decimals to keep them exact."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    for statement in (_MONTH, _ITEM, _WORKLOAD):
        op.execute(statement)
    for view in _COMMENTS:
        for column in sa.inspect(connection).get_columns(view):
            _comment(f"COLUMN {view}.{column['name']}", {**_OF_EACH, **_COMMENTS[view]}[column["name"]])
        _comment(f"VIEW {view}", _COMMENTS[view][""])


def _comment(what: str, text: str) -> None:
    op.execute(f"COMMENT ON {what} IS $${text}$$")
