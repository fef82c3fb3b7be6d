"""gputally-agent: settings in, parts built, run until SIGTERM. Nothing is constructed elsewhere.

What is built is put together in `neighbours` and `running`, which are loaded when it is their turn: the first probe is
a copy of this process, made while it is small and has no thread, and it samples while the rest is still being loaded.
"""

import gc
import logging
import signal
import sys
import threading
from typing import TYPE_CHECKING

from gputally.agent.command_line import Machine, load_or_exit
from gputally.agent.probe.main import LOG_FORMAT, ProbeSettings, monotonic_us, wall_us
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.release import Release
from gputally.agent.rest import Rest
from gputally.agent.settings import Nvml, Settings

if TYPE_CHECKING:  # loaded with simulated GPUs only
    from gputally.agent.simulated.scenario import Scenario

_START_DEADLINE_US = 60_000_000  # without persistence the driver needs seconds for each GPU that it wakes
_SILENCE_US = 10_000_000


def main() -> None:
    """The console script."""
    if sys.argv[1:2] == ["doctor"]:
        from gputally.agent.doctor.main import main as doctor  # an agent that runs needs nothing of it

        sys.exit(doctor(sys.argv[2:]))
    settings = load_or_exit(sys.argv[1:], Machine.this())
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    stop, rest = threading.Event(), Rest()
    wanted = _heed_signals(settings, stop, rest)
    start_us = wall_us()
    scenario = _scenario(settings, start_us)
    probe = _probe(settings, start_us, stop)
    gc.freeze()  # what exists now stays: neither process looks for garbage in it, so its pages stay shared
    probe.prepare()
    sys.exit(_live(settings, scenario, probe, wanted, rest, stop))


def _heed_signals(settings: Settings, stop: threading.Event, rest: Rest) -> Release:
    """What signals ask for from now on; returns where they ask for the driver."""
    wanted = Release(rest.wake)

    def end(*_: object) -> None:
        stop.set()
        rest.wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt if settings.once else end)
    if not settings.once:
        signal.signal(signal.SIGUSR1, lambda *_: wanted.ask())
        signal.signal(signal.SIGUSR2, lambda *_: wanted.withdraw())
    return wanted


def _interrupt(number: int, _frame: object) -> None:
    """One look has nothing to keep: it ends where it stands, with the status that a shell gives to a signal."""
    sys.exit(128 + number)


def _live(
    settings: Settings,
    scenario: "Scenario | None",
    probe: Supervisor,
    wanted: Release,
    rest: Rest,
    stop: threading.Event,
) -> int:
    """Until it is over; returns the exit status."""
    from gputally.agent import neighbours  # from here on: what the first probe needs nothing of

    found = neighbours.neighbours(settings, scenario, wanted)
    threads, polled = neighbours.start(found, stop), None
    try:
        if not (settings.once or wanted.reason):
            probe.begin()
        from gputally.agent import running

        polled = running.poller(settings, scenario, found)
        if not settings.once:
            return running.run(settings, found, polled, probe, rest, stop)
        from gputally.agent.once.show import show

        return show(settings, found, polled, probe)
    finally:
        stop.set()
        probe.close()
        if polled:
            polled.close()
        for watch in neighbours.each(found.watches):
            watch.close()
        for thread in threads:
            thread.join(2)


def _scenario(settings: Settings, start_us: int) -> "Scenario | None":
    if settings.nvml is Nvml.REAL or settings.scenario is None:
        return None
    from gputally.agent.simulated.scenario_file import ScenarioError, load

    try:
        return load(settings.scenario, start_us)
    except ScenarioError as error:
        sys.stderr.writelines(f"gputally-agent: --scenario: {mistake}\n" for mistake in error.mistakes)
        sys.exit(2)


def _probe(settings: Settings, start_us: int, stop: threading.Event) -> Supervisor:
    told = ProbeSettings(
        -1,
        -1,
        str(settings.proc_root),
        settings.sample_interval_us,
        max(settings.process_interval_us, 2 * (settings.watch_us or 0)),  # a look's busy time is that since the last
        str(settings.scenario or ""),
        start_us,
    )
    deadline_us = max(_SILENCE_US, 3 * settings.sample_interval_us)
    return Supervisor(told, deadline_us, _START_DEADLINE_US, monotonic_us, stop.wait)


if __name__ == "__main__":
    main()
