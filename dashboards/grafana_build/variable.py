"""What a reader can choose: data sources, clusters, namespaces, nodes, months."""

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from grafana_build.source import LEDGER, METRICS, POSTGRESQL, POSTGRESQL_UID, PROMETHEUS, PROMETHEUS_UID

PAGES_URL = "http://localhost:9857"  # where a collector on one's own machine serves its pages


def data_source(name: str) -> build.DatasourceVariable:
    """Which of Grafana's data sources; at first the one that dashboards/provisioning makes."""
    kind, uid = {"prometheus": (PROMETHEUS, PROMETHEUS_UID), "postgresql": (POSTGRESQL, POSTGRESQL_UID)}[name]
    label = {"prometheus": "Prometheus", "postgresql": "PostgreSQL"}[name]
    chosen = model.VariableOption(selected=True, text=uid, value=uid)
    return build.DatasourceVariable(name).type(kind).label(label).current(chosen)


def pages() -> build.TextBoxVariable:
    """Where the collector's pages are, for links to them."""
    return build.TextBoxVariable("pages").label("Collector's pages").default_value(PAGES_URL)


def from_metrics(name: str, label: str, query: str, *, several: bool = False) -> build.QueryVariable:
    """Values of a label. Of several the first choice is all, which leaves out nothing."""
    made = _query(name, label, several).datasource(METRICS).query({"query": query, "refId": name})
    return made.all_value(".*") if several else made


def from_ledger(name: str, label: str, query: str, *, several: bool = False) -> build.QueryVariable:
    """Values of a column, in the order of the query."""
    return _query(name, label, several).datasource(LEDGER).query(query).sort(model.VariableSort.DISABLED)


def _query(name: str, label: str, several: bool) -> build.QueryVariable:
    made = build.QueryVariable(name).label(label).refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    made = made.sort(model.VariableSort.ALPHABETICAL_ASC)
    if not several:
        return made
    everything = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    return made.multi(True).include_all(True).current(everything)
