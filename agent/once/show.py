"""One look at this node on a terminal, or again and again: what `--once` and `--watch` print."""

import sys

from gputally.agent.neighbours import Neighbours
from gputally.agent.once import look as once
from gputally.agent.once.as_json import as_json_text
from gputally.agent.once.as_table import as_table
from gputally.agent.once.watch import Screen, Watch, lines_of, terminal_size
from gputally.agent.probe.main import monotonic_us, wall_us
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.reservations.grants import ReservationPoller
from gputally.agent.running import identity, problem
from gputally.agent.settings import Format, Settings


def show(settings: Settings, found: Neighbours, polled: ReservationPoller | None, probe: Supervisor) -> int:
    """Print one look at this node; 1 when something could not be seen."""
    if polled:
        polled.poll()
    if settings.watch_us:
        return _watch(settings, found, polled, probe, settings.watch_us)
    if found.release.reason:
        look = once.nothing(settings.node, wall_us(), f"the driver is released: {found.release.reason}")
    else:
        look = once.take(settings.node, probe, polled, monotonic_us, problem(settings))
    owners = identity(found, polled).owners
    if settings.format is Format.JSON:
        sys.stdout.write(as_json_text(look, owners) + "\n")
    else:
        sys.stdout.write(as_table(look, owners) + "\n")
    unseen = once.unseen(look)
    sys.stderr.writelines(f"gputally-agent: {line}\n" for line in unseen)
    return 1 if unseen else 0


def _watch(
    settings: Settings, found: Neighbours, polled: ReservationPoller | None, probe: Supervisor, interval_us: int
) -> int:
    """Look at this node again and again until somebody ends it, or nobody reads it any more."""
    owners, json = identity(found, polled).owners, settings.format is Format.JSON
    release = found.release
    watch = Watch(settings.node, probe, polled, monotonic_us, wall_us, problem(settings), lambda: release.reason)
    screen = Screen(sys.stdout, None if json else terminal_size(sys.stdout))
    try:
        for look in watch.looks(interval_us):
            screen.show([as_json_text(look, owners)] if json else lines_of(look, owners))
            sys.stderr.writelines(f"gputally-agent: {line}\n" for line in once.unseen(look) if json)
    except BrokenPipeError:
        screen.abandon()
    finally:
        screen.close()
    return 0
