"""A dashboard: its head, its variables, rows of panels, and links to the others and to the collector's pages."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

TAG = "gputally"
FLEET, NAMESPACE, NODE, CHARGEBACK, PIPELINE = (
    f"{TAG}-{name}" for name in ("fleet", "namespace", "node", "chargeback", "pipeline")
)
CHOSEN = "${cluster:queryparam}"  # the clusters that are chosen here
OF_ROW = "var-cluster=${__data.fields.Cluster}"
_KEEP = "${__url_time_range}&${prometheus:queryparam}&${pages:queryparam}"


def board(
    uid: str,
    title: str,
    description: str,
    variables: Iterable[Any],
    rows: Mapping[str, Sequence[Any]],
    page: str,
    since: str = "now-24h",
) -> model.Dashboard:
    """A dashboard with a heading over each row of panels; `page` is where the collector shows the same."""
    made = build.Dashboard(f"GPU Tally / {title}").uid(uid).description(description).tags([TAG]).readonly()
    made = made.time(since, "now").refresh("1m").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    made = made.link(_others()).link(_to_page(page))
    for variable in variables:
        made = made.with_variable(variable)
    for heading, panels in rows.items():
        made = made.with_row(build.Row(heading))
        for panel in panels:
            made = made.with_panel(panel)
    return _numbered(made.build())


def to_namespace(cluster: str) -> tuple[str, str]:
    """A link of a cell with a namespace; `cluster` says where its cluster stands."""
    return "Namespace", f"/d/{NAMESPACE}?var-namespace=${{__value.raw}}&{cluster}&{_KEEP}"


def to_node(cluster: str) -> tuple[str, str]:
    """The same for a cell with a node."""
    return "Node", f"/d/{NODE}?var-node=${{__value.raw}}&{cluster}&{_KEEP}"


def to_pages(title: str, path: str) -> tuple[str, str]:
    """A link of a cell to the collector's own pages."""
    return title, "${pages}" + path


def _others() -> build.DashboardLink:
    made = build.DashboardLink("GPU Tally").type(model.DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(True)
    return made.keep_time(True).include_vars(True)


def _to_page(path: str) -> build.DashboardLink:
    made = build.DashboardLink("Collector's page").type(model.DashboardLinkType.LINK).url("${pages}" + path)
    return made.icon("external link").tooltip("The same from the ledger, for people").target_blank(True)


def _numbered(made: model.Dashboard) -> model.Dashboard:
    """Panels with ids: what links name must not depend on who opens it."""
    for number, panel in enumerate(made.panels or (), start=1):
        panel.id_val = number
    return made
