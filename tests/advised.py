"""Two weeks of postings of a small fleet that has something of each kind to be advised about, as settling leaves them.

Windows of two weeks would be twenty thousand of each node, so what is derived of them is written by itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, insert
from tests.watched_pods import learn
from tests.windows import MODEL, START_US, all_received, device, pod, reserved, window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.database import schema
from gputally.collector.database.engine import writing
from gputally.collector.database.schema_waste import memory_peak, tenure
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer

UTC = ZoneInfo("UTC")
DAY_US = 24 * HOUR_US
NOW_US = START_US + 19 * DAY_US + 10 * HOUR_US  # Monday, 20 July 2026, 10:00: a ledger hour has just begun
GIB = 1 << 30

CARD = b"""\
version: 1
currency: EUR
prices:
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: 2026-01-01, per_gpu_hour: 3.60}
"""
TEAMS = b"""\
version: 1
namespaces:
  - {namespace: search, team: engines, valid_from: 2026-01-01}
"""


class Hour(NamedTuple):
    """What a pod did on a GPU in an hour; `memory` None: unknown."""

    used_us: int
    idle_us: int
    unobserved_us: int = 0
    memory: int | None = GIB


IDLE = Hour(0, HOUR_US)
BUSY = Hour(HOUR_US * 9 // 10, HOUR_US // 10)
LIGHT = Hour(HOUR_US // 20, HOUR_US * 19 // 20)


@dataclass(slots=True)
class Ledger:
    """Writes what settling would; ids are counted."""

    connection: Connection
    ids: dict[tuple[object, ...], int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)  # microseconds of the last week, by namespace

    def book(
        self,
        name: str,
        days: int,
        hour: Callable[[int], Hour | None],
        *,
        namespace: str = "search",
        gpu: int = 0,
        model: str = MODEL,
    ) -> None:
        """A pod's hours on a GPU of its own over the days up to now; `hour` says what each was, by when it began."""
        owner = self._owner(namespace, name)
        node = self._id(schema.node, cluster="east", name=f"node-of-{name}")
        on = self._id(schema.device, uuid=f"GPU-{name}-{gpu}", model=model)
        place = {"node_id": node, "device_id": on, "owner_id": owner, "partition": "gpu"}
        found = [(us, one) for us in range(NOW_US - days * DAY_US, NOW_US, HOUR_US) if (one := hour(us)) is not None]
        self.connection.execute(insert(schema.posting), [_posting(place, us, one) for us, one in found])
        week = [sum(one[:3]) for us, one in found if us >= NOW_US - 7 * DAY_US]
        self.held[namespace] = self.held.get(namespace, 0) + sum(week)
        used = [us for us, one in found if one.used_us]
        span = {"held_from_us": found[0][0], "held_until_us": found[-1][0] + HOUR_US}
        span |= {"used_from_us": min(used, default=None), "used_until_us": max(used, default=None)}
        self.connection.execute(insert(tenure).values(**place, **span))
        self.connection.execute(insert(memory_peak), list(_peaks(place, found)))

    def _owner(self, namespace: str, name: str) -> int:
        known = {"kind": "pod", "container": "main", "first_seen_us": 0, "user": "", "unit": ""}
        return self._id(schema.owner, namespace=namespace, pod=name, pod_uid=f"uid-of-{name}", **known)

    def _id(self, table: schema.Table, **values: object) -> int:
        key = (table.name, *values.values())
        if key not in self.ids:
            made = self.connection.execute(insert(table).values(**values)).inserted_primary_key
            assert made is not None
            self.ids[key] = made[0]
        return self.ids[key]


def _posting(place: dict[str, object], us: int, hour: Hour) -> dict[str, object]:
    memory = None if hour.memory is None else hour.memory * 3600
    times = {"used_us": hour.used_us, "idle_us": hour.idle_us, "unobserved_us": hour.unobserved_us}
    known = {"unallocated_us": 0, "unavailable_us": 0, "memory_byte_s": memory, "profile": ""}
    names = {"basis": "reservation", "reason": "", "source": "device-samples"}
    return {**place, "hour_us": us, **times, **known, **names}


def _peaks(place: dict[str, object], found: list[tuple[int, Hour]]) -> Iterator[dict[str, object]]:
    days: dict[int, int] = {}
    for us, hour in found:
        if hour.memory is not None:
            days[us - us % DAY_US] = max(days.get(us - us % DAY_US, 0), hour.memory)
    return ({**place, "day_us": day, "bytes": peak} for day, peak in days.items())


def office_hours(us: int) -> Hour:
    """Busy on weekdays from 8 to 20, else idle."""
    local = us // HOUR_US % 24
    weekday = (us // DAY_US + 3) % 7  # 1 January 1970 was a Thursday
    return BUSY if weekday < 5 and 8 <= local < 20 else IDLE


def fill(engine: Engine) -> None:
    """A pod with a GPU to spare, a notebook, a light service, a service for office hours, and honest work."""
    with writing(engine) as connection:
        ledger = Ledger(connection)
        for gpu in range(8):
            ledger.book("wide", 3, lambda _, gpu=gpu: BUSY if gpu == 0 else IDLE, gpu=gpu)
        ledger.book("anns-0", 5, lambda us: LIGHT if us < NOW_US - 4 * DAY_US else IDLE)
        ledger.book("tiny-1", 6, lambda _: LIGHT, namespace="vision", model="NVIDIA A100-SXM4-80GB")
        ledger.book("serve-1", 16, office_hours, namespace="vision")
        ledger.book("train-0", 7, lambda _: BUSY)
    learn(engine, "anns-0", "Notebook.kubeflow/anns")
    _learn(engine)
    apply_file(engine, Kind.RATES, CARD, "ann@laptop", NOW_US)
    apply_file(engine, Kind.TEAMS, TEAMS, "ann@laptop", NOW_US)
    last = window(
        device(reserved(pod("search", "anns-0"), 0, 60_000_000, memory_byte_s=GIB * 60), uuid="GPU-anns-0-0"),
        node="node-of-anns-0",
        start_us=NOW_US,
    )
    Committer(engine, UTC, max_age_us=None).commit(all_received([last]), now_us=NOW_US + 60_000_000)


def _learn(engine: Engine) -> None:
    for name, label in (("serve-1", "InferenceService.kserve/chat"), ("tiny-1", "Deployment/tiny")):
        learn(engine, name, label, namespace="vision")
