"""A fleet that tells the story of the pages: one team busy, one idle with eight GPUs, one sharing; some unpriced."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import FastAPI
from sqlalchemy import Engine, insert, select
from tests.collector.api.fixtures import Tokens, get
from tests.watched_pods import learn
from tests.windows import all_received, device, pod, reserved, unallocated, window

from gputally.accounting.division import platform_key
from gputally.accounting.keys import WHOLE_GPU, Holding, LineKey, Owner
from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.states import Basis, OwnerKind, Reason, Source
from gputally.collector.api.app import make_app
from gputally.collector.api.desk import Desk
from gputally.collector.api.service import Service
from gputally.collector.auth.reader import Anybody, Reader, Readers, Role
from gputally.collector.database.engine import writing
from gputally.collector.database.schema import owner, posting
from gputally.collector.days.sums import sum_days
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.statement.register import status_of
from gputally.collector.web.routes import page_routes

UTC = ZoneInfo("UTC")
MINUTE_US = 60_000_000
DAY_US = 24 * HOUR_US
MONTH_US = 1_793_491_200_000_000  # 2026-11-01T00:00:00Z
NOW_US = MONTH_US + 17 * DAY_US + 14 * HOUR_US + 23 * MINUTE_US + 10_000_000
FIRST_US = MONTH_US + 17 * DAY_US + 9 * HOUR_US  # of the windows; what was before is in the ledger only
IDLE_SINCE_US = FIRST_US + 37 * MINUTE_US  # the eight GPUs of research
BUSY_TO_US = NOW_US // MINUTE_US * MINUTE_US - 47 * MINUTE_US  # the notebook of speech
SILENT_US = NOW_US // MINUTE_US * MINUTE_US - 40 * MINUTE_US
MIG_A, MIG_B = (f"MIG-{letter}1c7a02b-3d4e-5f8a-9c61-0e2f7d8a4b10" for letter in "ab")
A100 = "NVIDIA A100-SXM4-80GB"
L40S = "NVIDIA L40S"

CARD = b"""\
version: 1
currency: EUR
prices:
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: 2026-01-01, per_gpu_hour: 3.60}
  - {match: {model: NVIDIA A100-SXM4-80GB}, valid_from: 2026-01-01, per_gpu_hour: 1.90}
energy:
  - {valid_from: 2026-01-01, per_kwh: 0.30, pue: 1.3}
"""
TEAMS = b"""\
version: 1
namespaces:
  - {namespace: training, team: vision, valid_from: 2026-01-01}
  - {namespace: research, team: language, valid_from: 2026-01-01}
  - {namespace: speech, team: language, valid_from: 2026-01-01}
  - {namespace: inference, team: serving, valid_from: 2026-01-01}
  - {namespace: playground, team: serving, valid_from: 2026-01-01}
"""
BUDGETS = b"""\
version: 1
budgets:
  - {team: vision, gpu_hours: 3000, from: 2026-01}
  - {team: language, amount: 15000, from: 2026-01, note: until the paper is out}
  - {team: serving, gpu_hours: 1000, from: 2026-01}
  - {namespace: research, gpu_hours: 5000, from: 2026-01}
"""
# Whose work the pods are; of the others nothing is known.
WORK: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "resnet-run-0": ("training", "PyTorchJob.kubeflow/resnet", {"role": "worker", "rank": 0}),
    "pretrain-llm-0": ("research", "JobSet/pretrain-llm", {"rank": 0, "replica": 0, "attempt": 2}),
    "chat-7c9d8b6f5-x2k4q": ("inference", "InferenceService.kserve/chat", {"role": "predictor"}),
    "notebook-0": ("speech", "Notebook.kubeflow/ada", {}),
}
READERS = Tokens(
    {
        "all": Reader("ann", Role.VIEWER, None),
        "research": Reader("ben", Role.VIEWER, frozenset({"research"})),
        "elsewhere": Reader("cem", Role.VIEWER, frozenset({"research"}), frozenset({"west"})),
        "nothing": Reader("dee", Role.VIEWER, frozenset()),
    }
)


def fill(engine: Engine) -> None:
    """The month so far, priced and with teams: windows of today since nine, and postings of all hours before."""
    Committer(engine, UTC, max_age_us=None).commit(all_received(fleet()), now_us=NOW_US)
    apply_file(engine, Kind.RATES, CARD, "ann@laptop", MONTH_US)
    apply_file(engine, Kind.TEAMS, TEAMS, "ann@laptop", MONTH_US)
    apply_file(engine, Kind.BUDGETS, BUDGETS, "ann@laptop", MONTH_US)
    for name, (namespace, label, fields) in WORK.items():
        learn(engine, name, label, namespace=namespace, **fields)
    settle(engine, UTC)
    with writing(engine) as connection:
        pods = {row.id: row.pod for row in connection.execute(select(owner))}
        pattern = connection.execute(select(posting).where(posting.c.hour_us == FIRST_US + HOUR_US)).mappings().all()
        hours = range(MONTH_US, FIRST_US, HOUR_US)
        rows = [_before(row, pods, hour_us) for hour_us in hours for row in pattern]
        connection.execute(insert(posting), rows)
        sum_days(connection, UTC, {(row["hour_us"], row["node_id"]) for row in rows})


def fleet() -> list[Window]:
    """Minutes of four nodes; `gpu-4` fell silent forty minutes ago."""
    windows = []
    for start_us in range(FIRST_US, NOW_US - MINUTE_US, MINUTE_US):
        for name, devices in _nodes(start_us, MINUTE_US).items():
            if name != "gpu-4" or start_us < SILENT_US:
                windows.append(window(*devices, node=name, start_us=start_us))
    return windows


def _before(row: Mapping[str, Any], pods: Mapping[int, str], hour_us: int) -> dict[str, Any]:
    """A posting of an earlier hour: the same holders, with what they used then."""
    held_us = row["used_us"] + row["idle_us"]
    used_us = held_us * load(pods[row["owner_id"]], hour_us) // 100 if pods[row["owner_id"]] else row["used_us"]
    return {**row, "hour_us": hour_us, "used_us": used_us, "idle_us": held_us - used_us}


def load(name: str, at_us: int) -> int:
    """How much of what a pod holds it uses at an instant, in percent."""
    hour, day = at_us % DAY_US // HOUR_US, at_us // DAY_US % 7  # the epoch began on a Thursday: 2 and 3 are weekends
    if name.startswith("chat"):
        return (25 if day in (2, 3) else 72) if 8 <= hour < 19 else 11
    if name.startswith("pretrain"):
        return 0 if at_us >= IDLE_SINCE_US else 30 if at_us // DAY_US % 5 == 0 else 88
    if name.startswith("notebook"):
        return 35 if 9 <= hour < 17 and at_us < BUSY_TO_US else 0
    return {"resnet-run-0": 96, "embed-0": 61, "demo-1": 0}.get(name, 0)


def _nodes(at_us: int, us: int) -> dict[str, Sequence[DeviceWindow]]:
    return {"gpu-1": _busy(at_us, us), "gpu-2": _eight(at_us, us), "gpu-3": _shared(us), "gpu-4": _rest(at_us, us)}


def _busy(at_us: int, us: int) -> list[DeviceWindow]:
    """Four H100 that train by day and night, two that a service uses by day."""
    train = pod("training", "resnet-run-0", "trainer")
    serve = pod("inference", "chat-7c9d8b6f5-x2k4q", "server")
    devices = [device(_measured(train, at_us, us, 71, 620), uuid=uuid(1, at)) for at in range(4)]
    devices += [device(_measured(serve, at_us, us, 44, 380), uuid=uuid(1, at)) for at in (4, 5)]
    return [*devices, *(device(unallocated(us), uuid=uuid(1, at)) for at in (6, 7))]


def _eight(at_us: int, us: int) -> list[DeviceWindow]:
    """Eight H100 of which nothing has been used for a while."""
    holder = pod("research", "pretrain-llm-0", "trainer")
    return [device(_measured(holder, at_us, us, 62, 130), uuid=uuid(2, at)) for at in range(8)]


def _shared(us: int) -> list[DeviceWindow]:
    """An A100 in MIG instances, one shared in time, and one that a process uses without asking."""
    chat, play = pod("inference", "embed-0", "server"), pod("playground", "demo-1", "app")
    third, half = us * 3 // 7, us // 2
    mig = DeviceWindow(
        uuid(3, 0),
        A100,
        us,
        (
            Line(LineKey(MIG_A, chat, Basis.RESERVATION), Source.GPM, third * 6 // 10, third - third * 6 // 10),
            Line(LineKey(MIG_B, play, Basis.RESERVATION), Source.GPM, 0, third),
            Line(platform_key(Reason.MIG_REMAINDER), Source.NONE, unallocated_us=us - 2 * third),
        ),
        energy_breaks=1,
        profiles={MIG_A: "3g.40gb", MIG_B: "3g.40gb"},
        end_holders=(Holding(chat, MIG_A, Fraction(3, 7)), Holding(play, MIG_B, Fraction(3, 7))),
    )
    replicas = device(
        Line(LineKey("replica", chat, Basis.RESERVATION), Source.PROCESS_SAMPLES, half * 4 // 5, half - half * 4 // 5),
        Line(LineKey("replica", play, Basis.RESERVATION), Source.PROCESS_SAMPLES, half // 10, half - half // 10),
        unallocated(us - 2 * half),
        uuid=uuid(3, 1),
        model=A100,
    )
    root = Owner(OwnerKind.HOST, user="user-1000", unit="session-4.scope")
    stray = Line(LineKey(WHOLE_GPU, root, Basis.PROCESS), Source.PROCESS_SAMPLES, us // 3)
    return [mig, replicas, device(stray, unallocated(us - us // 3), uuid=uuid(3, 2), model=A100)]


def _rest(at_us: int, us: int) -> list[DeviceWindow]:
    """A notebook on an L40S, which has no price, and one that cannot be measured; the node fell silent."""
    note, batch = pod("speech", "notebook-0", "jupyter"), pod("sandbox", "trial-5", "main")
    used = us * load(note.pod, at_us) // 100
    blind = Line(LineKey(WHOLE_GPU, batch, Basis.RESERVATION, Reason.NO_UTILISATION), Source.NONE, unobserved_us=us)
    return [
        device(reserved(note, used, us - used), uuid=uuid(4, 0), model=L40S),
        device(blind, uuid=uuid(4, 1), model=L40S),
    ]


def _measured(holder: Owner, at_us: int, us: int, gib: int, watts: int) -> Line:
    used = us * load(holder.pod, at_us) // 100
    memory = (gib << 30) * us // 1_000_000
    return reserved(holder, used, us - used, energy_mj=us * watts // 1000, memory_byte_s=memory)


def uuid(node: int, at: int) -> str:
    """A UUID of the length that real ones have."""
    return f"GPU-{node}{at}b1c7a0-3d4e-4f8a-9c61-0e2f7d8a4b{node}{at}"


@contextmanager
def pages(engine: Engine, readers: Readers | None = None, **changes: Any) -> Iterator[FastAPI]:
    """The application with its pages."""
    values: dict[str, Any] = {
        "engine": engine,
        "zone": UTC,
        "readers": readers or Anybody(),
        "desk": Desk(),
        "now_us": lambda: NOW_US,
        "status_of": status_of,
        **changes,
    }
    service = Service(**values)
    try:
        yield make_app(service, status=page_routes(service))
    finally:
        service.desk.close()


def text(app: FastAPI, path: str, token: str = "", **parameters: str) -> str:
    """A page that must be there."""
    found = get(app, path, token, **parameters)
    assert found.status_code == 200, found.text
    return found.text
