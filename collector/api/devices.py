"""GET /api/v1/devices: the GPUs that had any time in a window, where they stood, and what their nodes were."""

from collections import defaultdict
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection

from gputally.collector.allocation.allocation import Allocation
from gputally.collector.allocation.amounts import Amounts, summed
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.query import Query as Question
from gputally.collector.api import figures, models
from gputally.collector.api.parameters import Format, LedgerParameters, ledger_query
from gputally.collector.api.problems import responses
from gputally.collector.api.service import Service, TheReader, TheService, scope_of
from gputally.collector.api.table import MEDIA_TYPE, as_csv
from gputally.collector.cluster.labels import LabelHistory, read_nodes

router = APIRouter()

_BY = (By.CLUSTER, By.NODE, By.DEVICE, By.MODEL)


@router.get(
    "/devices",
    response_model=models.DevicesAnswer,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}, **responses(401, 403, 422, 503, 504)},
    summary="The GPUs of a window",
)
async def devices(
    given: Annotated[LedgerParameters, Query()], service: TheService, reader: TheReader
) -> models.DevicesAnswer | Response:
    """Each GPU by its UUID, on each node where it was, with its time by state and its node's labels."""
    query = ledger_query(given, service.zone, service.now_us(), scope_of(reader), by=_BY)
    found, status = await service.allocation(query)
    labels = await _labels(service, query)
    rows = _rows(found, labels)
    about = figures.about(found, status, len(rows))
    page = rows[given.offset : given.offset + given.limit]
    if given.format is Format.CSV:
        return as_csv(models.DeviceRow, page, (), about)
    return models.DevicesAnswer(**about, rows=page)


async def _labels(service: Service, query: Question) -> LabelHistory | None:
    """The nodes' labels; how the fleet is built is for those who may see all of it."""
    if not query.scope.whole:
        return None

    def read(connection: Connection) -> LabelHistory:
        return read_nodes(connection, service.zone, query.as_of_us)

    return await service.read(read)


def _rows(found: Allocation, labels: LabelHistory | None) -> list[models.DeviceRow]:
    groups: dict[tuple[str, ...], list[Amounts]] = defaultdict(list)
    for row in found.rows:
        groups[row.keys].append(row.amounts)
    at_us = found.query.period.end_us - 1
    return [_row(keys, summed(groups[keys]), labels, at_us) for keys in sorted(groups)]


def _row(keys: tuple[str, ...], amounts: Amounts, labels: LabelHistory | None, at_us: int) -> models.DeviceRow:
    cluster, node, uuid, model = keys
    known = labels.at(cluster, node, at_us) if labels else None
    return models.DeviceRow(
        cluster=cluster,
        node=node,
        uuid=uuid,
        model=model,
        node_labels=dict(known.labels) if known else None,
        capacity_us=amounts.capacity_us,
        used_us=amounts.used_us,
        idle_us=amounts.idle_us,
        unallocated_us=amounts.unallocated_us,
        unavailable_us=amounts.unavailable_us,
        unobserved_us=amounts.unobserved_us,
        coverage=amounts.coverage,
    )
