"""`gputally`: its commands, and those that other packages add through the entry points `gputally.commands`."""

import io
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

import typer

from gputally.collector.cli import (
    advise,
    budgets,
    export,
    migrate,
    notify,
    queues,
    rates,
    report,
    statement,
    teams,
    top,
    waste,
    workloads,
)

COMMANDS = "gputally.commands"  # the entry points' group: each names a Typer app

app = typer.Typer(
    name="gputally",
    help="GPU Tally: where every GPU-second went. Settings are also read from the environment (GPUTALLY_…).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(report.report)
app.command()(queues.queues)
app.command()(waste.waste)
app.command()(advise.advise)
app.command()(top.top)
app.command()(migrate.migrate)
app.add_typer(rates.app, name="rates")
app.add_typer(teams.teams, name="teams")
app.add_typer(budgets.app, name="budgets")
app.add_typer(workloads.app, name="workloads")
app.add_typer(notify.app, name="notify")
app.add_typer(statement.app, name="statement")
app.command()(export.export)


def main() -> None:
    """The `gputally` command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 gets a ? for a line, not an error
    _add_commands(sys.argv[1:])
    app()


def _add_commands(argv: Sequence[str]) -> None:
    """Add the commands of other packages: the one that is asked for, or all where none is.

    Each may need more than the collector does, so one that cannot be loaded is an error only when it is asked for.
    """
    asked = argv[0] if argv and not argv[0].startswith("-") else None
    for point in sorted(entry_points(group=COMMANDS), key=lambda point: point.name):
        if asked not in (None, point.name):
            continue
        try:
            app.add_typer(point.load(), name=point.name)
        except ImportError as error:
            if asked:
                sys.exit(f"gputally: {asked} needs what is not installed: {error}")


if __name__ == "__main__":
    main()
