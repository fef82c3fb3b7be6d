"""One look as a table: each GPU, under it the partitions with their holders, and the processes. A dash is nobody."""

from collections.abc import Iterator, Mapping
from typing import Any

from gputally.accounting.keys import REPLICA, WHOLE_GPU
from gputally.agent.once.as_json import Json, Owners, as_json
from gputally.agent.once.look import Look

_HEADER = (
    *("GPU", "MODEL", "UTIL", "MEMORY", "POWER"),
    *("SOURCE", "PARTITION", "SHARE", "PID", "RESERVED", "WHO"),
)
_UNKNOWN = "unknown"
_STATES = {
    "free": "-",
    "remainder": "- (MIG remainder)",
    "claim-unused": "- (claim that no pod uses)",
    "unknown": _UNKNOWN,
}
Row = tuple[str, ...]


def as_table(look: Look, owners: Owners) -> str:
    """The look as a table."""
    rows: list[Row] = [_HEADER]
    for device in as_json(look, owners)["devices"]:
        rows += _rows(device)
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _rows(device: Json) -> Iterator[Row]:
    """The GPU on a row of its own, or together with its only partition."""
    front = _front(device)
    partitions = device["partitions"]
    if partitions is None:
        yield (*front, _UNKNOWN, "", "", "", _UNKNOWN)
    elif len(partitions) == 1 and partitions[0]["id"] == WHOLE_GPU:
        yield (*front, *_held(partitions[0]))
    else:
        yield (*front, "", "", "", "", "")
        for partition in partitions:
            yield _partition(partition)
    if device["processes"] is None:
        yield (*("",) * 10, "processes unknown")
    names = {partition["instance"]: partition["profile"] for partition in partitions or () if partition["instance"]}
    for process in device["processes"] or ():
        yield _process(process, names)


def _front(device: Json) -> Row:
    power = device["power_watts"]
    return (
        str(device["index"]),
        device["model"],
        _percent(device["utilization"]),
        _memory(device["memory_used_bytes"]),
        _UNKNOWN if power is None else f"{power:.0f} W",
        device["source"],
    )


def _partition(partition: Json) -> Row:
    """A replica's own figures are those of its processes, so it has none here."""
    if partition["source"] is None:
        return (*("",) * 6, *_held(partition))
    util, memory = _percent(partition["utilization"]), _memory(partition["memory_used_bytes"])
    return ("", "", util, memory, "", partition["source"], *_held(partition))


def _held(partition: Json) -> Row:
    share = partition["share"]
    who = ", ".join(_name(holder) for holder in partition["holders"]) or _STATES[partition["state"]]
    if partition["state"] == "two-holders":
        who += " (two holders)"
    held = "yes" if partition["holders"] else ""
    return (_what(partition), _UNKNOWN if share is None else f"{share:.3g}", "", held, who)


def _what(partition: Json) -> str:
    instance, profile, name = partition["instance"], partition["profile"], partition["id"]
    if not instance:
        return str(name)
    return f"{profile or instance} {REPLICA}" if name == REPLICA else str(profile or instance)


def _process(process: Json, profiles: Mapping[str, str | None]) -> Row:
    instance = process["instance"]
    return (
        "",
        "",
        _percent(process["utilization"]),
        _memory(process["memory_bytes"]),
        "",
        process["source"],
        (profiles.get(instance) or instance) if instance else "",
        "",
        str(process["pid"]),
        {True: "yes", False: "no", None: _UNKNOWN}[process["reserved"]],
        _runner(process),
    )


def _runner(process: Json) -> str:
    """Who runs it: a pod, a host's user and unit, or a pid that is gone and has left its memory."""
    if not process["exists"]:
        return "gone (its memory stays)" if process["memory_bytes"] else "gone"
    if process["pod"] is not None:
        return _name(process)
    if process["kind"] in ("none", "user"):
        unit = f" ({process['unit']})" if process["unit"] else ""
        return f"{process['user'] or _UNKNOWN}{unit}"
    return _UNKNOWN


def _percent(percent: int | None) -> str:
    return _UNKNOWN if percent is None else f"{percent} %"


def _memory(memory: int | None) -> str:
    return _UNKNOWN if memory is None else f"{memory / (1 << 20):.0f} MiB"


def _name(holder: Mapping[str, Any]) -> str:
    return "/".join(part for part in (holder["namespace"], holder["pod"], holder["container"]) if part)
