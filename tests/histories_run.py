"""Random histories of a node through the real meter, and what must be true of the books of each of them.

`python -m tests.histories_run 10000` plays that many. One that fails is named, and plays again with `1 --seed N`.
"""

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from multiprocessing import Pool

from tests.histories_gpu import Gpu
from tests.histories_node import LIST_STEPS, Node

from gputally.accounting.invariants import conservation_error_us, violations
from gputally.accounting.keys import Holding, Owner
from gputally.accounting.line import DeviceWindow, Line
from gputally.accounting.states import Basis, OwnerKind, Reason
from gputally.agent.held import Held
from gputally.proto import telemetry_pb2 as pb
from gputally.proto.codec import decode, encode

STEPS = 150
SETTLED_US = 15_000_000  # a process list or two after a reservation began
Partition = tuple[Owner, str]


def play(seed: int) -> Node:
    """One history."""
    return Node(seed).play(STEPS + seed % 100)


def check(node: Node) -> None:
    """Everything that must be true of a history's books."""
    for window in node.windows:
        assert violations(window) == []
        assert conservation_error_us(window) == 0
        assert decode(pb.Window.FromString(encode(window, "agent", "boot", 1))) == window
    for before, after in zip(node.windows, node.windows[1:], strict=False):
        assert before.end_us == after.start_us, "a hole between two windows"
    for gpu in node.gpus:
        devices = [device for window in node.windows for device in window.devices if device.uuid == gpu.info.uuid]
        if devices:
            _check_gpu(node, gpu, devices)


def _check_gpu(node: Node, gpu: Gpu, devices: list[DeviceWindow]) -> None:
    told, lines = node.told[gpu.info.uuid], [line for device in devices for line in device.lines]
    start_us, end_us = node.windows[0].start_us, node.windows[-1].end_us
    assert sum(device.capacity_us for device in devices) == end_us - start_us, "time is lost or counted twice"
    slack = 6 * len(devices)  # each window rounds each state of a line by less than one
    expected = reserved(told.held, told.lost, start_us, end_us)
    booked = charged(lines)
    for key in {*expected, *booked}:
        difference = abs(expected.get(key, Fraction(0)) - booked.get(key, 0))
        assert difference <= slack, f"{key}: reserved {expected.get(key)}, booked {booked.get(key)}"
    _check_use(node, gpu, lines, slack + LIST_STEPS * node.step_us)
    if gpu.calm and told.smooth and node.steady and gpu.kind == "buffer":
        _check_idle(lines, expected, slack)
    memory = sum(line.memory_byte_s or 0 for line in lines) + sum(device.ghost_memory_byte_s for device in devices)
    assert memory <= gpu.listed_byte_us / 1_000_000, "more memory than processes held"
    if gpu.mode == "mig" and gpu.gpm:
        _check_instances(node, gpu, lines)
    for window, device in zip(node.windows, devices, strict=False):
        _check_intruders(told.held, device, window.start_us, window.end_us)


def _check_use(node: Node, gpu: Gpu, lines: list[Line], cut_us: int) -> None:
    """Use is what truly happened. `cut_us`: an average of five seconds may lie across a window's edge."""
    held_us = sum(line.held_us for line in lines) + 7 * len(lines)
    used_us = sum(line.used_us for line in lines)
    active_us = used_us + sum(line.burst_us + line.intruder_us for line in lines)
    if gpu.calm and gpu.kind != "none":
        assert active_us == 0, "used without activity"
    if gpu.kind in ("buffer", "lazy"):
        assert used_us <= gpu.true_busy_us + held_us, "more used than busy"
        assert not node.steady or active_us <= gpu.true_busy_us + held_us + cut_us, "activity counts twice"
    if gpu.mode == "mig" and gpu.gpm and node.told[gpu.info.uuid].smooth and gpu.info.slices:
        share = {each.uuid: each.slices or 0 for each in gpu.info.instances}
        busy_us = sum(us * share.get(uuid, 0) for uuid, us in gpu.true_instance_us.items()) / 100 / gpu.info.slices
        assert used_us <= busy_us + held_us, "more used than the instances were busy"


def _check_instances(node: Node, gpu: Gpu, lines: list[Line]) -> None:
    """Where GPM tells, an instance of its own is measured, but for the pairs of samples that were lost."""
    dark_us = Counter[str]()
    for line in lines:
        if line.key.reason is Reason.NO_UTILISATION:
            dark_us[line.key.partition] += line.unobserved_us
    for partition, us in dark_us.items():
        _, _, slices, _, of_compute_instance, _ = partition.split("-")
        alone = slices == of_compute_instance
        lost_us = 3 * (gpu.gaps + 1) * node.step_us * int(slices) // gpu.slices
        assert not alone or us <= lost_us + len(lines), f"{partition} could be measured"


def _check_intruders(told: list[tuple[int, Held]], device: DeviceWindow, start_us: int, end_us: int) -> None:
    """A pod is no intruder on what it holds, whichever of its containers runs there."""
    since_us = start_us - SETTLED_US
    ends = [at_us for at_us, _ in told[1:]] + [end_us]
    seen = [held for (from_us, held), to_us in zip(told, ends, strict=True) if from_us < end_us and to_us > since_us]
    at_home = [{(holding.owner.pod_uid, at or "gpu") for at, holding, _ in _parts(held)} for held in seen]
    for line in device.lines:
        owner = line.key.owner
        if line.key.basis is Basis.PROCESS and owner.kind is OwnerKind.POD and line.used_us + line.intruder_us:
            assert not all((owner.pod_uid, line.key.partition) in each for each in at_home), f"{owner} is at home"


def _check_idle(lines: list[Line], expected: dict[Partition, Fraction], slack: int) -> None:
    """Where nothing breaks and nothing runs, whoever holds a part is idle for all of it."""
    idle: Counter[Partition] = Counter()
    for line in lines:
        if line.key.basis is Basis.RESERVATION:
            idle[line.key.owner, line.key.partition] += line.idle_us
            assert line.unobserved_us == 0
    for key, share_us in expected.items():
        assert abs(idle[key] - share_us) <= slack


def charged(lines: list[Line]) -> dict[Partition, int]:
    """What every holder of every partition was charged for."""
    booked: Counter[Partition] = Counter()
    for line in lines:
        if line.key.basis is Basis.RESERVATION:
            booked[line.key.owner, line.key.partition] += line.capacity_us
    return booked


def reserved(
    told: list[tuple[int, Held]], lost: list[list[int]], start_us: int, end_us: int
) -> dict[Partition, Fraction]:
    """What the kubelet's word comes to: share times time, without what a lost GPU takes from it."""
    sums: dict[Partition, Fraction] = {}
    ends = [at_us for at_us, _ in told[1:]] + [end_us]
    for (from_us, held), to_us in zip(told, ends, strict=True):
        first_us, last_us = max(start_us, from_us), min(end_us, to_us)
        gone_us = sum(max(0, min(last_us, until) - max(first_us, since)) for since, until in lost)
        time_us = max(0, last_us - first_us) - gone_us
        for partition, holding, share in _parts(held):
            owners = holding.containers or (holding.owner,)
            for owner in owners:
                key = (owner, partition or holding.partition)
                sums[key] = sums.get(key, Fraction(0)) + share * holding.share * time_us / len(owners)
    return {key: time_us for key, time_us in sums.items() if time_us}


def _parts(held: Held) -> Iterator[tuple[str, Holding, Fraction]]:
    """Every holding, with its instance and that one's share."""
    if held.known:
        yield from (("", holding, Fraction(1)) for holding in held.holdings)
    for instance in held.instances:
        if instance.held.known:
            yield from ((instance.uuid, holding, instance.share) for holding in instance.held.holdings)


def tried(seed: int) -> tuple[int, str, Counter[str]]:
    """Play and check one history; returns what went wrong, if anything did, and what happened in it."""
    try:
        node = play(seed)
        check(node)
    except Exception:  # noqa: BLE001 - whatever it is, it is reported with its seed
        return seed, traceback.format_exc(), Counter()
    return seed, "", _happened(node)


def _happened(node: Node) -> Counter[str]:
    happened = node.happened + Counter(f"{gpu.mode} GPUs" for gpu in node.gpus)
    happened["windows"] = len(node.windows)
    devices = [device for window in node.windows for device in window.devices]
    happened["GPU-seconds"] = sum(device.capacity_us for device in devices) // 1_000_000
    for line in (line for device in devices for line in device.lines):
        happened["lines"] += 1
        happened[f"lines by {line.source.value}"] += 1
        happened[f"lines {line.key.reason.value or 'without a reason'}"] += 1
        happened["lines with a burst"] += line.burst_us > 0
        happened["lines of intruders"] += line.intruder_us > 0
        happened["lines with quality"] += line.quality is not None
    return happened


def say(text: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Play many; say how it goes, and what happened in all of them."""
    parser = argparse.ArgumentParser(description="Play random histories of a node and check their books.")
    parser.add_argument("number", type=int, nargs="?", default=1000, help="how many (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    arguments = parser.parse_args()
    began, happened, failed = time.monotonic(), Counter[str](), 0
    with Pool() as pool:
        seeds = range(arguments.seed, arguments.seed + arguments.number)
        for done, (seed, problem, what) in enumerate(pool.imap_unordered(tried, seeds, chunksize=8), 1):
            happened += what
            if problem:
                failed += 1
                say(f"history {seed} fails:\n{problem}")
            if done % max(1, arguments.number // 20) == 0:
                say(f"{done} of {arguments.number}, {time.monotonic() - began:.0f} s, {failed} failed")
    for what_happened, count in sorted(happened.items()):
        say(f"{what_happened:>28} {count}")
    say(f"{arguments.number} histories in {time.monotonic() - began:.0f} s, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
