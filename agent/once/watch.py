"""`gputally-agent --watch`: one look after another, with the driver open between them, until somebody ends it."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TextIO

from gputally.accounting.ledger_hour import from_us
from gputally.agent.once.as_json import Owners
from gputally.agent.once.as_table import as_table
from gputally.agent.once.look import Look, counters_kept, nothing, seen, take, unseen
from gputally.agent.probe.message import Failure
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.reservations.grants import ReservationPoller
from gputally.agent.sample import DeviceSample, Reading, Sample

_FLUSH_US = 5_000_000  # for the full sample that ends a frame; a driver that hangs is shown after that
_SECOND_US = 1_000_000
_UNKNOWN_SIZE = (80, 24)  # of a serial line, or a terminal that is just made
_ENTER = "\x1b[?1049h\x1b[?25l"  # the alternate screen, without a cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@dataclass(slots=True)
class Busy:
    """How busy each device was from one frame to the next: the mean of what the driver's buffer says of that time.

    Where there is no buffer, or nothing was in it: the mean of the driver's own rates.
    """

    _stamps: dict[str, int] = field(default_factory=dict)  # the newest entry of each device, across frames
    _times: dict[str, tuple[int, int]] = field(default_factory=dict)  # percent × µs, and µs
    _rates: dict[str, tuple[int, int]] = field(default_factory=dict)  # percent, and how many

    def add(self, sample: Sample) -> None:
        """Take a sample into the frame."""
        for device in sample.devices:
            if device.reading is not None:
                self._add(device.info.uuid, device.reading)

    def over(self, sample: Sample) -> Sample:
        """The sample that ends the frame, with the frame's means; the next frame begins."""
        found = replace(sample, devices=tuple(map(self._meant, sample.devices)))
        there = {device.info.uuid for device in found.devices}
        self._stamps = {uuid: us for uuid, us in self._stamps.items() if uuid in there}
        self._times, self._rates = {}, {}
        return found

    def _add(self, uuid: str, reading: Reading) -> None:
        for entry in reading.busy or ():
            since_us = self._stamps.get(uuid, entry.end_us)
            if entry.percent is not None and entry.end_us > since_us:
                percent_us, us = self._times.get(uuid, (0, 0))
                length_us = entry.end_us - since_us
                self._times[uuid] = percent_us + entry.percent * length_us, us + length_us
            self._stamps[uuid] = max(since_us, entry.end_us)
        if reading.utilization_percent is not None:
            total, count = self._rates.get(uuid, (0, 0))
            self._rates[uuid] = total + reading.utilization_percent, count + 1

    def _meant(self, device: DeviceSample) -> DeviceSample:
        total, weight = self._times.get(device.info.uuid) or self._rates.get(device.info.uuid, (0, 0))
        if device.reading is None or not weight:
            return device
        return replace(device, reading=replace(device.reading, utilization_percent=round(total / weight)))


class Watch:
    """Looks at a node again and again. `released` says why the driver must be left alone; empty while it need not."""

    def __init__(
        self,
        node: str,
        probe: Supervisor,
        poller: ReservationPoller | None,
        monotonic_us: Callable[[], int],
        wall_us: Callable[[], int],
        problem: str,
        released: Callable[[], str],
    ) -> None:
        self._node = node
        self._probe = probe
        self._poller = poller
        self._monotonic_us = monotonic_us
        self._wall_us = wall_us
        self._problem = problem
        self._released = released
        self._is_released = False
        self._busy = Busy()
        self._silence = ""

    def looks(self, interval_us: int) -> Iterator[Look]:
        """A look as soon as there is one, then another after each interval, for ever."""
        yield self._left_alone() or take(self._node, self._probe, self._poller, self._monotonic_us, self._problem)
        while True:
            sample = self._wait(interval_us)
            if self._poller:
                self._poller.poll()
            yield self._left_alone() or self._look(sample)

    def _left_alone(self) -> Look | None:
        """The look at a driver that is released; what waits for it to be let go is not held up by us."""
        reason = self._released()
        if reason and not self._is_released:
            self._probe.release()
        if self._is_released and not reason:
            self._probe.take_up()
        self._is_released = bool(reason)
        return nothing(self._node, self._wall_us(), f"the driver is released: {reason}") if reason else None

    def _wait(self, interval_us: int) -> Sample | None:
        """Take what the probe brings until the interval is over; the last sample of it."""
        until_us, last = self._monotonic_us() + interval_us, None
        while (left_us := until_us - self._monotonic_us()) > 0:
            message = self._probe.receive(min(left_us, _SECOND_US))
            if isinstance(message, Failure):
                self._silence = message.message
            elif isinstance(message, Sample):
                last = self._taken(last, message)
        return last

    def _look(self, sample: Sample | None) -> Look:
        for later in self._probe.flush(_FLUSH_US):
            sample = self._taken(sample, later)
        found = self._busy.over(sample) if sample and sample.full else None
        if found:
            self._silence = "" if found.devices else "NVML shows no GPU on this node"
        elif not self._silence:
            self._silence = "the driver does not answer"
        return seen(self._node, found, self._poller, self._monotonic_us, (self._problem, self._silence))

    def _taken(self, before: Sample | None, sample: Sample) -> Sample:
        self._busy.add(sample)
        return counters_kept(before, sample) if before else sample


class Screen:
    """Draws frames in place on a terminal; elsewhere it prints them, with an empty line between.

    `size` is the terminal's columns and lines; None: no terminal.
    """

    def __init__(self, out: TextIO, size: Callable[[], tuple[int, int]] | None) -> None:
        self._out = out
        self._size = size
        self._count = 0

    def show(self, lines: Sequence[str]) -> None:
        """The next frame."""
        self._count += 1
        if self._size:
            self._out.write((_ENTER if self._count == 1 else "") + drawn(lines, *self._size()))
        else:
            self._out.write("\n" * (self._count > 1) + "".join(f"{line}\n" for line in lines))
        self._out.flush()

    def abandon(self) -> None:
        """Nobody reads any more: what is left to write goes nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._out.fileno())
        os.close(nowhere)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._size and self._count:
            self._out.write(_LEAVE)
            self._out.flush()


def terminal_size(out: TextIO) -> Callable[[], tuple[int, int]] | None:
    """What tells the columns and lines of the terminal behind `out`; None where there is none."""

    def size() -> tuple[int, int]:
        width, height = os.get_terminal_size(out.fileno())
        return (width, height) if width and height else _UNKNOWN_SIZE

    return size if out.isatty() else None


def lines_of(look: Look, owners: Owners) -> list[str]:
    """A frame: which node and when, the table, and what could not be seen."""
    taken = from_us(look.sample.wall_us).astimezone()
    missing = [f"! {line}" for line in unseen(look)]
    return [f"{look.node}  {taken:%Y-%m-%d %H:%M:%S %Z}", *as_table(look, owners).splitlines(), *missing]


def drawn(lines: Sequence[str], width: int, height: int) -> str:
    """The lines over what was drawn before, cut to the terminal; the last one says how many there is no room for."""
    kept = list(lines)
    if len(kept) > height:
        kept = [*kept[: height - 1], f"... and {len(kept) - height + 1} more lines"]
    return _HOME + "\n".join(line[:width] + _REST_OF_LINE for line in kept) + _REST_OF_SCREEN
