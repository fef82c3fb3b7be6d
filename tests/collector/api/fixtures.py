"""A real application over a database that holds a known fleet, asked without a socket."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast
from zoneinfo import ZoneInfo

import httpx
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.datastructures import State
from tests.windows import MINUTE_US, START_US, all_received, device, pod, reserved, unallocated, window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import Window
from gputally.collector.api.app import make_app
from gputally.collector.api.desk import Desk
from gputally.collector.api.service import Service
from gputally.collector.auth.errors import Unauthenticated
from gputally.collector.auth.reader import Anybody, Reader, Readers, Role
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer

UTC = ZoneInfo("UTC")
NOW_US = START_US + 2 * HOUR_US - MINUTE_US  # in the second hour of 1 July 2026
DAY = "2026-07-01T00:00:00Z,2026-07-02T00:00:00Z"

CARD = b"""\
version: 1
currency: EUR
prices:
  - match: {model: NVIDIA H100 80GB HBM3}
    valid_from: 2026-01-01
    per_gpu_hour: 3.60
  - match: {model: NVIDIA H100 80GB HBM3, namespace: vision}
    valid_from: 2026-01-01
    per_gpu_hour: 1.80
energy:
  - valid_from: 2026-01-01
    per_kwh: 0.30
    pue: 1.5
"""
TEAMS = b"""\
version: 1
namespaces:
  - {namespace: search, team: engines, valid_from: 2026-01-01}
  - {namespace: vision, team: eyes, valid_from: 2026-01-01}
"""
BUDGETS = b"""\
version: 1
budgets:
  - {namespace: search, from: 2026-07, gpu_hours: 100, amount: 7}
  - {team: eyes, from: 2026-07, amount: 1000}
"""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Readers by their token; a fake door."""

    readers: Mapping[str, Reader] = field(default_factory=dict)

    async def authenticate(self, authorization: str | None) -> Reader:
        found = self.readers.get((authorization or "").removeprefix("Bearer "))
        if found is None:
            raise Unauthenticated("send a token: Authorization: Bearer TOKEN")
        return found


TOKENS = Tokens(
    {
        "all": Reader("boss", Role.VIEWER, None),
        "search": Reader("ann", Role.VIEWER, frozenset({"search"})),
        "none": Reader("ben", Role.VIEWER, frozenset()),
    }
)


def fleet() -> list[Window]:
    """Two hours of two nodes: search uses 45 s of each minute it holds, vision holds and idles, one GPU is free."""
    half = MINUTE_US // 2
    windows = []
    for at in range(120):
        start_us = START_US + at * MINUTE_US
        held = device(reserved(pod("search"), 45_000_000, 15_000_000, energy_mj=9_000), uuid="GPU-0")
        idle = device(reserved(pod("vision", "serve-1"), 0, half), unallocated(half), uuid="GPU-1")
        windows.append(window(held, idle, node="node-a", start_us=start_us))
        windows.append(window(device(unallocated(MINUTE_US), uuid="GPU-2"), node="node-b", start_us=start_us))
    return windows


def book(engine: Engine, windows: list[Window], zone: ZoneInfo = UTC) -> None:
    """Commit windows; their hours are left to be settled."""
    Committer(engine, zone, max_age_us=None).commit(all_received(windows), now_us=NOW_US)


def fill(engine: Engine) -> None:
    """The fleet, its rate card and its teams."""
    book(engine, fleet())
    apply_file(engine, Kind.RATES, CARD, "ann@laptop", NOW_US)
    apply_file(engine, Kind.TEAMS, TEAMS, "ann@laptop", NOW_US)
    apply_file(engine, Kind.BUDGETS, BUDGETS, "ann@laptop", NOW_US)


@contextmanager
def application(engine: Engine, readers: Readers | None = None, **changes: Any) -> Iterator[FastAPI]:
    """The application over a database."""
    values: dict[str, Any] = {
        "engine": engine,
        "zone": UTC,
        "readers": readers or Anybody(),
        "desk": Desk(),
        "now_us": lambda: NOW_US,
        **changes,
    }
    try:
        yield over(Service(**values))
    finally:
        values["desk"].close()


def over(service: Service) -> FastAPI:
    """The application over a service: its own, with the addresses and the document of all others of this process."""
    app = copy(_built())
    app.state = State({"service": service})
    return app


@cache
def _built() -> FastAPI:
    """The application without a service; to build it takes four times as long as to fill a ledger."""
    return make_app(cast("Service", None))


def get(app: FastAPI, path: str, token: str = "", **parameters: str) -> httpx.Response:
    """Ask for a path."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, params=parameters or None, headers=headers)

    return asyncio.run(ask())
