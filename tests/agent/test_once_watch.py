"""Looks again and again: what each frame says of the time since the one before, and what it leaves behind."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_probe import T0, UUID, FakeProbe, S
from tests.fakes import Clock
from tests.looks import GOOD, OWNERS, look

from gputally.accounting.states import Source
from gputally.agent.command_line import Machine, SettingsError, load
from gputally.agent.once.as_json import as_json
from gputally.agent.once.look import Look, unseen
from gputally.agent.once.watch import Busy, Screen, Watch, drawn, lines_of
from gputally.agent.sample import BusySample, DeviceInfo, DeviceSample, Reading, Sample

MACHINE = Machine({}, is_root=True, hostname="laptop", home=Path("/home/ann"))


@dataclass
class Release:
    """Whether the driver must be left alone."""

    reason: str = ""


def watching(probe: FakeProbe, release: Release | None = None) -> Watch:
    asked = release or Release()
    clock = probe.clock
    return Watch("n", probe, None, clock, lambda: T0 + clock.now_us, "", lambda: asked.reason)


def utilization(found: Look) -> int | None:
    (device,) = as_json(found, OWNERS)["devices"]
    value: int | None = device["utilization"]
    return value


# What a frame says of the time since the last one.


def test_each_look_is_taken_an_interval_after_the_one_before() -> None:
    probe = FakeProbe(Clock())
    looks = list(islice(watching(probe).looks(3 * S), 3))
    times = [found.sample.monotonic_us for found in looks]
    assert [after - before for before, after in pairwise(times)] == [3 * S + S // 10] * 2
    assert probe.starts == 1, "the driver stays open between frames"


def test_busy_is_the_mean_of_all_that_was_measured_since_the_frame_before() -> None:
    """A second of work between two looks is seen, although the GPU is idle again when the second look is taken."""
    probe = FakeProbe(Clock(), percent=0)
    looks = watching(probe).looks(4 * S)
    assert utilization(next(looks)) == 0
    started_us = probe.clock.now_us

    def works() -> None:
        probe.percent = 80 if probe.clock.now_us - started_us < 2 * S else 0

    probe.on_receive = works
    assert 0 < (utilization(next(looks)) or 0) < 40
    assert utilization(next(looks)) == 0


def sample(*entries: tuple[int, int | None], rate: int | None = None, uuid: str = UUID) -> Sample:
    busy = tuple(BusySample(at_us, percent) for at_us, percent in entries)
    reading = Reading(busy, Source.DEVICE_SAMPLES, rate)
    return Sample(1, 1, (DeviceSample(DeviceInfo(uuid, 0, "H100"), reading),), full=True)


def mean(busy: Busy, *samples: Sample) -> int | None:
    for each in samples:
        busy.add(each)
    (device,) = busy.over(samples[-1]).devices
    assert device.reading
    return device.reading.utilization_percent


def test_entries_weigh_as_much_as_the_time_they_stand_for_and_frames_continue_each_other() -> None:
    busy = Busy()
    assert mean(busy, sample((0, 0), (100, 10), (400, 50))) == 40
    assert mean(busy, sample((500, 0), (500, 99)), sample((700, None), (800, 50))) == 25


def test_without_a_buffer_the_drivers_rates_are_averaged_and_without_either_nothing_is_known() -> None:
    busy = Busy()
    assert mean(busy, sample(rate=10), sample(rate=30)) == 20
    assert mean(busy, sample()) is None
    assert mean(busy, sample((5, None), (9, None))) is None


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 100)), min_size=2), st.integers(1, 5))
def test_the_mean_is_that_of_the_time_however_the_driver_was_read(steps: list[tuple[int, int]], size: int) -> None:
    at_us, entries = 0, []
    for length_us, percent in steps:
        at_us += length_us
        entries.append((at_us, percent))
    cuts = [sample(*entries[at : at + size]) for at in range(0, len(entries), size)]
    exact = sum(length_us * percent for length_us, percent in steps[1:]) / sum(length_us for length_us, _ in steps[1:])
    assert mean(Busy(), *cuts) == round(exact)


def test_a_device_that_is_gone_is_forgotten() -> None:
    """Its stamps would else be kept for ever, and be wrong when another comes under its name."""
    busy = Busy()
    mean(busy, sample((0, 0), (100, 10)))
    mean(busy, sample((0, 0), (100, 10), uuid="GPU-other"))
    assert mean(busy, sample((1000, 99), (1100, 10))) == 10


# What goes wrong.


def test_a_driver_that_dies_is_said_in_the_frame_and_the_next_one_is_whole_again() -> None:
    probe = FakeProbe(Clock())
    looks = watching(probe).looks(2 * S)
    assert len(next(looks).sample.devices) == 1
    probe.trouble = "the probe ended unexpectedly; a new one is started"
    for _ in range(2):
        found = next(looks)
        assert (found.sample.devices, unseen(found)) == ((), [probe.trouble])
    probe.trouble = ""
    assert utilization(next(looks)) == 50


def test_a_driver_that_only_hangs_is_said_too() -> None:
    probe = FakeProbe(Clock())
    looks = watching(probe).looks(2 * S)
    next(looks)
    probe.silent = True
    assert unseen(next(looks)) == ["the driver does not answer"]


def test_a_node_whose_gpus_are_gone_says_so() -> None:
    probe = FakeProbe(Clock())
    looks = watching(probe).looks(2 * S)
    next(looks)
    probe.devices = False
    assert unseen(next(looks)) == ["NVML shows no GPU on this node"]


def test_a_driver_that_is_to_be_upgraded_is_let_go_between_two_frames_and_taken_up_after() -> None:
    probe, release = FakeProbe(Clock()), Release()
    looks = watching(probe, release).looks(2 * S)
    next(looks)
    release.reason = "the node says so"
    assert unseen(next(looks)) == ["the driver is released: the node says so"]
    assert probe.is_released
    next(looks)
    release.reason = ""
    next(looks)
    assert not probe.is_released
    assert len(next(looks).sample.devices) == 1


# Frames.


def test_a_frame_says_which_node_and_when_and_ends_with_what_could_not_be_seen() -> None:
    lost = DeviceSample(GOOD.info, unavailable=True, error="GPU is lost")
    title, header, *_, last = lines_of(look(lost), OWNERS)
    assert title.startswith("node-1  20")
    assert header.split()[:2] == ["GPU", "MODEL"]
    assert last == "! GPU-0: unavailable: GPU is lost"


def test_without_a_terminal_frames_are_printed_with_an_empty_line_between() -> None:
    out = io.StringIO()
    screen = Screen(out, None)
    for lines in (["a", "b"], ["c"]):
        screen.show(lines)
    screen.close()
    assert out.getvalue() == "a\nb\n\nc\n"


def test_on_a_terminal_frames_are_drawn_in_place_and_the_terminal_is_left_as_it_was() -> None:
    out = io.StringIO()
    screen = Screen(out, lambda: os.terminal_size((80, 24)))
    for lines in (["a"], ["b"]):
        screen.show(lines)
    screen.close()
    assert out.getvalue() == "\x1b[?1049h\x1b[?25l\x1b[Ha\x1b[K\x1b[J\x1b[Hb\x1b[K\x1b[J\x1b[?25h\x1b[?1049l"


@given(st.lists(st.text("ab ", max_size=30), max_size=12), st.integers(20, 40), st.integers(1, 12))
def test_a_frame_never_scrolls_the_terminal(lines: Sequence[str], width: int, height: int) -> None:
    shown = drawn(lines, width, height).removeprefix("\x1b[H").removesuffix("\x1b[J").split("\n")
    assert len(shown) <= height
    assert all(len(line.removesuffix("\x1b[K")) <= width for line in shown)
    if len(lines) > height:
        assert shown[-1].startswith(f"... and {len(lines) - height + 1} more")


# Settings.


@pytest.mark.parametrize(
    ("arguments", "us"),
    [(["--watch"], 2 * S), (["--watch", "5"], 5 * S), (["--watch=0.5"], S // 2), (["--once", "--watch", "1m"], 60 * S)],
)
def test_to_watch_is_to_look_more_than_once(arguments: list[str], us: int) -> None:
    settings = load(arguments, MACHINE)
    assert (settings.once, settings.watch_us, settings.node) == (True, us, "laptop")


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (["--watch", "0.1"], "--watch: '0.1' is shorter than 500ms"),
        (["--watch", "often"], "--watch: 'often' is not a duration"),
        (["--watch", "--once", "no", "--node", "n", "--cluster", "c"], "--watch looks at this node"),
    ],
)
def test_what_cannot_be_watched_is_a_mistake(arguments: list[str], mistake: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(arguments, MACHINE)
    assert any(line.startswith(mistake) for line in raised.value.mistakes)


# The real agent, on a terminal.

SCENARIO = {
    "gpus": [{"uuid": UUID, "model": "H100", "idle_watts": 70, "max_watts": 700, "memory_gib": 80}],
    "workloads": [{"host": {"user": "user-1000"}, "gpus": [0], "busy_percent": 50}],
}


def test_ctrl_c_ends_it_and_the_terminal_is_as_it_was(tmp_path: Path) -> None:
    scenario = tmp_path / "s.json"
    scenario.write_text(json.dumps(SCENARIO))
    ours, theirs = pty.openpty()
    arguments = ("--nvml", "simulated", "--scenario", str(scenario), "--watch", "0.5", "--sample-interval", "100ms")
    program = subprocess.Popen(
        [sys.executable, "-m", "gputally.agent.main", *arguments], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        text = b""
        while text.count(b"\x1b[J") < 2:
            text += terminal.read(4096)
        program.send_signal(signal.SIGINT)
        text += rest(terminal)
    assert program.wait(60) == 128 + signal.SIGINT
    assert text.startswith(b"\x1b[?1049h\x1b[?25l\x1b[H")
    assert text.endswith(b"\x1b[?25h\x1b[?1049l")
    assert b"50 %" in text
    assert b"Traceback" not in text


def rest(terminal: io.RawIOBase) -> bytes:
    """What is left; a terminal whose program has gone says so with an error."""
    text = b""
    try:
        while more := terminal.read(4096):
            text += more
    except OSError:
        pass
    return text


def test_whoever_stops_reading_ends_it_without_a_complaint(tmp_path: Path) -> None:
    scenario = tmp_path / "s.json"
    scenario.write_text(json.dumps(SCENARIO))
    arguments = ("--nvml", "simulated", "--scenario", str(scenario), "--watch", "0.5", "--sample-interval", "100ms")
    with subprocess.Popen(
        [sys.executable, "-m", "gputally.agent.main", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        assert program.stdout
        assert program.stderr
        assert program.stdout.readline()
        program.stdout.close()
        assert program.wait(60) == 0
        assert program.stderr.read() == b""
