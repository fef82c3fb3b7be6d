"""The worked examples of docs/attribution.md are what the real code computes."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from gputally.accounting.keys import PLATFORM, REPLICA, WHOLE_GPU, Holding, Owner
from gputally.accounting.settlement import Amounts, Coverage, Settled, Stretch, settle
from gputally.accounting.split import largest_remainder
from gputally.accounting.states import OwnerKind, Reason, State
from gputally.accounting.stretch import InstanceStretch
from gputally.agent.attribution.process_track import ProcessTrack
from gputally.agent.held import Held
from gputally.agent.sample import GpuProcess, Process, ProcessKind, ProcessReading

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "attribution.md").read_text()
SECOND = 1_000_000  # microseconds
GIB = 1 << 30
Table = list[dict[str, str]]


def section(heading: str) -> str:
    """The text below a heading, up to the next heading of its level or above."""
    level = heading.split(" ")[0]
    below = PAGE.partition(f"\n{heading}\n")[2]
    return re.split(rf"^#{{1,{len(level)}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def tables(text: str) -> list[Table]:
    """Every table, a row a dict."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        found.append([dict(zip(rows[0], row, strict=True)) for row in rows[2:]])
    return found


def table(heading: str) -> Table:
    """The first table below a heading."""
    return tables(section(f"## {heading}"))[0]


def amount(row: dict[str, str], column: str) -> Fraction:
    """A number of a cell; 0 where the cell is empty or there is no such column."""
    return Fraction(row.get(column) or "0")


def us(row: dict[str, str], column: str) -> Fraction:
    return amount(row, column) * SECOND


# The whole GPU.

OWNERS = {
    "user-1000": Owner(OwnerKind.HOST, user="user-1000"),
    "platform": PLATFORM,
    "train-0": Owner(OwnerKind.POD, namespace="research", pod="train-0", container="main", pod_uid="1"),
}
IDLE_POWER_MW = 70_000


def stretch(row: dict[str, str]) -> Stretch:
    """A row of "What the agent saw" as settlement takes it."""
    guest = us(row, "user-1000 busy")
    return Stretch(
        duration_us=int(row["seconds"]) * SECOND,
        holdings=(Holding(OWNERS[row["holder"]]),) if row["holder"] != "nobody" else (),
        coverage=coverage(row),
        busy_us=us(row, "device busy"),
        process_busy_us={OWNERS["user-1000"]: guest} if guest else {},
        energy_mj=amount(row, "energy mJ"),
        idle_power_mw=IDLE_POWER_MW,
    )


def coverage(row: dict[str, str]) -> Coverage:
    said = row.get("coverage", "measured")
    return Coverage.MEASURED if said == "measured" else Coverage(Reason(said))


def printed(settled: Settled) -> dict[tuple[str, str, str], list[Fraction]]:
    """Lines in the columns of "The lines of the window": seconds, then millijoules."""
    names = {owner: name for name, owner in OWNERS.items()}
    states = (State.USED, State.IDLE, State.UNALLOCATED, State.UNOBSERVED)
    return {
        (names[key.owner], key.basis.value, key.reason.value): [
            *(amounts.states.get(state, Fraction(0)) / SECOND for state in states),
            amounts.energy_idle_mj,
            amounts.energy_dynamic_mj,
        ]
        for key, amounts in settled.items()
    }


def test_the_minute_of_one_gpu() -> None:
    settled: Settled = {}
    for row in table("What the agent saw"):
        settled |= settle(stretch(row))  # no two stretches of the example have a line in common
    columns = ("used s", "idle s", "unallocated s", "unobserved s", "idle mJ", "dynamic mJ")
    written = {
        (row["owner"], row["basis"], row["reason"]): [amount(row, column) for column in columns]
        for row in table("The lines of the window")
    }
    assert written == printed(settled)


# Shared GPUs: the parts, who was there, the lines.

SHARED = re.findall(r"^### .+$", section("## Shared GPUs"), re.MULTILINE)
HOST = "user-1000"
COLUMNS = {f"{state} s": state for state in State}


def who(name: str) -> Owner:
    """An owner by its name in a table: a login, a pod's container, or a pod as a whole (`solver/`)."""
    if name == "platform":
        return PLATFORM
    if name == HOST:
        return Owner(OwnerKind.HOST, user=HOST)
    pod, slash, container = name.partition("/")
    return Owner(OwnerKind.POD, "ml", pod, container if slash else "main", f"uid-{pod}")


def owner_of(row: dict[str, str]) -> Owner:
    """Who a row is about: of a claim, the pod."""
    return who(f"{row['who']}/" if row.get("containers") else row["who"])


def holding(row: dict[str, str]) -> Holding:
    share = amount(row, "holds")
    containers = tuple(who(f"{row['who']}/{name.strip()}") for name in row.get("containers", "").split(",") if name)
    return Holding(owner_of(row), WHOLE_GPU if share == 1 else REPLICA, share, containers)


def facts(part: dict[str, str], present: Iterable[dict[str, str]]) -> Stretch:
    """One part, and who was on it, as settlement takes it."""
    rows = [row for row in present if row["on"] == part["part"]]
    runs = frozenset(owner_of(row) for row in rows if row.get("runs") == "yes")
    return Stretch(
        duration_us=int(part["seconds"]) * SECOND,
        holdings=tuple(holding(row) for row in rows if row["holds"]),
        coverage=coverage(part),
        busy_us=us(part, "busy s"),
        process_busy_us={owner_of(row): us(row, "busy s") for row in rows if row.get("busy s")},
        clients=runs if any("runs" in row for row in rows) else None,
        energy_mj=amount(part, "energy mJ"),
        idle_power_mw=int(amount(part, "idle power W") * 1000),
    )


def shared(parts: Sequence[dict[str, str]], present: Table) -> Stretch:
    """All parts: the first is the GPU, the others its instances."""
    gpu, *instances = parts
    inside = (InstanceStretch(one["part"], Fraction(one["share"]), facts(one, present)) for one in instances)
    return replace(facts(gpu, present), instances=tuple(inside))


def columns_of(amounts: Amounts) -> dict[str, Fraction]:
    """What is not 0 of a line, by the names of the columns."""
    named = {column: amounts.states.get(state, Fraction(0)) / SECOND for column, state in COLUMNS.items()}
    named |= {"burst s": amounts.burst_us / SECOND, "intruder s": amounts.intruder_us / SECOND}
    named |= {"idle mJ": amounts.energy_idle_mj, "dynamic mJ": amounts.energy_dynamic_mj}
    return {column: value for column, value in named.items() if value}


@pytest.mark.parametrize("heading", SHARED)
def test_a_shared_gpu(heading: str) -> None:
    """No line is missing, none is too many, and no column that is not 0 is left out."""
    parts, present, lines = tables(section(heading))
    keys = ("owner", "partition", "basis", "reason")
    written = {
        (who(row["owner"]), *(row[key] for key in keys[1:])): {
            column: Fraction(cell) for column, cell in row.items() if column not in keys and Fraction(cell)
        }
        for row in lines
    }
    settled = settle(shared(parts, present))
    computed = {(k.owner, k.partition, k.basis.value, k.reason.value): columns_of(a) for k, a in settled.items()}
    assert written == {key: columns for key, columns in computed.items() if columns}


# Memory, and rounding.


def test_memory_of_processes_that_are_gone() -> None:
    listed, stands = tables(section("## Memory of processes that are gone"))
    train = Holding(who("train"))
    processes = tuple(
        GpuProcess(
            int(row["process"]),
            ProcessKind.COMPUTE,
            int(row["memory GiB"]) * GIB,
            process=Process(int(row["process"]), 1, None) if row["exists"] == "yes" else None,
        )
        for row in listed
    )
    reading = ProcessReading(processes, ())
    track = ProcessTrack(0, lambda process, _: (train.owner,) if process.process else (), Held((train,)), reading)
    (interval,) = track.extend(60 * SECOND, None, reading, Held((train,)))
    memory = {owner: (held or 0) * 60 * SECOND for owner, held in (interval.tally("").memory or {}).items()}
    (line,) = settle(Stretch(60 * SECOND, (train,), memory_byte_us=memory)).values()
    computed = [line.memory_byte_us, interval.ghost_bytes * 60 * SECOND]
    assert computed == [int(row["GiB seconds"]) * GIB * SECOND for row in stands]


def test_the_rounding() -> None:
    busy = Fraction(166_667 * 77, 100)
    assert largest_remainder(166_667, [busy, 166_667 - busy]) == [128_334, 38_333]
    assert "128,334 used, 38,333" in PAGE
