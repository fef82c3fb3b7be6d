"""Pipeline: are the agents there, is anything late, refused or lost, how much is covered, do the books balance."""

from typing import Any

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana_build import style, variable
from grafana_build.board import OF_ROW, PIPELINE, board, to_node
from grafana_build.panel import curves, number
from grafana_build.recurring import coverage_of_month
from grafana_build.sheet import Label, Sheet, Value, of_metrics
from grafana_build.source import CLUSTER, CLUSTER_IF_KNOWN, once, rate, series


def pipeline() -> Dashboard:
    """For who runs GPU Tally itself."""
    return board(
        PIPELINE,
        "Pipeline",
        "From the driver to the ledger: agents, what waits, what was refused, coverage, conservation.",
        [variable.data_source("prometheus"), variable.pages(), *_choices()],
        {
            "Now": _now(),
            "Agents": [_nodes(), _agents(), *_sources(), *_samples()],
            "Collector": [*_windows(), *_writer()],
            "Ledger": [*_covered(), *_left()],
        },
        page="/",
        since="now-6h",
    )


def _choices() -> list[Any]:
    clusters = "label_values(gputally_node_last_window_timestamp_seconds, cluster)"
    return [variable.from_metrics("cluster", "Cluster", clusters, several=True)]


def _agent(metric: str, **labels: str) -> str:
    return series(metric, CLUSTER_IF_KNOWN, **labels)


def _now() -> list[Any]:
    pending = once("gputally_ledger_pending")
    return [
        number(
            "Agents",
            "Agents that Prometheus reads now.",
            f"count({_agent('gputally_ready')})",
            style.COUNT,
        ),
        number(
            "Not ready",
            "Agents that do not see all that they need; their /readyz says why.",
            f"sum(1 - {_agent('gputally_ready')})",
            style.COUNT,
            thresholds=style.attention(above=1),
        ),
        number(
            "Conservation error",
            "used + idle + unallocated + unavailable + unobserved - capacity, over all windows of agents and "
            "collectors. It must be 0: anything else is a defect.",
            "max(abs(gputally_conservation_error_seconds))",
            style.SECONDS,
            thresholds=style.attention(above=0.000001),
        ),
        coverage_of_month(),
        number(
            "Hours to settle",
            "Hours of nodes whose postings wait to be recomputed. Until then reports lack what arrived for them.",
            f"max({pending})",
            style.COUNT,
            thresholds=style.attention(above=1000),
        ),
        number(
            "Database",
            "Whether every collector can read its database.",
            "min(gputally_database_up)",
            style.YES_NO,
            thresholds=style.attention(below=1),
        ),
    ]


def _nodes() -> Any:
    last = f"max by (cluster, node) ({series('gputally_node_last_window_timestamp_seconds', CLUSTER)})"
    return of_metrics(
        Sheet(
            "Nodes by silence",
            "How long ago the last window began that the ledger has of each node. Time after it is a gap, and will be "
            "unobserved if its windows do not come.",
            [Value("Last window", style.SECONDS, f"time() - {last}")],
            [Label("cluster", "Cluster"), Label("node", "Node", (to_node(OF_ROW),))],
            sort="Last window",
            width=8,
        )
    )


def _agents() -> Any:
    oldest = f"time() - {_agent('gputally_spool_oldest_timestamp_seconds')}"
    values = [
        Value("Ready", style.YES_NO, _by_agent("gputally_ready")),
        Value("Collector is there", style.YES_NO, _by_agent("gputally_stream_connected")),
        Value("Waiting windows", style.COUNT, _by_agent("gputally_spool_windows")),
        Value("Waiting bytes", style.BYTES, _by_agent("gputally_spool_bytes")),
        Value("Oldest waits", style.SECONDS, f"max by (instance) ({oldest})", unknown="none waits"),
        Value("Spool's disk", style.YES_NO, _by_agent("gputally_spool_up")),
        Value("Driver released", style.YES_NO, _by_agent("gputally_driver_released")),
    ]
    return of_metrics(
        Sheet(
            "Agents",
            "Each agent's own view: whether it sees all it needs, whether it reaches the collector, and what waits in "
            "its spool for the collector's acknowledgement. A window that is 7 days old is given up, and a full spool "
            "takes none: what was lost is below.",
            values,
            [Label("instance", "Agent")],
            sort="Waiting windows",
            width=16,
        )
    )


def _by_agent(metric: str) -> str:
    return f"max by (instance) ({_agent(metric)})"


def _sources() -> list[Any]:
    call = f"sum by (le, call) ({rate(_agent('gputally_nvml_call_duration_seconds_bucket'))})"
    rejected = rate(_agent("gputally_rejected_readings_total"))
    return [
        curves(
            "How long sources take",
            "The last reading of each source, the slowest agent: the driver, the kubelet, the Kubernetes API.",
            {"{{source}}": f"max by (source) ({_agent('gputally_source_duration_seconds')})"},
            style.SECONDS,
            width=8,
        ),
        curves(
            "Driver calls, 99th percentile",
            "How long calls of the driver take, by function, over all agents: one in a hundred takes longer.",
            {"{{call}}": f"histogram_quantile(0.99, {call})"},
            style.SECONDS,
            width=8,
        ),
        curves(
            "Refused readings",
            "Readings per second that agents refused, by reason. Their time is unobserved, and never 0.",
            {"{{reason}}": f"sum by (reason) ({rejected})"},
            style.PER_SECOND,
            unknown=style.NONE_SEEN,
            width=8,
        ),
    ]


def _samples() -> list[Any]:
    return [
        curves(
            "Sources that answer",
            "How many agents each source answers. A line that falls is a source that fails somewhere.",
            {"{{source}}": f"sum by (source) ({_agent('gputally_source_up')})"},
            style.COUNT,
            width=8,
        ),
        curves(
            "Samples",
            "Samples of all devices per second and agent, the slowest: one is normal.",
            {"slowest agent": f"min({rate(_agent('gputally_samples_total'))})"},
            style.PER_SECOND,
            width=8,
        ),
        curves(
            "Left out",
            "Lines of pods without a series, because an agent has too many of them (per second), and namespaces "
            "beyond the largest 2000. The ledger has them all.",
            {
                "lines of pods": f"sum({rate(_agent('gputally_refused_pod_lines_total'))})",
                "namespaces": f"max({once('gputally_namespace_series_left_out')})",
            },
            style.COUNT,
            width=8,
        ),
    ]


def _windows() -> list[Any]:
    return [
        curves(
            "Windows",
            "Windows per second that arrived and that were committed, and those that were committed before (a stream "
            "that began anew repeats some).",
            {
                name: f"sum({rate(f'gputally_{metric}_windows_total')})"
                for name, metric in (
                    ("arrived", "ingest"),
                    ("committed", "writer_accepted"),
                    ("known already", "writer_duplicate"),
                )
            },
            style.PER_SECOND,
            width=8,
        ),
        curves(
            "Refused windows",
            "Windows per second that were set aside in the quarantine, by reason. Their time is a gap.",
            {"{{reason}}": f"sum by (reason) ({rate('gputally_writer_refused_windows_total')})"},
            style.PER_SECOND,
            unknown=style.NONE_SEEN,
            width=8,
        ),
        curves(
            "Streams",
            "Agents' streams that each collector reads.",
            {"{{instance}}": "sum by (instance) (gputally_ingest_streams)"},
            style.COUNT,
            width=8,
        ),
    ]


def _writer() -> list[Any]:
    commits, seconds = rate("gputally_writer_commits_total"), rate("gputally_writer_commit_seconds_total")
    return [
        curves(
            "Commits",
            "How long a commit takes, the mean of each collector.",
            {"{{instance}}": f"sum by (instance) ({seconds}) / (sum by (instance) ({commits}) > 0)"},
            style.SECONDS,
            width=8,
        ),
        curves(
            "Queue",
            "Windows that wait for the database. Past its room agents keep what they cannot send.",
            {"{{instance}}": "sum by (instance) (gputally_writer_queued_windows)"},
            style.COUNT,
            width=8,
        ),
        curves(
            "Trouble",
            "Per second: transactions that the database did not take, windows that found no room in the queue, batches "
            "of nodes whose clock is over two seconds off, streams that were turned away, or ended by a defect.",
            {
                name: f"sum({rate(f'gputally_{metric}_total')})"
                for name, metric in (
                    ("failed transactions", "writer_failures"),
                    ("no room", "writer_full"),
                    ("skewed clocks", "ingest_skewed_batches"),
                    ("turned away", "ingest_turned_away_streams"),
                    ("defects", "ingest_failed_streams"),
                )
            },
            style.PER_SECOND,
            width=8,
        ),
    ]


def _covered() -> list[Any]:
    capacity = once(rate(series("gputally_capacity_gpu_seconds_total", CLUSTER, state="STATE")))
    unobserved = f"sum by (cluster) ({capacity.replace('STATE', 'unobserved')})"
    whole = f"sum by (cluster) ({once(rate(series('gputally_capacity_gpu_seconds_total', CLUSTER)))})"
    return [
        curves(
            "Coverage of what arrived",
            "1 - unobserved / capacity of committed windows, by cluster. Time that no window covers is beside it.",
            {"{{cluster}}": f"1 - {unobserved} / ({whole} > 0)"},
            style.RATIO,
            width=8,
        ),
        curves(
            "Gaps",
            "GPU-hours that no window covers, in the postings that are kept. A window that comes late takes its time "
            "away again.",
            {"{{cluster}}": f"sum by (cluster) ({once(series('gputally_gap_gpu_seconds', CLUSTER))}) / 3600"},
            style.HOURS,
            width=8,
        ),
        curves(
            "Behind",
            "How long ago the last window began, of the node that is furthest behind.",
            {
                "{{cluster}}": (
                    "max by (cluster) (time() - "
                    f"{once(series('gputally_node_last_window_timestamp_seconds', CLUSTER))})"
                )
            },
            style.SECONDS,
            width=8,
        ),
    ]


def _left() -> list[Any]:
    waiting, refused = (
        f"max by (cluster) ({series(f'gputally_agent_spool_{name}', CLUSTER)})"
        for name in ("waiting_windows", "refused_gpu_seconds_total")
    )
    return [
        curves(
            "Waiting with agents",
            "Windows that wait in agents' spools, as they last said.",
            {"{{cluster}}": waiting},
            style.COUNT,
            width=8,
        ),
        curves(
            "Lost by agents",
            "GPU-hours in windows that agents' spools could not keep, since the spools were made: they are unobserved.",
            {"{{cluster}}": f"{refused} / 3600"},
            style.HOURS,
            width=8,
        ),
        curves(
            "Ledger's work",
            "Hours of nodes that wait to be recomputed, and windows in quarantine.",
            {
                "hours that wait": f"max({once('gputally_ledger_pending')})",
                "in quarantine": f"max({once('gputally_quarantine_windows')})",
            },
            style.COUNT,
            width=8,
        ),
    ]
