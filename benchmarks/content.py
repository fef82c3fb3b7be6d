"""Windows as a busy node sends them: eight GPUs, each time-sliced between two pods, 16 lines with all that is measured.

The numbers have as many digits as real ones, and the same seed makes the same windows.
"""

from collections.abc import Iterator
from fractions import Fraction
from random import Random
from uuid import UUID

from gputally.accounting.invariants import violations
from gputally.accounting.keys import REPLICA, Holding, LineKey, Owner
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.states import Basis, OwnerKind, Source
from gputally.agent.stream import batch_message
from gputally.proto import codec

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
GPUS, HOLDERS = 8, 2
LINES = GPUS * HOLDERS
NAMESPACES = 40
_MODEL = "NVIDIA H100 80GB HBM3"
_ENERGY_MJ = 48_000_000_000  # the counter of a GPU that was there for some years


def node_windows(number: int, start_us: int, minutes: int) -> Iterator[Window]:
    """The windows of a node, minute by minute."""
    dice = Random(f"{number} {start_us}")
    for minute in range(minutes):
        begins_us = start_us + minute * MINUTE_US
        devices = tuple(_device(number, gpu, minute, dice) for gpu in range(GPUS))
        window = Window("bench", f"gpu-node-{number:05d}", begins_us, begins_us + MINUTE_US, devices)
        assert not violations(window)
        yield window


def _device(node: int, gpu: int, minute: int, dice: Random) -> DeviceWindow:
    owners = [_owner(node, gpu, place) for place in range(HOLDERS)]
    lines = tuple(_line(owner, dice) for owner in owners)
    held = tuple(Holding(owner, REPLICA, Fraction(1, HOLDERS)) for owner in owners)
    starts_mj = _ENERGY_MJ + minute * 40_000_000
    used_mj = sum(line.energy_mj or 0 for line in lines)
    uuid = f"GPU-{UUID(int=Random(f'{node}/{gpu}').getrandbits(128))}"
    edges = {"start_holders": held, "end_holders": held, "idle_power_mw": 71_230}
    return DeviceWindow(uuid, _MODEL, MINUTE_US, lines, starts_mj, starts_mj + used_mj, **edges)  # type: ignore[arg-type]


def _owner(node: int, gpu: int, place: int) -> Owner:
    dice = Random(f"{node}/{gpu}/{place}")
    namespace = f"team-research-{(node * LINES + gpu * HOLDERS + place) % NAMESPACES}"
    name = f"train-{dice.getrandbits(40):010x}-{dice.getrandbits(20):05x}"
    return Owner(OwnerKind.POD, namespace, name, "main", str(UUID(int=dice.getrandbits(128))))


def _line(owner: Owner, dice: Random) -> Line:
    share_us = MINUTE_US // HOLDERS
    used_us = dice.randrange(share_us)
    return Line(
        LineKey(REPLICA, owner, Basis.RESERVATION),
        Source.PROCESS_SAMPLES,
        used_us,
        share_us - used_us,
        energy_idle_mj=71_230 * 30 + dice.randrange(100),
        energy_dynamic_mj=dice.randrange(18_000_000),
        memory_byte_s=dice.randrange(60 * 40 << 30),
    )


def messages(number: int, start_us: int, minutes: int, first_sequence: int = 1) -> list[bytes]:
    """The same windows as the spool keeps them; `first_sequence` is the first one's number."""
    windows = node_windows(number, start_us, minutes)
    return [codec.encode(window, f"agent-{number}", "boot", at) for at, window in enumerate(windows, first_sequence)]


def batches(messages: list[bytes], windows: int) -> list[bytes]:
    """The windows in batches of so many, without the time at which they are sent: see `sent_at`."""
    return [batch_message(0, messages[at : at + windows]) for at in range(0, len(messages), windows)]


def sent_at(batch: bytes, us: int) -> bytes:
    """A batch that says when it was sent: a field that comes again counts."""
    return batch + batch_message(us, ())
