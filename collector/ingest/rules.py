"""What is wrong with a window, in words, whatever is in the ledger; `validity` says at once when nothing is."""

from collections.abc import Iterator
from datetime import tzinfo

from gputally.accounting.invariants import violations
from gputally.accounting.keys import Owner
from gputally.accounting.ledger_hour import hour_end, hour_start
from gputally.accounting.line import DeviceWindow, Window
from gputally.collector.ingest.admission import MAX_WINDOW_US, Received

MAX_DEVICES = 1_024  # of a node; the largest have 16, and MIG does not make more of them
MAX_LINES = 50_000  # of a window: 16 devices × 7 instances × hundreds of containers
MAX_DENOMINATORS = 64  # of the shares of one device: slices and replicas; to add thousands up would take minutes
MAX_TEXT_BYTES = 256  # a Kubernetes name has at most 253; the keys of names must fit PostgreSQL's index rows
MAX_AMOUNT = 10**14  # of one device, mJ or byte-seconds: 28 MWh, 1.6 TB for a minute; thousands still fit a total
# Times a window: the busy time of one owner's processes on one device. A driver says of each that it was busy at most
# all of the time, and where they are not told apart of all together; no GPU runs as many at once.
MAX_BUSY = 64
LATEST_US = 4_102_444_800_000_000  # the year 2100: past it a clock is not wrong but nonsense
MAX_INT = 2**63 - 1  # a column of the database


def fault(received: Received, window: Window, zone: tzinfo) -> str:
    """Why this window, which `received` carries, can never enter a ledger of this billing time zone; "": it can."""
    return (
        _misfit(received, window)
        or wrong_time(window.start_us, window.end_us, zone)
        or next((fault for device in window.devices for fault in _busier(device, window.end_us - window.start_us)), "")
        or "; ".join(violations(window))
    )


def wrong_time(start_us: int, end_us: int, zone: tzinfo) -> str:
    """Why no window can have this time; "" where one can."""
    length = end_us - start_us
    if not 0 <= start_us < end_us <= LATEST_US:
        return f"[{start_us}, {end_us}) us is not a stretch of time between 1970 and 2100"
    if length > MAX_WINDOW_US:
        return f"the window is {length} us long, the longest is {MAX_WINDOW_US} us"
    if hour_end(hour_start(start_us, zone), zone) < end_us:
        return f"the window crosses the end of a ledger hour of {zone}"
    return ""


def _misfit(received: Received, window: Window) -> str:
    """What a column cannot hold, so that no statement fails on it later; "" where all of it fits."""
    lines = sum(len(device.lines) for device in window.devices)
    edges = sum(len(device.start_holders) + len(device.end_holders) for device in window.devices)
    if len(window.devices) > MAX_DEVICES or max(lines, edges) > MAX_LINES:
        return f"{len(window.devices)} devices, {lines} lines and {edges} holders are more than a node has"
    holders = [held for device in window.devices for held in (*device.start_holders, *device.end_holders)]
    owners = {line.key.owner for device in window.devices for line in device.lines} | {held.owner for held in holders}
    texts = [window.cluster, window.node, received.agent_id, received.boot_id]
    texts += [device.uuid for device in window.devices] + [device.model for device in window.devices]
    texts += {line.key.partition for device in window.devices for line in device.lines}
    texts += {held.partition for held in holders}
    texts += {profile for device in window.devices for profile in device.profiles.values()}
    texts += [text for owner in owners for text in _texts(owner)]
    if not (window.cluster and window.node):
        return "the window does not name its cluster and node"
    for text in texts:
        if "\0" in text or len(text.encode()) > MAX_TEXT_BYTES:
            return f"{text[:32]!a}… is longer than {MAX_TEXT_BYTES} bytes, or holds a NUL"
    numbers = [received.sequence, window.skipped_us, window.waited_us, *(owner.first_seen_us for owner in owners)]
    numbers += [part for held in holders for part in held.share.as_integer_ratio()]
    if any(not 0 <= number <= MAX_INT for number in numbers):
        return "a number of the window's head is negative, or larger than 2^63 - 1"
    return next((fault for device in window.devices for fault in _large(device)), "")


def _texts(owner: Owner) -> tuple[str, ...]:
    return (owner.namespace, owner.pod, owner.container, owner.pod_uid, owner.user, owner.unit)


def _large(device: DeviceWindow) -> Iterator[str]:
    counters = (device.energy_start_mj or 0, device.energy_end_mj or 0, device.energy_breaks)
    if not 0 <= min(counters) <= max(counters) <= MAX_INT or device.energy_breaks >= 2**31:
        yield f"{device.uuid}: an energy counter is negative, or larger than 2^63 - 1"
    if max(device.ghost_memory_byte_s, device.idle_power_mw or 0) > MAX_AMOUNT:
        yield f"{device.uuid}: its memory or idle power is more than {MAX_AMOUNT} byte-seconds or mW"
    for edge in (device.start_holders, device.end_holders):
        if len({held.share.denominator for held in edge}) > MAX_DENOMINATORS:
            yield f"{device.uuid}: its shares have more than {MAX_DENOMINATORS} denominators"
    energy_mj = sum(line.energy_mj or 0 for line in device.lines)
    if max(energy_mj, sum(line.memory_byte_s or 0 for line in device.lines)) > MAX_AMOUNT:
        yield f"{device.uuid}: its lines hold more than {MAX_AMOUNT} mJ or byte-seconds"


def _busier(device: DeviceWindow, length_us: int) -> Iterator[str]:
    """What is more time than a window of this length has: memos stand outside the sum of the states."""
    for line in device.lines:
        who = f"{device.uuid}: a line of {line.key.owner.text}"
        if max(line.burst_us, line.intruder_us) > MAX_BUSY * length_us:
            yield f"{who} has a burst or an intruder's time of more than {MAX_BUSY} times the window's {length_us} us"
        if line.held_us > length_us:
            yield f"{who} has {line.held_us} us filled with the last value, of a window of {length_us} us"
