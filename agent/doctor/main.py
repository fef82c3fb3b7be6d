"""`gputally-agent doctor [--json] [SETTING VALUE]...`: the agent's settings in, checks made, a report out.

The exit status is 0 where usage will be complete, 1 where it will lack something or that could not be told, and 2 for
settings that cannot be used.
"""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from gputally.agent.command_line import Machine, load_or_exit
from gputally.agent.doctor.checks import World, checks
from gputally.agent.doctor.finding import exit_status
from gputally.agent.doctor.report import as_json, as_text
from gputally.agent.doctor.run import run
from gputally.agent.probe.main import ProbeSettings, monotonic_us, wall_us
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.settings import Settings
from gputally.agent.simulated.scenario_file import ScenarioError
from gputally.agent.simulated.scenario_file import load as load_scenario

_JSON = "--json"


def main(arguments: Sequence[str]) -> int:
    """Print the report; returns the exit status."""
    machine = Machine.this()
    settings = load_or_exit([each for each in arguments if each != _JSON], machine)
    start_us = wall_us()
    if mistakes := _scenario_mistakes(settings, start_us):
        sys.stderr.writelines(f"gputally-agent: --scenario: {mistake}\n" for mistake in mistakes)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    in_pod = "KUBERNETES_SERVICE_HOST" in machine.environ
    stop = threading.Event()  # of a supervisor's pauses; the end of this process is theirs too

    def probe(driver_s: float) -> Supervisor:
        deadline_us = int(driver_s * 1e6)
        return Supervisor(probe_settings(settings, start_us), deadline_us, deadline_us, monotonic_us, stop.wait)

    findings = run(checks(settings, World(Path("/dev"), Path("/sys"), in_pod, probe, wall_us, monotonic_us)))
    if _JSON in arguments:
        text = as_json(settings.cluster, settings.node, findings)
    else:
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        text = as_text(settings.cluster, settings.node, findings, columns=columns, colours=colours)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without arrows is no reason to say nothing
    sys.stdout.write(text + "\n")
    return exit_status(findings)


def probe_settings(settings: Settings, start_us: int) -> ProbeSettings:
    """What the probe is told: the agent's own settings."""
    return ProbeSettings(
        -1,
        -1,
        str(settings.proc_root),
        settings.sample_interval_us,
        settings.process_interval_us,
        str(settings.scenario or ""),
        start_us,
    )


def _scenario_mistakes(settings: Settings, start_us: int) -> tuple[str, ...]:
    if settings.scenario is None:
        return ()
    try:
        load_scenario(settings.scenario, start_us)
    except ScenarioError as error:
        return tuple(error.mistakes)
    return ()


def _interrupt(number: int, _frame: object) -> None:
    """There is nothing to keep: it ends where it stands, with the status that a shell gives to a signal."""
    sys.exit(128 + number)
