"""`gputally workloads`: whose work a pod is and how that is known, and rules of one's own; jobs are in `jobs`."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Engine, or_, select

from gputally.collector.allocation.period import instant
from gputally.collector.cli import jobs
from gputally.collector.cli.database import DatabaseUrl, Timezone, fail, ledger, settings_of
from gputally.collector.cli.files import File, read_file, refuse
from gputally.collector.database.engine import reading
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.files.yaml_file import FileMistakes
from gputally.collector.settings import ReadSettings
from gputally.collector.workloads.parse import shipped_book
from gputally.collector.workloads.workload import CLAIMS, NUMBERS, TEXTS

MOST = 100  # pods of one name: those of a StatefulSet have many lives
_HOW = {
    "owner": "the chain of owner references",
    "claim": "what stands on the pod",
    "pod": "nobody owns the pod",
}
_TIMES = ("created", "started", "finished", "gone")
_Row = Mapping[str, Any]

app = typer.Typer(
    help="Workloads: one job, one row, and whose work a pod is.", no_args_is_help=True, rich_markup_mode=None
)
app.command("list")(jobs.list_)
app.command("job")(jobs.job)


@app.command("check")
def check(file: File) -> None:
    """Say everything that is wrong with a file of rules (--workload-rules-file), by line; status 2 where there is."""
    try:
        shipped_book(read_file(file))
    except FileMistakes as mistakes:
        refuse(file, mistakes)
    sys.stdout.write(f"{file}: nothing wrong\n")


@app.command("show")
def show(
    pod: Annotated[str, typer.Argument(help="Name or UID of a pod.", metavar="POD")],
    namespace: Annotated[str | None, typer.Option(help="Only there. Default: everywhere.", metavar="NAME")] = None,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """Whose work a pod is, which rule says so and by what evidence, and how the pod ended."""
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    with ledger(settings) as engine:
        rows = _read(engine, pod, namespace)
    if not rows:
        fail(1, [f"{pod}: no such pod is known; docs/workloads.md says which are"])
    sys.stdout.write("\n".join("".join(_lines(row, settings.zone)) for row in rows))


def _read(engine: Engine, pod: str, namespace: str | None) -> Sequence[_Row]:
    """The newest first."""
    table = pod_workload.c
    query = select(pod_workload).where(or_(table.pod == pod, table.pod_uid == pod))
    if namespace is not None:
        query = query.where(table.namespace == namespace)
    query = query.order_by(table.created_us.desc(), table.cluster, table.pod_uid).limit(MOST)
    with reading(engine) as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _lines(row: _Row, zone: ZoneInfo) -> Iterator[str]:
    yield f"{row['namespace']}/{row['pod']} in {row['cluster']} ({row['pod_uid']})\n"
    for name, text in _told(row, zone):
        yield f"  {name:<14}{text}\n"


def _told(row: _Row, zone: ZoneInfo) -> Iterator[tuple[str, object]]:
    yield "workload", row["label"]
    better = "" if row["complete"] else "; an owner could not be read"
    yield "evidence", f"{row['evidence']}: {_HOW.get(row['evidence'], '')}{better}"
    yield "rules", ", ".join((row["rule"], *json.loads(row["facts"])))
    sources = json.loads(row["sources"])
    for name in (*TEXTS, *NUMBERS, *CLAIMS):
        if row[name] is not None:
            yield name, f"{row[name]} (a claim: {sources[name]})" if name in sources else row[name]
    if row["phase"]:
        yield "phase", f"{row['phase']} ({row['reason']})" if row["reason"] else row["phase"]
    yield from ((name, instant(row[f"{name}_us"], zone)) for name in _TIMES if row[f"{name}_us"] is not None)
